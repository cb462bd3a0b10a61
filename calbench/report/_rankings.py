"""Calibrators, and quantizers, ranked over all cells by NLL and Brier score.

Every entry is compared on the same cells and, within a task, on the same resamples of the same items (those
of the profile: gates that stop early would bias ranks). An entry that lacks a cell is left out and named.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np
import scipy

from calbench.metrics import get
from calbench.registry import Spec
from calbench.report._format import Counts, GateCounts, OverTasks, Ranked, Ranking, RankingRow, Row
from calbench.report._ranks import entry_of
from calbench.statistics import Resampled, rank_intervals

METRICS = ("nll", "brier", "brier_toplabel")
AGAINST = "temperature"
LEVEL = 0.95
_FLATTERING = "Q4_1"  # a reference that was itself decoded from 4 bits with a minimum, in groups of 32


def rankings(rows: Sequence[Row]) -> dict[str, Ranking]:
    """Return rankings of what rows measure, before :func:`merge` drops their resamples.

    Of calibrators over all models, tasks and quantizers; of quantizers over models and tasks, with the
    transferred temperature. The latter are compared with the first of them by name, pairwise in ``matrix``.
    """
    ranked = [row for row in rows if "ranked" in row and row["ranked"]["more"]]
    others = [row for row in ranked if row["records"]["reference"] != row["records"]["candidate"]]
    found = {
        "calibrators": _table(
            others, lambda r: r["calibrator"], lambda r: (r["model"], r["task"], r["quantizer"])
        )
    }
    tempered = [row for row in others if row["calibrator"] == AGAINST]
    flattered = sorted({row["quantizer"] for row in tempered if is_flattered(row)})
    kept = [row for row in tempered if not is_flattered(row)]
    found["quantizers"] = _table(kept, lambda r: r["quantizer"], lambda r: (r["model"], r["task"]))
    found["quantizers"]["flattered"] = flattered
    return {name: table for name, table in found.items() if table["metrics"]}


def is_flattered(row: Row) -> bool:
    """Whether a quantizer can reproduce a reference that was decoded from its own grid."""
    if _FLATTERING not in row["reference"]:
        return False
    spec = Spec.parse(row["quantizer"])
    given = {name: str(value) for name, value in dict(spec.arguments).items()}
    asymmetric = spec.name in ("awq-int4", "hqq-int4") or given.get("symmetric", "").lower() == "false"
    return spec.name == "gguf-q4_1" or (asymmetric and given.get("group_size") == "32")


def _table(
    rows: Sequence[Row], name_of: Callable[[Row], str], cell_of: Callable[[Row], tuple[str, ...]]
) -> Ranking:
    cells: dict[str, dict[tuple[str, ...], Row]] = defaultdict(dict)
    for row in rows:
        cells[name_of(row)].setdefault(cell_of(row), row)
    most = max(cells, key=lambda name: (name == AGAINST, len(cells[name])), default="")
    wanted = set(cells.get(most, ()))
    kept = {name: found for name, found in sorted(cells.items()) if wanted <= set(found)}
    against = AGAINST if AGAINST in kept else next(iter(kept), "")
    table: Ranking = {
        "against": against,
        "n_cells": len(wanted),
        "left_out": sorted(set(cells) - set(kept)),
        "flattered": [],
        "metrics": {},
    }
    if len(kept) < 2:
        return table
    order = sorted(wanted, key=str)
    gates = {name: _gates(row for row in rows if name_of(row) == name) for name in kept}
    same = {name: [found[cell]["ranked"] for cell in order] for name, found in kept.items()}
    for metric in METRICS:
        entries = {
            name: [entry for held in found if (entry := _entry(held, metric)) is not None]
            for name, found in same.items()
        }
        if any(len(found) < len(order) for found in entries.values()):
            continue
        tasks = [kept[against][cell]["task"] for cell in order]
        table["metrics"][metric] = _ranked(metric, entries, against, tasks, same, gates)
    return table


def _gates(rows: Iterable[Row]) -> GateCounts:
    found = Counter(gate["outcome"] for row in rows for gate in row["gates"])
    return {"kept": found["pass"], "lost": found["fail"], "undecided": found["inconclusive"]}


def _ranked(
    metric: str,
    entries: Mapping[str, Sequence[Resampled]],
    against: str,
    tasks: Sequence[Hashable],
    same: Mapping[str, Sequence[Ranked]],
    gates: Mapping[str, GateCounts],
) -> list[RankingRow]:
    """Return one row an entry, the best first."""
    means = {
        name: Resampled.of_values(
            get(metric),
            math.fsum(e.value for e in found) / len(found),
            np.mean([e.values for e in found], axis=0),
            found[0].n_items,
        )
        for name, found in entries.items()
    }
    ranks = rank_intervals(means, level=LEVEL)
    values = np.stack([mean.values for mean in means.values()])
    first = dict(zip(means, (values == values.min(axis=0)).mean(axis=1), strict=True))
    rows: list[RankingRow] = [
        {
            "id": name,
            "value": means[name].value,
            "rank": ranks[name].rank,
            "interval": list(ranks[name].interval),
            "first": float(first[name]),
            **_outcomes(found, entries[against]),
            "over_tasks": _over_tasks(found, entries[against], tasks),
            "matrix": {other: _outcomes(found, entries[other]) for other in entries if other != name},
            "gates": gates[name],
            "ece": math.fsum(each["value"] for each in same[name]) / len(found),
            "accuracy": math.fsum(each["more"]["accuracy"]["value"] for each in same[name]) / len(found),
        }
        for name, found in entries.items()
    ]
    return sorted(rows, key=lambda row: (row["rank"], row["id"]))


def _outcomes(own: Sequence[Resampled], theirs: Sequence[Resampled]) -> Counts:
    """Count the cells whose paired interval of the difference lies below 0, holds it, or lies above."""
    differences = np.stack([a.values - b.values for a, b in zip(own, theirs, strict=True)])
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
    wins, losses = int((high < 0).sum()), int((low > 0).sum())
    return {"wins": wins, "ties": len(own) - wins - losses, "losses": losses}


def _over_tasks(
    own: Sequence[Resampled], theirs: Sequence[Resampled], tasks: Sequence[Hashable]
) -> OverTasks | None:
    r"""Return the mean difference over tasks with the interval that takes tasks as drawn at random.

    :math:`\bar d \pm t_{k-1} s / \sqrt{k}` over the k tasks' mean differences; None for fewer than two.
    Models that are asked one task share its items, and so count together.
    """
    grouped: dict[Hashable, list[float]] = defaultdict(list)
    for task, a, b in zip(tasks, own, theirs, strict=True):
        grouped[task].append(a.value - b.value)
    means = np.array([np.mean(found) for found in grouped.values()])
    if len(means) < 2:
        return None
    quantile = scipy.special.stdtrit(len(means) - 1, (1 + LEVEL) / 2)
    half = float(quantile * means.std(ddof=1) / math.sqrt(len(means)))
    middle = float(means.mean())
    return {"value": middle, "interval": [middle - half, middle + half], "df": len(means) - 1}


def _entry(held: Ranked, metric: str) -> Resampled | None:
    found = held["more"].get(metric)
    return None if found is None else entry_of(metric, found)


def rankings_markdown(tables: Mapping[str, Ranking]) -> str:
    """Return the rankings as markdown, one table a metric."""
    from tabulate import tabulate

    from calbench.escaping import markdown_text

    lines: list[str] = []
    for kind, table in tables.items():
        for metric in filter(table["metrics"].__contains__, METRICS):  # files hold them by name
            rows = table["metrics"][metric]
            against = markdown_text(table["against"])
            lines += ["", f"## Ranking of {kind} by {metric.upper()}, over {_cells(table['n_cells'])}", ""]
            shown = [
                {
                    kind[:-1]: markdown_text(row["id"]),
                    "rank": f"{row['rank']} ({row['interval'][0]}–{row['interval'][1]})",
                    "first": f"{row['first']:.0%}",
                    f"mean {metric.upper()}": f"{row['value']:.4f}",
                    f"win / tie / loss against {against}": f"{row['wins']} / {row['ties']} / {row['losses']}",
                    "gates kept / lost / undecided": _counted(row),
                    "Δ over tasks": "" if row["id"] == table["against"] else _across(row["over_tasks"]),
                    "ECE": f"{row['ece']:.4f}",
                    "accuracy": f"{row['accuracy']:.3f}",
                }
                for row in rows
            ]
            lines.append(tabulate(shown, headers="keys", tablefmt="github", disable_numparse=True))
        lacking = "they lack a cell (a run of the models and tasks that all of them have ranks them)"
        for what, names in ((lacking, table["left_out"]), ("they are flattered", table["flattered"])):
            if names:
                lines += ["", f"Left out, as {what}: {', '.join(map(markdown_text, names))}."]
    return "\n".join([*lines[1:], ""]) if lines else ""


def _cells(n: int) -> str:
    return f"{n} cell{'s' * (n != 1)}"


def _counted(row: RankingRow) -> str:
    found = row.get("gates")
    return f"{found['kept']} / {found['lost']} / {found['undecided']}" if found else ""


def _across(found: OverTasks | None) -> str:
    if found is None:
        return ""
    low, high = found["interval"]
    return f"{found['value']:+.4f} [{low:+.4f}, {high:+.4f}], df {found['df']}"
