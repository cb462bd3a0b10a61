"""Where to look when a gate fails: the bins that moved most, and mistakes that are new."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calbench.metrics import Outcomes, ReliabilityBins
from calbench.records import Bool, Float64, Strings
from calbench.statistics import GateDecision

SURE = 0.9
_N_BINS_SHOWN = 3
_N_MISTAKES_SHOWN = 5
_SMALLEST_MOVE = 5e-4


@dataclass(frozen=True, eq=False)
class Pair:
    """What two models said about the same items, row by row.

    Attributes
    ----------
    item_ids : (n,) strings
        Of the items.
    candidate, reference
        The answers.
    """

    item_ids: Strings
    candidate: Outcomes
    reference: Outcomes


def headline(decision: GateDecision, keyword: str) -> str:
    """Say in one line what happened, and how sure that is."""
    d = decision
    unit = " (relative)" if d.relative else ""
    if d.reference_value is None:
        side = "above" if keyword == "at_most" else "below"
        verb = "is" if d.outcome == "fail" else "may be"
        return f"{d.metric} {verb} {side} the limit {d.margin:g}"
    verb = "got worse" if d.outcome == "fail" else "may have got worse"
    return f"{d.metric} {verb} by more than the margin {d.margin:+g}{unit}"


def figures(decision: GateDecision, candidate: str, reference: str | None) -> str:
    """Say by how much, with what certainty."""
    d = decision
    low, high = d.interval
    if reference is None or d.reference_value is None:
        value = f"{candidate} {d.candidate_value:.4f}, {d.level:.0%} interval [{low:.4f}, {high:.4f}]"
    else:
        unit = " (relative)" if d.relative else ""
        value = (
            f"{reference} {d.reference_value:.4f} -> {candidate} {d.candidate_value:.4f}:"
            f" Δ = {d.delta:+.4f}{unit}, {d.level:.0%} interval [{low:+.4f}, {high:+.4f}]"
        )
    return f"{value}, n = {d.n:,} test items"


def what_moved(pair: Pair) -> list[str]:
    """Return lines on the reliability bins that moved most and on new mistakes made with confidence."""
    return [*_bins(pair), *_mistakes(pair)]


def where_it_lies(item_ids: Strings, items: Outcomes) -> list[str]:
    """Return lines on the bins that add most to one model's calibration error, and on sure mistakes."""
    bins = ReliabilityBins.of(items.confidences, items.correct)
    gaps = _gaps(bins)
    order = np.argsort(-np.abs(gaps), kind="stable")[:_N_BINS_SHOWN]
    lines = ["bins that add most (confidence: n, mean confidence, accuracy, part of the ECE):"]
    lines += [f"  {_edges(bins, b)}: {_bin(bins, b)}, {gaps[b]:+.4f}" for b in order if bins.weights[b]]
    return [*lines, *_list_mistakes("mistakes", item_ids, items, None, _sure_and_wrong(items))]


def new_sure_mistakes(candidate: Outcomes, reference: Outcomes, *, sure: float = SURE) -> Bool:
    """Return which items ``(n,)`` the candidate alone answers wrongly with at least that confidence."""
    return np.asarray(_sure_and_wrong(candidate, sure) & ~_sure_and_wrong(reference, sure))


def _sure_and_wrong(items: Outcomes, sure: float = SURE) -> Bool:
    return np.asarray(~items.correct & (items.confidences >= sure))


def _bins(pair: Pair) -> list[str]:
    after = ReliabilityBins.of(pair.candidate.confidences, pair.candidate.correct)
    before = ReliabilityBins.of(pair.reference.confidences, pair.reference.correct)
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


def _mistakes(pair: Pair) -> list[str]:
    new = new_sure_mistakes(pair.candidate, pair.reference)
    return _list_mistakes("new mistakes", pair.item_ids, pair.candidate, pair.reference, new)


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
