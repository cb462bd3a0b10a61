"""The two methods whose temperature depends on the item."""

import numpy as np
import pytest

from calbench import calibrators
from calbench.calibrators import CalibrationContext

from .data import nll, overconfident

METHODS = ("adaptive", "quantile_temperature")


@pytest.mark.parametrize("name", METHODS)
def test_the_fit_is_no_worse_than_one_temperature(name):
    logits, labels = overconfident(800, 5)
    plain = calibrators.get("temperature").fit(logits, labels)
    fitted = calibrators.get(name).fit(logits, labels)
    assert nll(fitted(logits), labels) <= nll(plain(logits), labels) + 1e-6


@pytest.mark.parametrize("name", METHODS)
def test_the_logits_constant_does_not_matter(name):
    logits, labels = overconfident(300, 4)
    shifts = np.random.default_rng(1).normal(size=(300, 1))
    fitted = calibrators.get(name).fit(logits, labels)
    np.testing.assert_allclose(fitted(logits + shifts), fitted(logits), atol=1e-12)


def test_quantile_temperature_is_monotone_in_confidence():
    fitted = calibrators.get("quantile_temperature").fit(*overconfident(800, 5))
    steps = np.diff(fitted.inverse_temperatures)
    assert (steps >= -1e-12).all() or (steps <= 1e-12).all()


def test_seeds_differ_and_repeat():
    logits, labels = overconfident(300, 4)
    first, again, other = (
        calibrators.get("adaptive").fit(
            logits, labels, context=CalibrationContext(rng=np.random.default_rng(seed))
        )
        for seed in (1, 1, 2)
    )
    assert first.to_dict() == again.to_dict()
    assert first.to_dict() != other.to_dict()
