"""Formulas of the bounds against a second derivation, written by somebody who had not seen the first.

Agreement is to rounding (1e-9 of the largest value), unless a test says otherwise.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from calbench.metrics import Outcomes, get
from calbench.statistics import Design, LabelSample, labelled_change, looks, sequential_p_value
from calbench.statistics._bounds import _least_bias, absolute_sum_bounds
from calbench.statistics._unit_sums import UnitSums, combined_variance


def pair(seed, n, noise):
    """Return two outcomes of two classes: a model, and itself with noise on its logit."""
    rng = np.random.default_rng(seed)
    logit = 2.4 * rng.normal(size=n)
    label = rng.random(n) < 1 / (1 + np.exp(-0.75 * logit))
    sides = []
    for said in (logit, logit + noise * rng.normal(size=n)):
        right = 1 / (1 + np.exp(-np.abs(said)))
        sides.append(Outcomes.from_top_label(right, (said > 0) == label))
    return sides


def covariance(parts, clusters):
    """Of the mean of rows: sums by cluster, less its share of the total, times 1 / (1 - share)."""
    names = np.arange(len(parts)) if clusters is None else clusters
    n, total = len(parts), np.zeros((parts.shape[1],) * 2)
    centred = parts - parts.mean(axis=0)
    for name in np.unique(names):
        rows = names == name
        residual = centred[rows].sum(axis=0)
        factor = 1.0 if clusters is None else 1 / (1 - rows.mean())
        total += factor * np.outer(residual, residual)
    return total / n**2


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("metric", ["ece[strategy=quantile]", "ece_shared_bins"])
def test_sums_by_bin_and_cluster_and_their_covariances(metric, seed):
    n = (200, 300, 500)[seed % 3]
    reference, candidate = pair(seed, n, (0.02, 0.1, 0.3, 0.8)[seed % 4])
    rng = np.random.default_rng([seed, 1])
    clusters = rng.integers(40, size=n) if seed >= 10 else None
    design = Design.of(n, clusters=clusters)
    wanted = get(metric)
    found = [wanted.absolute_sums(side) for side in (candidate, reference)]
    found[1] = found[1].on(found[0]) if wanted.shared_groups else found[1]
    ours, theirs = (UnitSums.of(side, design) for side in found)
    n_bins = len(found[0].coarse)
    parts = np.zeros((n, 2 * n_bins))
    for k, side in enumerate((candidate, reference)):
        parts[np.arange(n), k * n_bins + found[k].groups[:, 0]] = side.confidences - side.correct
    expected = covariance(parts, clusters) * n**2
    scale = np.abs(expected).max() * 1e-9
    assert np.append(ours.totals, theirs.totals) == pytest.approx(parts.sum(axis=0), abs=1e-9)
    empirical = np.append(ours.empirical, theirs.empirical)
    assert empirical == pytest.approx(np.diag(expected), abs=scale)
    assert ours.covariances(theirs) == pytest.approx(np.diag(expected[:n_bins, n_bins:]), abs=scale)
    signs = np.append(np.sign(ours.totals), -np.sign(theirs.totals))
    both = combined_variance([(signs[:n_bins], ours), (signs[n_bins:], theirs)])
    assert both == pytest.approx(signs @ expected @ signs, abs=n_bins * scale)


def test_the_bias_of_an_absolute_value_is_that_of_a_folded_normal():
    t = np.linspace(0, 6, 25)
    expected = [stats.foldnorm.mean(x) - x for x in t]
    assert _least_bias(t) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("sizes", [[7] * 12, [20] * 9 + [100], [1, 2, 3, 5, 8, 13, 21, 34, 55, 89]])
def test_degrees_of_freedom_of_unequal_clusters(sizes):
    """Satterthwaite's of the quadratic form, written out as matrices."""
    share = np.array(sizes) / sum(sizes)
    residual = np.eye(len(sizes)) - np.outer(share, np.ones(len(sizes)))
    form = residual.T @ np.diag(1 / (1 - share)) @ residual @ np.diag(np.array(sizes, float) ** 2)
    expected = max(np.trace(form) ** 2 / np.trace(form @ form), 1.0)
    design = Design.of(sum(sizes), clusters=np.repeat(np.arange(len(sizes)), sizes))
    assert design.freedom == pytest.approx(expected, rel=1e-9)
    if len(set(sizes)) == 1:
        assert design.freedom == pytest.approx(len(sizes) - 1)
    assert design.quantile(0.975) == pytest.approx(stats.t.ppf(0.975, expected), rel=1e-9)


def test_clusters_of_unequal_sizes_err_no_more_often_than_they_may():
    """Half of the items in one of 20 clusters, and sizes that scatter: t of 19 degrees errs in 10 to 12%."""
    errors = {"one": 0, "scattered": 0}
    for seed in range(400):
        rng = np.random.default_rng(seed)
        scattered = np.maximum(1, rng.lognormal(3, 1.2, 20)).astype(int)
        for name, sizes in (("one", np.append([20] * 19, 380)), ("scattered", scattered)):
            clusters = np.repeat(np.arange(20), sizes)
            luck = np.sqrt(0.3) * rng.normal(size=(2, 20))[:, clusters]
            luck = luck + np.sqrt(0.7) * rng.normal(size=(2, len(clusters)))
            right = (luck > -0.5).astype(float)
            change = right[0] - right[1]
            design = Design(len(clusters), clusters)
            deviation = np.sqrt(design.variance(design.unit_sums(change)))
            errors[name] += abs(change.sum()) > design.quantile(0.975) * deviation
    assert max(errors.values()) <= 0.05 * 400


@pytest.mark.parametrize(("most", "extended"), [(3000, ()), (1000, (4000,)), (5000, (9000, 30000))])
def test_levels_of_looks_are_shares_of_the_items_that_they_add(most, extended):
    planned = looks(most, extended=extended)
    ends = [most, *extended]
    for part, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        budget = 0.8 if part == 0 else 0.2 * 2.0**-part
        inside = [look for look in planned if begin < look.n <= end]
        before = [begin, *(look.n for look in inside)]
        shares = [
            budget * (look.n - last) / (end - begin) for look, last in zip(inside, before, strict=False)
        ]
        assert [look.share for look in inside] == pytest.approx(shares)
    values = dict(zip((look.n for look in planned), np.linspace(0.004, 0.001, len(planned)), strict=True))
    expected = min(1.0, *(values[look.n] / look.share for look in planned))
    assert sequential_p_value(values, planned) == pytest.approx(expected)


def test_a_stratified_estimate_is_that_of_horvitz_and_thompson():
    """Means and variances in two phases, written out stratum by stratum."""
    n = 600
    reference, candidate = pair(3, n, 0.8)
    rng = np.random.default_rng(3)
    flips = reference.correct != candidate.correct  # of two classes: who differs, differs in this
    rows = np.concatenate(
        [rng.permutation(np.flatnonzero(places))[:k] for places, k in ((flips, 30), (~flips, 40))]
    )
    correct = [side.correct[rows] for side in (reference, candidate)]
    sample = LabelSample(reference.confidences, candidate.confidences, flips, rows, *correct)
    change = labelled_change(sample, "overconfidence_gap")
    # Of answers that differ the guess is that half of them are right: what labels say beyond it is sampled.
    said = candidate.confidences - reference.confidences
    guess = np.where(flips, said / 2, 0.0)
    right = correct[1].astype(float) - correct[0]
    missed = guess[rows] - right
    value, second, choice = (said - guess).mean(), 0.0, 0.0
    for places in (flips, ~flips):
        mine = places[rows]
        size, labelled = places.sum(), mine.sum()
        value += size / labelled * missed[mine].sum() / n
        second += size / labelled * ((said[rows] - right)[mine] ** 2).sum() / n
        choice += (size / n) ** 2 * (1 - labelled / size) * missed[mine].var(ddof=1) / labelled
    variance = choice + (second - value**2) / n
    low, high = change.interval
    assert change.value == pytest.approx(value, abs=1e-9)
    # What turned one way and what turned the other nearly cancels in the skewness: 2% of the width.
    plain = stats.t.ppf(0.975, 29) * np.sqrt(variance + (flips.sum() / 30 / n) ** 2)
    assert (high - low) / 2 == pytest.approx(plain, rel=0.02)
    assert (high - low) / 2 >= plain


@pytest.mark.parametrize(("wins", "losses"), [(0, 3), (0, 10), (1, 3), (2, 8), (6, 20), (30, 32)])
def test_few_flips_err_no_more_often_than_they_may(wins, losses):
    """All labels of 1,000 items, few of which turn right or wrong: by the numbers that turn, exactly."""
    n, outside = 1000, np.zeros(2)
    chances = [stats.poisson.pmf(range(4 * mean + 12), mean) for mean in (wins, losses)]
    for won, lost in np.ndindex(*(len(chance) for chance in chances)):
        chance = chances[0][won] * chances[1][lost]
        if chance < 1e-4:
            continue
        flips = np.arange(n) < won + lost
        now = np.arange(n) < won
        even = np.full(n, 0.7)
        before = np.where(flips, ~now, True)
        found = LabelSample(even, even, flips, np.arange(n), before, np.where(flips, now, True))
        low, high = labelled_change(found, "accuracy").interval
        truth = (wins - losses) / n
        outside += chance * np.array([low > truth, high < truth])
    assert outside.max() <= 0.0275


def test_bounds_hold_what_a_bound_by_signs_proves():
    """As wide as a bound that is proved for normal sums: .7 to 1.5 times, of models that hardly differ.

    ``|m1| - |m2| <= s (m1 - m2)`` with s the first's sign, so the largest of ``s d + z`` errors bounds it.
    """
    ratios = []
    for seed in range(12):
        reference, candidate = pair(seed, 1000, 0.1)
        metric = get("ece_shared_bins")
        first = metric.absolute_sums(candidate)
        second = metric.absolute_sums(reference).on(first)
        low, high = absolute_sum_bounds(second, first)
        used = first.groups[:, 0]
        gaps = (candidate.confidences - candidate.correct) - (reference.confidences - reference.correct)
        parts = np.zeros((1000, 5))
        parts[np.arange(1000), used] = gaps
        spread = covariance(parts, None)
        signs = 1 - 2 * (np.arange(32)[:, None] >> np.arange(5) & 1)
        errors = np.sqrt(np.einsum("ij,jk,ik->i", signs, spread, signs))
        ratios.append((high - low) / 2 / (signs @ parts.mean(axis=0) + stats.norm.ppf(0.975) * errors).max())
    assert 0.7 < np.mean(ratios) < 1.5
