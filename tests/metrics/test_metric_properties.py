"""What holds for every metric, on whatever data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit, logit

from calbench import metrics
from calbench.errors import InputError
from calbench.metrics import Outcomes
from calbench.records import Predictions, TopLabelPredictions

QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
ALL = metrics.names()
# Not defined on every data set: what they divide by can be empty, or a likelihood has no maximum.
PARTIAL = {
    "auroc_confidence",
    "calibration_intercept",
    "calibration_slope",
    "overconfidence_error_rate",
    "selective_risk",
    "skce",
}


@st.composite
def answers(draw):
    n, k = draw(st.integers(1, 40)), draw(st.integers(2, 6))
    # Few distinct values, so that ties and exact edges, 0 and 1 come up.
    raw = draw(hnp.arrays(np.float64, (n, k), elements=st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 1.0, 3.0])))
    raw[raw.sum(axis=1) == 0] = 1.0
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, k - 1)))
    return raw / raw.sum(axis=1, keepdims=True), labels


def value(name, probs, labels, **options):
    try:
        return metrics.get(name)(probs, labels, **options)
    except InputError as error:
        if name not in PARTIAL or "not defined" not in str(error):
            raise
        return None


@pytest.mark.parametrize("name", ALL)
@QUICK
@given(data=answers())
def test_stays_in_its_range(name, data):
    found = value(name, *data)
    low, high = metrics.get(name).range
    assert found is None or low - 1e-12 <= found <= high + 1e-12


@pytest.mark.parametrize("name", ALL)
@QUICK
@given(data=answers(), seed=st.integers(0, 99))
def test_the_order_of_a_records_rows_changes_nothing_at_all(name, data, seed):
    probs, labels = data
    probs = 0.99 * probs + 0.01 / probs.shape[1]  # a record's label needs a finite logit
    record = Predictions.from_probs([f"q{i}" for i in range(len(labels))], probs, labels)
    shuffled = record.take(np.random.default_rng(seed).permutation(record.item_ids))
    try:
        expected = metrics.evaluate(name, record)
    except InputError:
        with pytest.raises(InputError):
            metrics.evaluate(name, shuffled)
    else:
        assert metrics.evaluate(name, shuffled) == expected


@pytest.mark.parametrize("name", ALL)
@QUICK
@given(data=answers(), scale=st.sampled_from([1e-3, 2.0, 7.5]))
@example(data=(np.array([[1.0, 0.0], *[[0.5, 0.5]] * 3]), np.array([1, 1, 1, 0])), scale=1e-3)
def test_equal_weights_are_no_weights(name, data, scale):
    probs, labels = data
    weighted = value(name, probs, labels, sample_weight=np.full(len(labels), scale))
    plain = value(name, probs, labels)
    assert weighted == plain or weighted == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize("name", [n for n in ALL if n not in PARTIAL])
@QUICK
@given(data=answers(), seed=st.integers(0, 99))
def test_counts_that_keep_the_total_are_repeated_items(name, data, seed):
    probs, labels = data
    n = len(labels)
    counts = np.bincount(np.random.default_rng(seed).integers(n, size=n), minlength=n)
    rows = np.repeat(np.arange(n), counts)
    weighted = metrics.get(name)(probs, labels, sample_weight=counts)
    # 1e-9: the smooth error is solved for to 1e-10
    assert weighted == pytest.approx(metrics.get(name)(probs[rows], labels[rows]), abs=1e-9)


def certainties_beside_even_chances(n_even, n_right):
    """As many certain answers are wrong as even chances come true: the likelihood is nearly flat."""
    confidences = np.r_[np.full(n_even, 0.5), np.ones(n_right)]
    return Outcomes.from_top_label(confidences, np.arange(len(confidences)) < n_right)


@pytest.mark.parametrize(("n_even", "n_right"), [(1, 1), (22, 1), (10, 2), (300, 7)])
def test_a_flat_likelihood_has_its_maximum_whatever_scale_batch_and_order(n_even, n_right):
    outcomes = certainties_beside_even_chances(n_even, n_right)
    statistic = metrics.get("calibration_intercept").weighted(outcomes)
    (alone,) = statistic(np.ones((len(outcomes), 1)))
    fitted = n_even * expit(alone) + n_right * expit(logit(1 - 1e-6) + alone)
    assert fitted == pytest.approx(n_right, abs=1e-12)
    scales = np.full((len(outcomes), 5), [1e-3, 1 / 3, 1, 7.5, 1e9])
    np.testing.assert_allclose(statistic(scales), alone, rtol=0, atol=1e-9)
    rows = np.random.default_rng(0).permutation(len(outcomes))
    shuffled = Outcomes.from_top_label(outcomes.confidences[rows], outcomes.correct[rows])
    again = metrics.get("calibration_intercept").weighted(shuffled)(scales)
    np.testing.assert_allclose(again, alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("confidences", "correct", "slope", "intercept"),
    [
        ([0.6, 0.7, 0.8], [1, 1, 1], False, False),  # all right
        ([0.6, 0.7, 0.8], [0, 0, 0], False, False),  # all wrong
        ([0.6, 0.7, 0.8], [0, 0, 1], False, True),  # a threshold separates them
        ([0.6, 0.6, 0.8], [0, 1, 1], False, True),  # but for a tie
        ([0.6, 0.6, 0.6], [0, 1, 1], False, True),  # one confidence
        ([1 / 3, np.nextafter(1 / 3, 1), 1 / 3], [1, 0, 1], False, True),  # one but for rounding
        ([0.6, 0.7, 0.8], [0, 1, 0], True, True),
        ([0.0, 0.5, 1.0], [1, 0, 0], False, True),
        ([0.0, 1.0, 1.0], [1, 0, 1], False, True),
        ([0.0, 0.0, 1.0, 1.0], [1, 0, 0, 1], True, True),
    ],
)
@pytest.mark.parametrize("scale", [1e-12, 1, 1e12])
def test_whether_slope_and_intercept_are_defined_is_read_off_the_items(
    confidences, correct, slope, intercept, scale
):
    # an item of no weight, and a batch with other columns, decide nothing
    outcomes = Outcomes.from_top_label([*confidences, 0.55], np.array([*correct, 1], dtype=bool))
    n = len(confidences)
    weights = np.random.default_rng(0).uniform(0.1, 10, (n + 1, 7))
    weights[n, :6] = 0
    weights[:, :6] *= scale
    for name, defined in [("calibration_slope", slope), ("calibration_intercept", intercept)]:
        values = metrics.get(name).weighted(outcomes)(weights)[:6]
        assert (np.isfinite(values) == defined).all()


@pytest.mark.parametrize("name", ALL)
@QUICK
@given(data=answers(), seed=st.integers(0, 99))
def test_many_weightings_at_once_are_each_one_alone(name, data, seed):
    probs, labels = data
    n = len(labels)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=4).astype(float)
    together = metrics.get(name).weighted(Outcomes.from_distribution(probs, labels))(counts.T)
    for found, weight in zip(together, counts, strict=True):
        alone = value(name, probs, labels, sample_weight=weight)
        assert np.isnan(found) if alone is None else found == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_a_weight_of_zero_leaves_the_item_out(name, both_signs, rng):
    probs, labels = (a[:400] for a in both_signs)
    weight = rng.uniform(0.5, 2, 400)
    weight[::3] = 0
    kept = weight > 0
    found = metrics.get(name)(probs, labels, sample_weight=weight)
    expected = metrics.get(name)(probs[kept], labels[kept], sample_weight=weight[kept])
    # These two depend on how many items a weight stands for, and count the rows that have none.
    relative_to_rows = {"aurc": 2e-3, "ece_debiased": 1e-2, "skce": 1e-3}
    assert found == pytest.approx(expected, abs=relative_to_rows.get(name, 1e-9))


@pytest.mark.parametrize("name", ALL)
def test_a_top_label_record_gives_the_same_or_is_refused(name, both_signs):
    probs, labels = both_signs
    record = Predictions.from_probs(range(len(labels)), probs, labels)
    top = record.to_top_label()
    if metrics.get(name).needs != "top-label":
        with pytest.raises(InputError, match="needs the probability of every class"):
            metrics.evaluate(name, top)
    else:
        assert metrics.evaluate(name, top) == metrics.evaluate(name, record)


@pytest.mark.parametrize("name", [n for n in ALL if metrics.get(n).to_absolute_sums is not None])
@pytest.mark.parametrize("options", ["", "[n_bins=4]"])
def test_sums_of_absolute_values_add_up_to_the_metric(name, options, both_signs):
    metric = metrics.get(name + options)
    items = Outcomes.from_distribution(*both_signs)
    sums = metric.absolute_sums(items)
    total = np.abs(sums.sums()).sum() / len(items)
    assert total == pytest.approx(metric(*both_signs), abs=1e-12)
    assert np.abs(sums.coarsened().sums()).sum() / len(items) <= total + 1e-12


@pytest.mark.parametrize(
    "name", ["ece", "ece[strategy=quantile]", "smece", "ks", "nll", "brier", "ece_debiased"]
)
def test_perfect_answers_have_no_error(name):
    probs = np.eye(3)[[0, 1, 2, 1]]
    # 0 up to the resolution of the smooth error's places
    assert metrics.get(name)(probs, [0, 1, 2, 1]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", [n for n in ALL if n not in PARTIAL])
def test_one_item_is_enough(name):
    assert np.isfinite(metrics.get(name)([[0.7, 0.3]], [0]))


@pytest.mark.parametrize("name", sorted(PARTIAL - {"skce"}))  # two items make a pair
def test_what_is_not_defined_is_an_error_and_not_a_number(name):
    with pytest.raises(InputError, match="not defined for these 2 items"):
        metrics.get(name)([[0.7, 0.3], [0.7, 0.3]], [0, 0])


@QUICK
@given(data=answers())
def test_the_gap_never_exceeds_the_binned_errors(data):
    gap = abs(metrics.overconfidence_gap(*data))
    ece = metrics.expected_calibration_error(*data)
    assert gap <= ece + 1e-12
    assert ece <= metrics.top_label_calibration_error(*data) + 1e-12
    assert ece <= metrics.expected_calibration_error(*data, norm="l2") + 1e-12
    assert gap <= metrics.ks_calibration_error(*data) + 1e-12


@QUICK
@given(data=answers())
def test_the_brier_score_is_the_sum_of_its_parts(data):
    probs, labels = data
    parts = metrics.brier_decomposition(probs, labels)
    assert parts.brier == pytest.approx(parts.calibration + parts.refinement + parts.residual, abs=1e-12)


def test_nothing_is_left_of_the_brier_score_where_bins_hold_equal_probabilities(rng):
    probs = rng.multinomial(10, [0.2, 0.3, 0.5], size=300) / 10
    parts = metrics.brier_decomposition(probs, rng.integers(3, size=300), n_bins=20)
    assert parts.calibration > 0.01
    assert parts.residual == pytest.approx(0, abs=1e-12)


def test_metrics_of_a_top_label_record_without_class_vectors():
    record = TopLabelPredictions(["a", "b"], [0.9, 0.7], [True, False])
    assert metrics.evaluate("ece", record) == pytest.approx(0.4)
    weighted = metrics.evaluate(
        "ece", TopLabelPredictions(["b", "a"], [0.7, 0.9], [False, True]), sample_weight=[3, 1]
    )
    assert weighted == pytest.approx(0.25 * 0.1 + 0.75 * 0.7)
