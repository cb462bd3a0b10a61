"""Where to look when a gate fails: the bins that moved most, and mistakes that are new."""

from __future__ import annotations

import numpy as np

from calbench.gates._requirement import Requirement
from calbench.metrics import Outcomes, ReliabilityBins
from calbench.records import Bool, Float64, Strings
from calbench.statistics import Change

SURE = 0.9
_N_BINS_SHOWN = 3
_N_MISTAKES_SHOWN = 5
_SMALLEST_MOVE = 5e-4


def headline(requirement: Requirement, outcome: str) -> str:
    """Say in one line what is decided of a requirement, and how sure that is."""
    metric, limit = requirement.metric.id, requirement.limit
    kept, unsure = outcome == "pass", outcome == "inconclusive"
    if requirement.kind == "limit":
        side = "above" if requirement.keyword == "at_most" else "below"
        verb = "is not" if kept else "may be" if unsure else "is"
        return f"{metric} {verb} {side} the limit {limit:g}"
    if requirement.kind == "fraction":
        verb = "is at least" if kept else "may be below" if unsure else "is below"
        return f"the share of the lost {metric} that {requirement.of.id} {verb} {limit:g}"
    unit = " (relative)" if requirement.relative else ""
    verb = "did not get worse" if kept else "may have got worse" if unsure else "got worse"
    return f"{metric} {verb} by more than the margin {limit:+g}{unit}"


def figures(requirement: Requirement, change: Change) -> str:
    """Name both sides and their values, the change, and with what certainty it is known."""
    low, high = change.interval
    sign = "" if requirement.kind == "limit" else "+"
    around = f"{100 * change.level:.3g}% interval [{low:{sign}.4f}, {high:{sign}.4f}]"
    candidate = shown(requirement.candidate)
    if requirement.kind == "limit":
        value = f"{candidate} {change.value:.4f}, {around}"
    elif requirement.reference is None:
        value = f"{candidate}: {change.value:+.4f}, {around}"
    else:
        unit = " (relative)" if change.relative else ""
        value = (
            f"{shown(requirement.reference)} {change.reference_value:.4f} -> {candidate}"
            f" {change.candidate_value:.4f}: change {change.value:+.4f}{unit}, {around}"
        )
    return f"{value}, n = {change.n:,} test items{change.sampling}"


def shown(arm: str) -> str:
    """Write an arm's name as words."""
    return arm.replace("_", " ")


def what_moved(item_ids: Strings, reference: Outcomes, candidate: Outcomes) -> list[str]:
    """Return lines on the reliability bins that moved most and on new mistakes made with confidence."""
    new = new_sure_mistakes(reference, candidate)
    return [
        *_bins(reference, candidate),
        *_list_mistakes("new mistakes", item_ids, candidate, reference, new),
    ]


def where_it_lies(item_ids: Strings, items: Outcomes) -> list[str]:
    """Return lines on the bins that add most to one model's calibration error, and on sure mistakes."""
    bins = ReliabilityBins.of(items.confidences, items.correct)
    gaps = _gaps(bins)
    order = np.argsort(-np.abs(gaps), kind="stable")[:_N_BINS_SHOWN]
    lines = ["bins that add most (confidence: n, mean confidence, accuracy, part of the ECE):"]
    lines += [f"  {_edges(bins, b)}: {_bin(bins, b)}, {gaps[b]:+.4f}" for b in order if bins.weights[b]]
    return [*lines, *_list_mistakes("mistakes", item_ids, items, None, _sure_and_wrong(items))]


def new_sure_mistakes(reference: Outcomes, candidate: Outcomes, *, sure: float = SURE) -> Bool:
    """Return which items ``(n,)`` the candidate alone answers wrongly with at least that confidence."""
    return np.asarray(_sure_and_wrong(candidate, sure) & ~_sure_and_wrong(reference, sure))


def _sure_and_wrong(items: Outcomes, sure: float = SURE) -> Bool:
    return np.asarray(~items.correct & (items.confidences >= sure))


def _bins(reference: Outcomes, candidate: Outcomes) -> list[str]:
    after = ReliabilityBins.of(candidate.confidences, candidate.correct)
    before = ReliabilityBins.of(reference.confidences, reference.correct)
    moves = np.abs(_gaps(after)) - np.abs(_gaps(before))
    order = [int(b) for b in np.argsort(-np.abs(moves), kind="stable")[:_N_BINS_SHOWN]]
    shown = [b for b in order if abs(moves[b]) >= _SMALLEST_MOVE]
    if not shown:
        return ["no reliability bin moved by as much as 0.0005"]
    lines = [
        "bins that moved most (confidence: n, mean confidence, accuracy, change of its part of the ECE):"
    ]
    lines += [f"  {_edges(after, b)}: {_bin(before, b)} -> {_bin(after, b)}, {moves[b]:+.4f}" for b in shown]
    return lines


def _list_mistakes(
    what: str, item_ids: Strings, items: Outcomes, before: Outcomes | None, chosen: Bool
) -> list[str]:
    rows = np.flatnonzero(chosen)
    line = f"{what} made with confidence {SURE:g} or more: {len(rows)} of {len(items):,} items"
    rows = rows[np.argsort(-items.confidences[rows], kind="stable")][:_N_MISTAKES_SHOWN]
    named = []
    for row in rows:
        was = "" if before is None else f"{_said(before, int(row))} -> "
        named.append(f"{item_ids[row]} ({was}{items.confidences[row]:.2f})")
    return [line + (", " + ", ".join(named) if named else "")]


def _said(items: Outcomes, row: int) -> str:
    return f"{items.confidences[row]:.2f} {'right' if items.correct[row] else 'wrong'}"


def _gaps(bins: ReliabilityBins) -> Float64:
    return np.asarray((bins.confidence_sums - bins.correct_sums) / bins.weights.sum())


def _edges(bins: ReliabilityBins, b: int) -> str:
    return f"({bins.edges[b]:.2f}, {bins.edges[b + 1]:.2f}]"


def _bin(bins: ReliabilityBins, b: int) -> str:
    if not bins.weights[b]:
        return "empty"
    return f"{bins.weights[b]:.0f}, {bins.mean_confidences[b]:.2f}, {bins.accuracies[b]:.2f}"
