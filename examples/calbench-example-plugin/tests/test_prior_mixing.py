"""The plugin's own tests: calbench's conformance checks, and one of what the method is for."""

import numpy as np

from calbench import calibrators
from calbench.testing import check_calibrator


def test_prior_mixing_keeps_calbench_rules():
    check_calibrator("prior-mixing")


def test_a_model_that_knows_nothing_gets_the_class_frequencies():
    rng = np.random.default_rng(0)
    logits = 5 * rng.normal(size=(2000, 2))
    labels = (rng.random(2000) < 0.8).astype(int)
    fitted = calibrators.get("prior-mixing").fit(logits, labels)
    np.testing.assert_allclose(fitted(logits[:5])[:, 1], 0.8, atol=0.05)
