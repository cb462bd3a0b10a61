import numpy as np
import pytest

from calbench import calibrators
from calbench.calibrators import CalibrationContext, unit_error
from calbench.calibrators._pacs import FittedPacs
from calbench.errors import InputError
from calbench.records import softmax

from .data import cifar10, nll, overconfident


def context(epsilon):
    return CalibrationContext(epsilon=epsilon)


def labels_of(fitted, logits, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(logits.shape[1], p=p) for p in fitted(logits)])


@pytest.mark.parametrize(
    ("number_format", "epsilon"),
    [
        ("fp16", 2**-11),
        ("bf16", 2**-8),
        ("fp8-e4m3", 2**-4),
        ("int8", 1 / 254),
        ("int4", 1 / 14),
        ("int2", 0.5),
    ],
)
def test_unit_errors(number_format, epsilon):
    assert unit_error(number_format) == epsilon


@pytest.mark.parametrize("number_format", ["int1", "float", "int", "INT4"])
def test_unknown_formats_are_refused(number_format):
    with pytest.raises(InputError, match="no unit error"):
        unit_error(number_format)


def test_data_free_pacs_is_its_formula():
    logits, labels = overconfident(50, 4)
    fitted = calibrators.get("pacs").fit(logits, labels, context=context(0.05))
    centred = logits - logits.mean(axis=1, keepdims=True)
    s = 1 / (1 + 0.05 * np.linalg.norm(centred, axis=1, keepdims=True))
    np.testing.assert_allclose(fitted(logits), softmax(s * centred), atol=1e-15)
    assert fitted.n_parameters == 0


def test_pacs_tends_to_softmax_as_epsilon_vanishes():
    logits, labels = overconfident(50, 4)
    fitted = calibrators.get("pacs").fit(logits, labels, context=context(0.0))
    np.testing.assert_allclose(fitted(logits), softmax(logits), atol=1e-15)


def test_padding_counts_neither_in_the_mean_nor_in_the_norm():
    fitted = FittedPacs(alpha=1.0, temperature=1.0, epsilon=0.1)
    padded = fitted([[1.0, 3.0, -np.inf]])
    np.testing.assert_allclose(padded[0, :2], fitted([[1.0, 3.0]])[0], atol=1e-15)


def test_pacs_without_epsilon_says_what_to_pass():
    with pytest.raises(InputError, match=r"unit_error\('int4'\)"):
        calibrators.get("pacs").fit(*overconfident())


def test_at_applies_the_fit_to_another_precision():
    logits, labels = overconfident(50, 4)
    reference = calibrators.get("pacs").fit(logits, labels, context=context(unit_error("fp32")))
    direct = calibrators.get("pacs").fit(logits, labels, context=context(unit_error("int4")))
    np.testing.assert_array_equal(reference.at(unit_error("int4"))(logits), direct(logits))
    assert reference.at(reference.epsilon) is reference
    with pytest.raises(InputError, match="unit error"):
        reference.at(None)


@pytest.mark.parametrize("name", ["identity", "temperature", "vector", "isotonic", "fuzzy"])
def test_other_fits_are_the_same_at_every_precision(name):
    fitted = calibrators.get(name).fit(*overconfident())
    assert fitted.at(0.1) is fitted
    assert fitted.at(None) is fitted


def test_fitted_alpha_is_recovered():
    logits, _ = overconfident(20_000, 3)
    labels = labels_of(FittedPacs(alpha=2.0, temperature=1.0, epsilon=0.1), logits)
    fitted = calibrators.get("pacs[alpha=fitted]").fit(logits, labels, context=context(0.1))
    assert fitted.alpha == pytest.approx(2.0, abs=0.15)  # three standard errors
    assert fitted.n_parameters == 1


def test_alpha_and_temperature_are_recovered_together():
    logits, _ = overconfident(20_000, 3)
    labels = labels_of(FittedPacs(alpha=3.0, temperature=0.8, epsilon=0.1), logits)
    fitted = calibrators.get("pacs_temperature").fit(logits, labels, context=context(0.1))
    assert fitted.temperature == pytest.approx(0.8, abs=0.15)
    assert fitted.alpha == pytest.approx(3.0, abs=1.0)
    assert fitted.n_parameters == 2


def test_with_more_freedom_the_loss_is_no_worse():
    logits, labels = overconfident(800, 4)
    losses = [
        nll(calibrators.get(name).fit(logits, labels, context=context(0.07))(logits), labels)
        for name in ("pacs_temperature", "temperature", "identity")
    ]
    assert losses[0] <= losses[1] + 1e-12
    assert losses[1] <= losses[2]


@pytest.mark.parametrize("name", ["pacs[alpha=fitted]", "pacs_temperature"])
def test_alpha_is_not_learned_where_there_is_no_rounding(name):
    fitted = calibrators.get(name).fit(*overconfident(), context=context(unit_error("fp32")))
    assert fitted.alpha == 1.0
    assert "alpha was not fitted" in fitted.warnings[-1]
    assert fitted.at(unit_error("int4")).warnings == fitted.warnings  # nothing is extrapolated


def test_an_extrapolated_alpha_is_flagged():
    fitted = calibrators.get("pacs[alpha=fitted]").fit(*overconfident(), context=context(unit_error("bf16")))
    assert "extrapolated" in fitted.at(unit_error("int4")).warnings[-1]


def test_the_prediction_never_changes_on_real_logits():
    logits, labels = cifar10("val_0.1")
    fitted = calibrators.get("pacs").fit(logits, labels, context=context(unit_error("int4")))
    np.testing.assert_array_equal(fitted(logits).argmax(axis=1), logits.argmax(axis=1))


@pytest.mark.parametrize("name", ["pacs[alpha=fitted]", "pacs_temperature"])
def test_constant_rows_have_no_risk_to_divide_by(name):
    rng = np.random.default_rng(0)
    logits = np.zeros((100, 3))
    logits[:40] = 4 * rng.normal(size=(40, 3))
    fitted = calibrators.get(name).fit(
        logits, rng.integers(3, size=100), context=CalibrationContext(epsilon=1 / 14)
    )
    assert np.isfinite(fitted(logits)).all()
