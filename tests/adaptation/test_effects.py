"""Effects, recovered fractions and collapse against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from calbench import Predictions
from calbench.adaptation import CONTRASTS, METRICS, VariantStudy
from calbench.adaptation._collapse import collapse_of
from calbench.adaptation._effects import effects
from calbench.adaptation._variants import contrasts_of, variants
from calbench.errors import InputError
from calbench.gates import Arm, Comparison, Contrast, FittedSplit, NamedArms, Split
from calbench.gates._recovery import recovered_fraction
from calbench.metrics import Outcomes
from calbench.statistics import Resamples, holm, resample

FACTORIAL = ("base", "base-ptq", "tuned", "tuned-ptq")


def by_hand():
    """A 2 × 2 of models with one confidence each: ECE is |confidence − accuracy|."""
    labels = (np.arange(100) < 70).astype(int)
    confidences = {"base": 0.75, "base-ptq": 0.80, "tuned": 0.72, "tuned-ptq": 0.90}
    draw = Resamples.draw(range(100), n_resamples=200, seed=np.random.default_rng(0))
    arms = {
        arm: Arm(Outcomes.from_probs(np.tile([1 - c, c], (100, 1)), labels), draw, METRICS)
        for arm, c in confidences.items()
    }
    return Comparison(NamedArms(FACTORIAL, arms.__getitem__))


def test_effects_equal_a_hand_computed_2_x_2():
    # ECE: base .05, base-ptq .10, tuned .02, tuned-ptq .20
    found = {(e.contrast.id, e.metric): e.estimate for e in effects(by_hand(), contrasts_of(FACTORIAL))}
    assert found["tuning", "ece"].value == pytest.approx((0.02 - 0.05 + 0.20 - 0.10) / 2)
    assert found["quantization", "ece"].value == pytest.approx((0.10 - 0.05 + 0.20 - 0.02) / 2)
    assert found["tuning × quantization", "ece"].value == pytest.approx((0.20 - 0.02) - (0.10 - 0.05))
    assert found["tuning × quantization", "accuracy"].value == 0
    # -log p of 70 right and 30 wrong answers
    nll = {c: -0.7 * np.log(c) - 0.3 * np.log(1 - c) for c in (0.75, 0.80, 0.72, 0.90)}
    assert found["tuning × quantization", "nll"].value == pytest.approx(
        (nll[0.90] - nll[0.72]) - (nll[0.80] - nll[0.75])
    )
    # only tuned-ptq reaches .9, and is wrong on 30
    assert found["tuning × quantization", "overconfidence_rate"].value == pytest.approx(0.30)


def test_a_metric_that_is_not_defined_for_an_arm_has_no_effect():
    for effect in effects(by_hand(), contrasts_of(FACTORIAL)):
        assert (effect.estimate is None) == (effect.metric == "overconfidence_error_rate")
        assert (effect.p_value is None) == (effect.estimate is None)
        assert not (effect.estimate is None and effect.shown())


def test_p_values_are_corrected_over_all_that_was_asked():
    alone = effects(by_hand(), contrasts_of(FACTORIAL)[:1], ["nll"])
    together = effects(by_hand(), contrasts_of(FACTORIAL), ["nll", "brier"])
    assert together[0].p_value > alone[0].p_value
    separately = [
        effects(by_hand(), [each], [metric])[0].p_value
        for each in contrasts_of(FACTORIAL)
        for metric in ("nll", "brier")
    ]
    np.testing.assert_allclose([e.p_value for e in together], holm(separately))


def test_a_contrast_of_an_arm_that_was_not_measured_is_refused():
    with pytest.raises(InputError, match="needs the arm 'qlora'"):
        effects(by_hand(), [Contrast("x", {"qlora": 1, "base": -1}, "?")])


def models(sharpness, *, n=3000, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(n, 1)) * 2
    labels = (rng.random(n) < 1 / (1 + np.exp(-true[:, 0]))).astype(int)
    draw = Resamples.draw(range(n), n_resamples=400, seed=rng)
    records = []
    for factor in sharpness:
        z = factor * true
        record = Predictions(range(n), np.hstack([np.zeros_like(z), z]), labels)
        records.append(resample(["ece", "nll", "accuracy"], Outcomes.from_record(record), draw))
    return records


@pytest.mark.parametrize("metric", ["ece", "nll"])
@pytest.mark.parametrize("seed", range(3))
def test_the_recovered_fraction_is_a_ratio_and_its_interval_holds_it(metric, seed):
    reference, quantized, restored = (r[metric] for r in models((1.0, 3.0, 1.6), seed=seed))
    found = recovered_fraction(reference, quantized, restored)
    expected = (quantized.value - restored.value) / (quantized.value - reference.value)
    assert found.fraction.value == pytest.approx(expected)
    low, high = found.fraction.interval
    assert low <= expected <= high
    assert 0 < low < high < 1.5


@pytest.mark.parametrize("metric", ["ece", "nll"])
def test_a_model_that_is_the_reference_recovers_all_and_one_that_is_unchanged_nothing(metric):
    reference, quantized = (r[metric] for r in models((1.0, 3.0)))
    whole = recovered_fraction(reference, quantized, reference).fraction
    assert whole.value == pytest.approx(1.0)
    assert whole.interval[0] <= 1 <= whole.interval[1]
    nothing = recovered_fraction(reference, quantized, quantized).fraction
    assert nothing.value == 0
    assert nothing.interval[0] <= 0 <= nothing.interval[1]


def test_a_fraction_of_a_cost_that_is_not_shown_is_refused():
    reference, quantized, restored = (r["ece"] for r in models((1.0, 1.05, 1.0), n=300))
    found = recovered_fraction(reference, quantized, restored)
    assert found.fraction is None
    assert "is not shown to have worsened" in found.refused


def test_a_fraction_of_an_improvement_is_refused():
    reference, quantized, restored = (r["ece"] for r in models((3.0, 1.0, 1.0)))
    assert "ece improved by quantization" in recovered_fraction(reference, quantized, restored).refused


def test_a_fraction_of_accuracy_is_refused():
    three = [r["accuracy"] for r in models((1.0, 3.0, 1.6), n=100)]
    with pytest.raises(InputError, match="less is not better"):
        recovered_fraction(*three)


def comparison(confident):
    """Arms of 400 items with a collapsed model: random answers, hardly sure of any."""
    rng = np.random.default_rng(0)
    n = 400
    labels = rng.integers(2, size=n)
    good = np.where(labels == 1, 2.0, -2.0) * np.where(rng.random(n) < 0.88, 1, -1)
    noise = rng.normal(size=n) * (3.0 if confident else 0.02)
    arms = variants(["base", "base-ptq", "base-distilled"])
    draw = Resamples.draw(range(200), n_resamples=200, seed=rng)
    splits = {}
    for arm, z in zip(arms, (good, 2.5 * good, noise), strict=True):
        record = Predictions([f"{i:03}" for i in range(n)], np.column_stack([np.zeros(n), z]), labels)
        ids = record.item_ids.tolist()
        draw = Resamples.draw(ids[:200], n_resamples=200, seed=np.random.default_rng(1))
        split = Split(tuple(ids[200:]), tuple(ids[:200]))
        splits[arm.id] = FittedSplit.of(record, split, metrics=METRICS, resamples=draw)
    return VariantStudy("m", "t", "bnb-nf4", 42, arms, splits, {})


@pytest.mark.parametrize("confident", [False, True])
def test_a_model_at_chance_is_named_as_collapsed_whatever_its_confidence(confident):
    found = comparison(confident)
    assert set(found.collapsed) == {"base-distilled"}
    text = str(found.collapsed["base-distilled"])
    assert text.startswith("right on 0.")
    assert "no merit of a model that may know nothing" in text
    assert collapse_of(found.comparison.arm("base")) is None


def test_a_collapsed_model_recovers_nothing_though_its_ece_is_excellent():
    found = comparison(confident=False).comparison
    assert found.estimate("ece", arm="base-distilled").value < found.estimate("ece", arm="base-ptq").value
    recovery = found.recovered("ece", reference="base", quantized="base-ptq", restored="base-distilled")
    assert recovery.fraction is None
    assert "collapsed" in recovery.refused or "nothing to recover" in recovery.refused


def test_every_contrast_names_arms_that_exist():
    for contrast in CONTRASTS.values():
        assert {arm.id for arm in variants(contrast.weights)} == set(contrast.weights)
