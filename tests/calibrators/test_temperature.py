import tracemalloc

import numpy as np
import pytest
from scipy.optimize import brentq

from calbench import calibrators, metrics
from calbench.calibrators._inputs import check_fit
from calbench.calibrators._scaling import scale_cumulants, scale_derivatives
from calbench.calibrators._temperature import FittedTemperature
from calbench.records import softmax

from .data import cifar10, nll, overconfident


def test_temperature_of_a_case_worked_by_hand():
    fitted = calibrators.get("temperature").fit([[2.0, 0]] * 4, [0, 0, 0, 1])
    assert fitted.temperature == pytest.approx(2 / np.log(3), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [1e-2, 1.0, 30.0])
@pytest.mark.parametrize(("n", "k"), [(50, 2), (3000, 5), (700, 40)])
def test_gradient_at_the_fitted_temperature_is_zero(seed, scale, n, k):
    logits, labels = overconfident(n, k, seed=seed)
    data = check_fit(logits * scale, labels)
    inverse = 1 / calibrators.get("temperature").fit(data.logits, labels).temperature
    assert abs(inverse * scale_cumulants(data, inverse, 1)[0]) <= 1e-10


def test_temperature_agrees_with_a_plain_root_finder():
    logits, labels = overconfident(400, 4, padded=True)

    def slope(inverse):
        p = softmax(logits * inverse)
        known = np.where(np.isfinite(logits), logits, 0.0)
        return (p * known).sum(axis=1).mean() - logits[np.arange(400), labels].mean()

    expected = 1 / brentq(slope, 1e-3, 1e3, xtol=1e-15, rtol=1e-14)
    assert calibrators.get("temperature").fit(logits, labels).temperature == pytest.approx(
        expected, rel=1e-10
    )


def test_separable_data_run_to_the_lower_bound_and_say_so():
    logits, _ = overconfident()
    fitted = calibrators.get("temperature").fit(logits, logits.argmax(axis=1))
    assert fitted.temperature == 1e-3
    assert "lower bound 0.001" in fitted.warnings[0]


@pytest.mark.parametrize("scale", [1e-3, 1, 10])
@pytest.mark.parametrize("n", [200, 4000])
def test_wide_margins_are_no_optimum_either(scale, n):
    # the loss is flat to 1e-10 long before the bound
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(n, 4)), rng.integers(4, size=n)
    logits[np.arange(n), labels] = logits.max(axis=1) + rng.uniform(1, 6, size=n)
    fitted = calibrators.get("temperature").fit(scale * logits, labels)
    assert fitted.temperature == 1e-3
    assert "separable" in fitted.warnings[0]


@pytest.mark.parametrize(("scale", "reason"), [(1e-4, "so small"), (2e3, "so large")])
def test_a_scale_outside_of_the_bounds_is_not_taken_for_a_fault_of_the_model(scale, reason):
    logits, labels = overconfident(200, 3, padded=True)
    (warning,) = calibrators.get("temperature").fit(scale * logits, labels).warnings
    assert reason in warning


def test_a_model_worse_than_chance_runs_to_the_upper_bound_and_says_so():
    logits, _ = overconfident()
    fitted = calibrators.get("temperature[max_temperature=50]").fit(logits, logits.argmin(axis=1))
    assert fitted.temperature == 50
    assert "upper bound 50" in fitted.warnings[0]


def test_loss_is_no_worse_than_on_a_fine_grid():
    logits, labels = overconfident(200, 3)
    best = nll(calibrators.get("temperature").fit(logits, labels)(logits), labels)
    assert all(best <= nll(softmax(logits / t), labels) for t in np.geomspace(0.1, 10, 500))


def test_derivatives_equal_finite_differences():
    logits, labels = overconfident(40, 4, padded=True)
    data = check_fit(logits, labels)
    q, h = np.linspace(0.2, 2, 40), 1e-5
    _, first, second = scale_derivatives(data, q)
    up, down = scale_derivatives(data, q + h), scale_derivatives(data, q - h)
    np.testing.assert_allclose(first, (up[0] - down[0]) / (2 * h), atol=1e-6)
    np.testing.assert_allclose(second, (up[1] - down[1]) / (2 * h), atol=1e-6)
    up, down = (scale_cumulants(data, 0.7 + d, 2) for d in (h, -h))
    numeric = (np.array(up) - down) / (2 * h)
    np.testing.assert_allclose(scale_cumulants(data, 0.7, 3)[1:], numeric, atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 30.0, -3000.0])
@pytest.mark.parametrize("seed", range(4))
def test_many_rows_are_fitted_as_exactly_as_few(offset, seed):
    logits, labels = overconfident(6000, 6, seed=seed)
    data = check_fit(logits + offset, labels)
    inverse = 1 / calibrators.get("temperature").fit(data.logits, labels).temperature
    assert abs(inverse * scale_cumulants(check_fit(logits, labels), inverse, 1)[0]) <= 1e-9


def test_a_fit_needs_no_copy_of_the_logits():
    logits = np.random.default_rng(0).normal(size=(20_000, 500)).astype(np.float32)
    labels = logits.argmax(axis=1)
    labels[::3] = 0
    tracemalloc.start()
    calibrators.get("temperature").fit(logits, labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < logits.nbytes  # on top of the logits themselves: twice their size in all


def test_cifar10_figures_are_those_that_were_published():
    val, test = cifar10("val_0.1"), cifar10("test_0.9")
    ece = metrics.expected_calibration_error
    assert np.mean(softmax(test[0]).argmax(axis=1) != test[1]) == pytest.approx(0.0495, abs=5e-5)
    assert ece(softmax(test[0]), test[1]) == pytest.approx(0.0435, abs=5e-5)
    fitted = calibrators.get("temperature").fit(*val)
    assert fitted.temperature == pytest.approx(2.498, abs=0.002)
    # torrvision/focal_calibration chooses T by the validation split's ECE, in steps of 0.1.
    steps = np.arange(1, 100) / 10
    by_ece = min(steps, key=lambda t: ece(FittedTemperature(temperature=t)(val[0]), val[1]))
    assert by_ece == 2.5
    assert ece(FittedTemperature(temperature=2.5)(test[0]), test[1]) == pytest.approx(0.0135, abs=5e-5)
