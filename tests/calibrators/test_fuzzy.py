import numpy as np
import pytest

from calbench import calibrators
from calbench.calibrators import CalibrationContext
from calbench.calibrators.fuzzy._loss import soft_calibration_error
from calbench.calibrators.fuzzy._model import LabelWise, MatrixWise
from calbench.calibrators.fuzzy._plot import plot_fuzzy
from calbench.errors import InputError
from calbench.records import softmax

from .data import nll, overconfident


@pytest.fixture(scope="module")
def fitted():
    return calibrators.get("fuzzy").fit(*overconfident(1000, 3))


def test_three_classes_have_60_parameters(fitted):
    assert fitted.n_parameters == 60
    assert fitted.size_bytes == 480


def test_the_matrix_form_has_a_matrix_a_region():
    assert calibrators.get("fuzzy[form=matrix]").fit(*overconfident(1000, 3)).n_parameters == 5 * (9 + 3 + 2)


@pytest.mark.parametrize("model", [LabelWise(3), MatrixWise(3)])
def test_training_starts_from_temperature_scaling(model):
    logits, _ = overconfident(20, 3)
    log_probs = np.log(softmax(logits)).T
    scores = model.forward(model.start(2.0), log_probs)
    np.testing.assert_allclose(softmax(scores.T), softmax(logits / 2), atol=1e-12)


def test_likelihood_alone_improves_on_temperature():
    logits, labels = overconfident(1000, 3)
    plain = calibrators.get("temperature").fit(logits, labels)
    fitted = calibrators.get("fuzzy[soft_ece=0,classwise_soft_ece=0,brier=0]").fit(logits, labels)
    assert nll(fitted(logits), labels) < nll(plain(logits), labels)


def test_memberships_are_degrees_that_sum_to_one(fitted):
    degrees = fitted.memberships(overconfident(50, 3)[0])
    assert degrees.shape == (50, 3)
    np.testing.assert_allclose(degrees.sum(axis=1), 1, atol=1e-12)
    assert (degrees >= 0).all()


@pytest.mark.parametrize("name", ["fuzzy", "fuzzy[form=matrix]", "fuzzy_int4"])
def test_confidence_is_put_in_words(name):
    fitted = calibrators.get(name).fit(*overconfident(600, 4))
    terms = fitted.terms([[12.0, 0, 0, 0], [0.1, 0, 0, 0]])
    assert terms.tolist() == ["high", "low"]


def test_noise_is_drawn_from_the_contexts_generator():
    logits, labels = overconfident(200, 3)
    fits = [
        calibrators.get("fuzzy_int4").fit(
            logits, labels, context=CalibrationContext(rng=np.random.default_rng(seed))
        )
        for seed in (1, 1, 2)
    ]
    assert fits[0].to_dict() == fits[1].to_dict() != fits[2].to_dict()


def test_training_under_noise_makes_the_fit_steadier_under_it():
    logits, labels = overconfident(1000, 3)
    rng = np.random.default_rng(0)
    step = np.abs(logits - logits.mean(axis=1, keepdims=True)).max() / 7
    noisy = [logits + rng.uniform(-step / 2, step / 2, size=logits.shape) for _ in range(20)]
    losses = {}
    for name in ("fuzzy", "fuzzy_int4"):
        fitted = calibrators.get(name).fit(logits, labels)
        losses[name] = np.mean([nll(fitted(z), labels) for z in noisy])
    assert losses["fuzzy_int4"] < losses["fuzzy"]


def test_soft_calibration_error_of_a_single_confidence_is_the_squared_gap():
    confidences, happened = np.full(10, 0.7), np.array([1.0] * 5 + [0.0] * 5)
    assert soft_calibration_error(confidences, happened)[0] == pytest.approx(0.04, abs=1e-12)


def test_soft_calibration_error_is_0_only_if_calibrated_everywhere():
    both = np.array([0.2] * 10 + [0.8] * 10)
    calibrated = np.array([1.0] * 2 + [0.0] * 8 + [1.0] * 8 + [0.0] * 2)
    opposite = np.array([1.0] * 4 + [0.0] * 6 + [1.0] * 6 + [0.0] * 4)  # gaps of both signs
    assert soft_calibration_error(both, calibrated)[0] == pytest.approx(0, abs=1e-12)
    assert soft_calibration_error(both, opposite)[0] == pytest.approx(0.04, abs=1e-12)


def test_the_plot_shows_memberships_and_map(fitted, tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    figure = plot_fuzzy(fitted, tmp_path / "fit.png", class_index=1)
    left, right = figure.axes
    assert len(left.lines) == 5
    np.testing.assert_allclose(sum(line.get_ydata() for line in left.lines), 1, atol=1e-12)
    assert len(right.lines) == 2
    assert (tmp_path / "fit.png").stat().st_size > 1000
    with pytest.raises(InputError, match="classes 0 to 2"):
        plot_fuzzy(fitted, class_index=3)
