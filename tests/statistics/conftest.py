from __future__ import annotations

import numpy as np
import pytest

from calbench.records import TopLabelPredictions


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def record_of():
    """Build a record of ``n`` items whose accuracy is confidence - gap, with shared luck."""

    def build(n, gap, *, seed=0, noise=0.0):
        rng = np.random.default_rng(seed)
        confidences, luck = rng.uniform(0.3, 0.95, n), rng.random(n)
        confidences = np.clip(confidences + noise * rng.normal(size=n), 0.1, 0.99)
        return TopLabelPredictions([f"q{i:05d}" for i in range(n)], confidences, luck < confidences - gap)

    return build
