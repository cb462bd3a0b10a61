"""Arms for people and for programs: what each is worth, and what tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from calbench import calibrators
from calbench.adaptation import METRICS, VariantStudy
from calbench.errors import CalbenchError
from calbench.gates import Comparison, Recovery
from calbench.report._format import EstimateRow, RecoveryRow, VariantsRow
from calbench.statistics import Estimate

RECOVERIES = (
    ("base", "base-ptq", "base-distilled"),
    ("tuned", "tuned-ptq", "tuned-distilled"),
    ("tuned", "tuned-ptq", "qlora"),
)
RECOVERED_METRICS = ("ece", "brier", "nll")
_TITLES = {
    "ece": "ECE",
    "brier": "Brier",
    "nll": "NLL",
    "overconfidence_rate": "wrong and ≥ .9 sure",
    "overconfidence_error_rate": "wrong if ≥ .9 sure",
    "accuracy": "accuracy",
}
LEGEND = (
    "All arms answer the same items, and all adapters were trained on the same items with the same"
    " budget. Brackets: 95% intervals; those of ECE allow for its bias. Effects are paired; * marks those"
    " told from 0 after Holm's correction over all effects of the table. † marks a collapsed arm: not shown"
    " to beat the commonest answer, so that its ECE says nothing."
)


def arms_row(study: VariantStudy) -> VariantsRow:
    """Return arms as plain JSON."""
    compared = study.comparison
    names = compared.arms.names
    return {
        "model": study.model,
        "task": study.task,
        "quantizer": study.quantizer,
        "seed": study.seed,
        "level": study.level,
        "n_training": study.n_training,
        "n_calibration": compared.n_calibration,
        "n_test": compared.n_test,
        "arms": {
            arm.id: {
                "description": arm.description,
                "record": study.records[arm.id].key,
                "metrics": {metric: _measured(compared, arm.id, metric) for metric in METRICS},
                "collapsed": str(study.collapsed.get(arm.id, "")),
                "training": _training(study, arm.id),
            }
            for arm in study.variants
        },
        "effects": [
            {
                "contrast": effect.contrast.id,
                "question": effect.contrast.question,
                "metric": effect.metric,
                "estimate": _maybe(effect.estimate),
                "p_value": effect.p_value,
                "shown": effect.shown(),
            }
            for effect in study.effects
        ],
        "calibrated": _calibrated(study),
        "recovered": [
            _recovery(
                triple,
                compared.recovered(metric, reference=triple[0], quantized=triple[1], restored=triple[2]),
            )
            for triple in RECOVERIES
            if set(triple) <= set(names)
            for metric in RECOVERED_METRICS
        ],
        "gates": [],
    }


def merge_arms(rows: Iterable[VariantsRow]) -> list[VariantsRow]:
    """Return one row per comparison, with the gates of all tests that used it."""
    merged: dict[tuple[str, str, str, int], VariantsRow] = {}
    for row in rows:
        key = (row["model"], row["task"], row["quantizer"], row["seed"])
        gates = merged[key]["gates"] if key in merged else []
        merged[key] = {**row, "gates": gates + row["gates"]}
    return [merged[key] for key in sorted(merged)]


def arms_terminal(rows: Sequence[VariantsRow]) -> RenderableType:
    """Return the tables of every comparison, for a terminal."""
    parts: list[RenderableType] = []
    for row in rows:
        parts.append(Text(f"\n{_headline(row)}", style="bold"))
        parts += [_table(part, stacked=True) for part in (_arms(row), _effects(row), _with_calibrators(row))]
        parts += [Text(line) for line in _sentences(row)]
    return Group(*parts, Text(LEGEND, style="dim"))


def arms_markdown(rows: Sequence[VariantsRow]) -> str:
    """Return the tables of every comparison as markdown."""
    lines = ["# Arms", "", LEGEND, ""]
    for row in rows:
        lines += [f"## {_headline(row)}", ""]
        for part in (_arms(row), _effects(row), _with_calibrators(row)):
            flat = [{key: value.replace("\n", " ") for key, value in line.items()} for line in part]
            lines += [tabulate(flat, headers="keys", tablefmt="github", disable_numparse=True), ""]
        lines += [f"* {line}" for line in _sentences(row)]
        lines.append("")
    return "\n".join(lines)


def _headline(row: VariantsRow) -> str:
    return (
        f"{row['model']} on {row['task']}, {row['quantizer']}: {len(row['arms'])} arms, adapters of"
        f" {row['n_training']:,} items, {row['n_test']:,} test items, seed {row['seed']}"
    )


def _arms(row: VariantsRow) -> list[dict[str, str]]:
    return [
        {
            "arm": name + (" †" if arm["collapsed"] else ""),
            **{_TITLES[metric]: _shown(estimate) for metric, estimate in arm["metrics"].items()},
        }
        for name, arm in row["arms"].items()
    ]


def _effects(row: VariantsRow) -> list[dict[str, str]]:
    lines: dict[str, dict[str, str]] = {}
    for effect in row["effects"]:
        line = lines.setdefault(effect["contrast"], {"effect": effect["contrast"]})
        star = "*" if effect["shown"] else ""
        line[f"Δ {_TITLES[effect['metric']]}"] = _shown(effect["estimate"], sign="+", mark=star)
    return list(lines.values())


def _with_calibrators(row: VariantsRow) -> list[dict[str, str]]:
    names = dict.fromkeys(name for arm in row["calibrated"].values() for name in arm)
    return [
        {
            "ECE with calibrator": name,
            **{arm: _shown_value(values.get(name)) for arm, values in row["calibrated"].items()},
        }
        for name in names
    ]


def _sentences(row: VariantsRow) -> list[str]:
    found = [
        f"{name} has collapsed: {arm['collapsed']}." for name, arm in row["arms"].items() if arm["collapsed"]
    ]
    for recovery in row["recovered"]:
        who = f"recovered by {recovery['restored']} ({recovery['metric']} of {recovery['quantized']})"
        fraction = recovery["fraction"]
        if fraction is None:
            found.append(f"{who}: refused: {recovery['refused']}.")
        else:
            found.append(
                f"{who}: {_shown(fraction).replace(chr(10), ' ')} of {recovery['cost']['value']:+.4f}."
            )
    return found


def _table(lines: Sequence[dict[str, str]], *, stacked: bool) -> RenderableType:
    if not lines:
        return Text("")
    table = Table(show_lines=stacked and any("\n" in value for line in lines for value in line.values()))
    for place, title in enumerate(lines[0]):
        table.add_column(title, no_wrap=place == 0, justify="left" if place == 0 else "right")
    for line in lines:
        table.add_row(*line.values())
    return table


def _shown(estimate: EstimateRow | None, *, sign: str = "", mark: str = "") -> str:
    if estimate is None:
        return "n/a"
    low, high = (f"{bound:{sign}.3f}" for bound in estimate["interval"])
    return f"{estimate['value']:{sign}.3f}{mark}\n[{low}, {high}]"


def _shown_value(estimate: EstimateRow | None) -> str:
    return "n/a" if estimate is None else f"{estimate['value']:.3f}"


def _measured(compared: Comparison, arm: str, metric: str) -> EstimateRow | None:
    try:
        return _plain(compared.estimate(metric, arm=arm))
    except CalbenchError:  # not defined, say because the model is never sure enough
        return None


def _calibrated(study: VariantStudy) -> dict[str, dict[str, EstimateRow | None]]:
    return {
        arm.id: {
            "none": _plain(study.comparison.estimate("ece", arm=arm.id)),
            **{
                name: _plain(study.comparison.estimate("ece", arm=f"{arm.id}+{name}"))
                for name in calibrators.names()
                if name != "identity"
            },
        }
        for arm in study.variants
    }


def _training(study: VariantStudy, arm: str) -> dict[str, Any] | None:
    history = study.training.get(arm)
    if history is None:
        return None
    return {
        name: history[name]
        for name in ("adapter", "n_steps", "kept_step", "n_parameters", "seconds", "looks")
    }


def _recovery(triple: tuple[str, str, str], found: Recovery) -> RecoveryRow:
    reference, quantized, restored = triple
    return {
        "reference": reference,
        "quantized": quantized,
        "restored": restored,
        "metric": found.metric,
        "cost": _plain(found.cost),
        "gain": _plain(found.gain),
        "fraction": _maybe(found.fraction),
        "refused": found.refused,
    }


def _maybe(estimate: Estimate | None) -> EstimateRow | None:
    return None if estimate is None else _plain(estimate)


def _plain(estimate: Estimate) -> EstimateRow:
    return {"value": estimate.value, "interval": list(estimate.interval)}
