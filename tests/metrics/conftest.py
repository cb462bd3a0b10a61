from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)


@pytest.fixture(scope="session")
def both_signs():
    """Five classes, 2,000 items; overconfident below .55 and underconfident above."""
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.full(5, 0.6), 2000)
    top = probs.max(axis=1)
    accuracy = np.where(top < 0.55, top - 0.2, np.minimum(top + 0.12, 1.0))
    order = np.argsort(probs, axis=1)
    labels = np.where(rng.random(2000) < accuracy, order[:, -1], order[:, -2])
    return probs, labels
