"""The leaderboard: compact in a terminal, complete in markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from calbench.escaping import markdown_text, printable
from calbench.report._format import EstimateRow, Rank, Row
from calbench.report._judged import judged
from calbench.report._pooled import PooledLine, pooled
from calbench.report._results import hurts, verdict

_MARKS = {"pass": ("✓", "green"), "inconclusive": ("?", "yellow"), "fail": ("✗", "red"), "": (" ", "")}
_HURTS = {"yes": "▼", "maybe": "▽", "": ""}
_METRICS = ("ece", "nll", "brier", "brier_toplabel", "accuracy")
_MARKED = ("ece", "ece_shared_bins")
_MARKED_AT_REFERENCE = (*_MARKED, "brier", "brier_toplabel")  # what the shipped suite asks of it
_TITLES = {"accuracy": "accuracy", "brier_toplabel": "top-label BRIER"}

LEGEND = (
    "Each number is the ECE on the test items after a calibrator fitted on the full-precision model"
    " (fp32 itself: fitted and scored there). ✓ within the margin, ✗ shown to exceed it, ? the interval"
    " holds the margin: the worst gate of ECE, and at fp32 of ECE and the Brier score; a gate that"
    " fails on another metric is named (✗accuracy); no mark where there is none. ▼ this calibrator is shown"
    " to make the quantized model worse than none, ▽ here it does, by more than the margin, but that is not"
    " shown."
)
TOP_LABEL_LEGEND = (
    "Where only the top answer's confidence is known, as of open questions, there is no NLL and no Brier"
    " score of every class, and calibrators that need the logit of every class are left out."
)


def terminal(rows: Sequence[Row]) -> RenderableType:
    """Return one compact table per model and task: calibrators down, quantizers across."""
    parts: list[RenderableType] = []
    for (model, task), group in _by_model_and_task(rows):
        quantizers = list(dict.fromkeys(row["quantizer"] for row in group))
        sizes = " or ".join(f"{n:,}" for n in sorted({row["n_test"] for row in group}))
        parts.append(Text(printable(f"\n{model} on {task}: ECE on {sizes} test items"), style="bold"))
        table = Table()
        table.add_column("calibrator", no_wrap=True)
        for quantizer in quantizers:
            row = next(row for row in group if row["quantizer"] == quantizer)
            table.add_column(Text(printable(f"{quantizer}\n{_size(row)}")), justify="right")
        cells = {(row["calibrator"], row["quantizer"]): row for row in group}
        for calibrator in dict.fromkeys(row["calibrator"] for row in group):
            found = [cells.get((calibrator, quantizer)) for quantizer in quantizers]
            table.add_row(Text(printable(calibrator)), *[_short(row) if row else Text("") for row in found])
        parts.append(table)
    return Group(*parts, Text(" ".join(_legends(rows)), style="dim"))


def markdown(rows: Sequence[Row]) -> str:
    """Return the whole leaderboard as markdown, one table per model and task."""
    lines = ["# Leaderboard", "", *(part for legend in _legends(rows) for part in (legend, ""))]
    lines += [
        "`Δ ECE` is the degradation: the transferred calibrator's ECE minus that of the calibrated reference,"
        " on the same items; `regret` is what refitting on the quantized model would gain; intervals are"
        " paired bootstrap intervals. Bits are stored bits per weight of the quantized layers, scales"
        " included; MiB is the whole model in memory. `rank` is the place by ECE among the calibrators of one"
        " quantizer, and between which ranks comparisons with each other one leave it. `verdict` is the"
        " worst outcome of all gates of the cell, whatever their metric, and n the test items that undecided"
        " ones went on to ask; the numbers beside it are those of the items that every cell was asked.",
        "",
    ]
    for (model, task), group in _by_model_and_task(rows):
        first = group[0]
        lines += [
            f"## {markdown_text(model)} on {markdown_text(task)}",
            "",
            f"Reference: {markdown_text(first['reference'])}. {_division(group)}; {first['level']:.0%}"
            f" intervals; seed {first['seed']}.",
            "",
            tabulate([_full(row) for row in group], headers="keys", tablefmt="github", disable_numparse=True),
            "",
        ]
    for model, name, means in pooled(rows):
        table = [_of_group(line) for line in means]
        lines += [
            f"## {markdown_text(model)} on {markdown_text(name)}",
            "",
            "Mean over the group's tasks, each weighted by its test items; errors of tasks are independent.",
            "",
            tabulate(table, headers="keys", tablefmt="github", disable_numparse=True),
            "",
        ]
    return "\n".join(lines)


def _division(group: Sequence[Row]) -> str:
    """Say how many items were fitted on and scored, and whether gates were cross-fitted."""
    sizes = sorted({(row["n_calibration"], row["n_test"]) for row in group}, reverse=True)
    said = " or ".join(f"fitted on {fitted:,} items, scored on {scored:,}" for fitted, scored in sizes)
    folds = max((gate.get("folds") or 1 for row in group for gate in row["gates"]), default=1)
    return said.capitalize() + (f" (gates: {folds} folds of all items)" if folds > 1 else "")


def _of_group(line: PooledLine) -> dict[str, str]:
    return {
        "quantizer": markdown_text(line["quantizer"]),
        "calibrator": markdown_text(line["calibrator"]),
        "tasks": str(line["n_tasks"]),
        "n": f"{line['n_test']:,}",
        **{_title(m): _with_interval(line["transferred"][m]) for m in _METRICS if m in line["transferred"]},
        "Δ ECE": _with_interval(line["degradation"]["ece"], "+"),
    }


def summary(rows: Sequence[Row], *, calibrator: str) -> str:
    """Return one markdown table of all models, tasks and quantizers for a single calibrator."""
    chosen = [row for row in rows if row["calibrator"] == calibrator]
    table: str = tabulate(
        [_brief(row) for row in chosen], headers="keys", tablefmt="github", disable_numparse=True
    )
    return table


def _brief(row: Row) -> dict[str, str]:
    arms, size = row["arms"], row["quantization"]
    return {
        "model": markdown_text(row["model"]),
        "task": markdown_text(row["task"]),
        "n": f"{row['n_test']:,}",
        "quantizer": markdown_text(row["quantizer"]),
        "bits": bits(size["effective_bits"], 1),
        "MiB": mebibytes(size["resident_bytes"], 0),
        "accuracy": f"{arms['raw_candidate']['accuracy']['value']:.3f}",
        "raw ECE": f"{arms['raw_candidate']['ece']['value']:.3f}",
        "transferred ECE": _with_interval(arms["transferred"]["ece"], digits=3),
        "Δ": "" if is_reference(row) else _with_interval(row["degradation"]["ece"], "+", 3),
        "verdict": verdict_text(row),
    }


def is_reference(row: Row) -> bool:
    """Whether a row is of the full-precision model itself: nothing is transferred there."""
    return bool(row["records"]["reference"] == row["records"]["candidate"])


def rank_text(place: Rank | None) -> str:
    """Return between which ranks a calibrator lies, ``""`` if it was not ranked.

    >>> rank_text({"rank": 2, "interval": [1, 4], "of": 9})
    '2 (1–4)'
    """
    if not place:
        return ""
    return f"{place['rank']} ({place['interval'][0]}–{place['interval'][1]})"


def bits(known: float | None, digits: int) -> str:
    """Return the stored bits per quantized weight; ``""`` if a record from elsewhere does not say."""
    return "" if known is None else f"{known:.{digits}f}"


def mebibytes(known: float | None, digits: int) -> str:
    """Return the model's size in memory in MiB; ``""`` if it is not known."""
    return "" if known is None else f"{known / 2**20:.{digits}f}"


def _by_model_and_task(rows: Sequence[Row]) -> Iterator[tuple[tuple[str, str], list[Row]]]:
    for key, group in groupby(rows, key=lambda row: (row["model"], row["task"])):
        yield key, list(group)


def _legends(rows: Sequence[Row]) -> list[str]:
    top_label = any("nll" not in row["arms"]["transferred"] for row in rows)
    return [LEGEND, TOP_LABEL_LEGEND] if top_label else [LEGEND]


def _short(row: Row) -> Text:
    mark, style = _MARKS[_verdict_on_ece(row)]
    failed = {gate["metric"].partition("[")[0] for gate in row["gates"] if gate["outcome"] == "fail"}
    others = sorted(failed.difference(_MARKED_AT_REFERENCE if is_reference(row) else _MARKED))
    if others:  # a mark of ECE alone would hide them
        mark, style = f"{mark} ✗{','.join(map(printable, others))}".strip(), "red"
    return Text.assemble(
        f"{row['arms']['transferred']['ece']['value']:.4f}", _HURTS[hurts(row)] or " ", (f" {mark}", style)
    )


def _verdict_on_ece(row: Row) -> str:
    metrics = _MARKED_AT_REFERENCE if is_reference(row) else _MARKED
    return verdict(g for g in row["gates"] if g["metric"].partition("[")[0] in metrics)


def _full(row: Row) -> dict[str, str]:
    arms = row["arms"]
    reference = is_reference(row)
    return {
        "quantizer": markdown_text(row["quantizer"]),
        "bits": bits(row["quantization"]["effective_bits"], 2),
        "MiB": mebibytes(row["quantization"]["resident_bytes"], 1),
        "calibrator": markdown_text(row["calibrator"]),
        "rank": rank_text(row.get("rank")),
        "ECE raw": f"{arms['raw_candidate']['ece']['value']:.4f}",
        **{
            _title(metric): _with_interval(arms["transferred"][metric])
            for metric in _METRICS
            if metric in arms["transferred"]
        },
        "Δ ECE": "" if reference else _with_interval(row["degradation"]["ece"], "+"),
        "regret": "" if reference else _with_interval(row["regret"]["ece"], "+"),
        "verdict": verdict_text(row),
    }


def verdict_text(row: Row) -> str:
    """Return the verdict and what failed, whether it was accepted, the mark of a calibrator that hurts."""
    accepted = "(accepted)" if any(gate["accepted"] for gate in row["gates"]) else ""
    broken = "; ".join(each.figure() for each in judged([row]) if each.outcome == "fail")
    said = f"fail: {markdown_text(broken)}" if broken else verdict(row["gates"])
    most = max((gate["n"] for gate in row["gates"]), default=0)
    further = f"at n = {most:,}" if most > row["n_test"] else ""
    others = sorted({g["reference"] for g in row["gates"] if g["reference"].startswith("quantizer:")})
    whose = f"(gates against {markdown_text(', '.join(others))} too)" if others else ""
    return " ".join(filter(None, (said, further, whose, accepted, _HURTS[hurts(row)])))


def _title(metric: str) -> str:
    return _TITLES.get(metric, metric.upper())


def _with_interval(estimate: EstimateRow, sign: str = "", digits: int = 4) -> str:
    low, high = (f"{bound:{sign}.{digits}f}" for bound in estimate["interval"])
    return f"{estimate['value']:{sign}.{digits}f} [{low}, {high}]"


def _size(row: Row) -> str:
    size = row["quantization"]
    shown = bits(size["effective_bits"], 1), mebibytes(size["resident_bytes"], 0)
    return "\n".join(f"{value} {unit}" for value, unit in zip(shown, ("bits", "MiB"), strict=True) if value)
