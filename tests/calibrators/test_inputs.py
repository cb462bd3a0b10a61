import warnings

import numpy as np
import pytest

from calbench import calibrators
from calbench.calibrators import CalibrationContext
from calbench.errors import InputError

from .data import overconfident
from .test_registry import BUILT_IN

CONTEXT = CalibrationContext(epsilon=0.07)


def fit(name, logits, labels):
    return calibrators.get(name).fit(logits, labels, context=CONTEXT)


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z, y: (np.where(np.arange(len(z))[:, None] == 3, np.nan, z), y), r"logits\[3\] holds NaN"),
        (lambda z, y: (np.where(np.arange(len(z))[:, None] == 2, np.inf, z), y), r"logits\[2\] holds NaN or"),
        (lambda z, y: (np.where(np.arange(len(z))[:, None] == 2, -np.inf, z), y), r"logits\[2\] is -inf"),
        (lambda z, y: (z, 0 * y), "are 0; a calibrator needs two classes"),
        (lambda z, y: (np.ones_like(z), y), "constant over its classes"),
        (lambda z, y: (z, y[:-1]), "labels has shape"),
        (lambda z, y: (z, y + 1), "outside"),
        (lambda z, y: (z, y.astype(float)), "dtype float64"),
        (lambda z, y: (z[:, 0], y), "shape"),
        (lambda z, y: (z[:0], y[:0]), "empty"),
        (lambda z, y: (str(z)[:4], y), "not a rectangular array"),
    ],
)
def test_bad_data_are_refused_with_the_row_and_the_remedy(name, change, message):
    with pytest.raises(InputError, match=message):
        fit(name, *change(*overconfident(300, 3)))


def test_a_label_that_points_at_padding_is_refused():
    logits, labels = overconfident(30, 3)
    logits[4, labels[4]] = -np.inf
    with pytest.raises(InputError, match=r"labels\[4\] = . points at an option whose logit is -inf"):
        fit("temperature", logits, labels)


@pytest.mark.parametrize("name", ["vector", "affine", "fuzzy", "adaptive", "quantile_temperature"])
def test_fewer_samples_than_parameters_are_refused(name):
    logits, labels = overconfident(4, 4, seed=1)
    with pytest.raises(InputError, match="parameters for 4 classes but the calibration split has 4 samples"):
        fit(name, logits, labels)


@pytest.mark.parametrize("name", ["matrix", "dirichlet"])
def test_regularised_methods_flag_fewer_samples_than_parameters(name):
    fitted = fit(name, *overconfident(100, 10))
    assert any("110 parameters were fitted on 100 samples" in w for w in fitted.warnings)


@pytest.mark.parametrize("name", ["vector", "affine", "matrix", "dirichlet"])
def test_a_mask_that_is_no_infinity_is_refused_by_linear_maps(name):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 3)), rng.integers(2, size=60)
    logits[7:30, 2] = np.finfo(np.float32).min
    with pytest.raises(InputError, match=r"logits\[7\] holds a number of the size of 3\.4e\+38"):
        calibrators.get(name).fit(logits, labels)


@pytest.mark.parametrize("name", ["vector", "affine", "matrix", "dirichlet"])
def test_separable_data_and_missing_classes_are_flagged(name):
    logits, _ = overconfident(300, 3)
    fitted = fit(name, logits, logits.argmax(axis=1))
    assert any("separable" in w for w in fitted.warnings)
    logits, labels = overconfident(300, 4)
    fitted = fit(name, logits[labels != 2], labels[labels != 2])
    assert any("no calibration sample is of class 2" in w for w in fitted.warnings)
    assert np.isfinite(fitted(logits)).all()


@pytest.mark.parametrize("name", ["platt", "beta", "isotonic", "histogram", "scaling_binning"])
def test_maps_of_an_event_that_always_happens_are_flagged(name):
    logits, _ = overconfident(300, 3)
    fitted = calibrators.get(f"{name}[form=top-label]").fit(logits, logits.argmax(axis=1))
    assert any("the prediction is right (always)" in w for w in fitted.warnings)


@pytest.mark.parametrize("name", ["vector", "matrix", "dirichlet", "isotonic", "fuzzy"])
def test_a_fit_for_three_classes_refuses_four(name):
    fitted = fit(name, *overconfident(300, 3))
    with pytest.raises(InputError, match="4 classes but 3 are expected"):
        fitted(np.zeros((2, 4)))


def test_the_contexts_number_of_classes_is_held_to():
    with pytest.raises(InputError, match="3 classes but 5 are expected"):
        calibrators.get("temperature").fit(*overconfident(), context=CalibrationContext(n_classes=5))


def test_an_impossible_epsilon_is_refused():
    with pytest.raises(InputError, match="epsilon is 4"):
        CalibrationContext(epsilon=4)


@pytest.mark.parametrize("name", BUILT_IN)
def test_extreme_logits_give_no_python_warning(name):
    logits, labels = overconfident(300, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale, shift in ((1e4, 0.0), (1e-4, 0.0), (1.0, 1e4)):
            probs = fit(name, logits * scale + shift, labels)(logits * scale + shift)
            assert np.isfinite(probs).all()
