"""``calbench label-plan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calbench.cli._application import app
from calbench.cli._columns import reads_tables
from calbench.cli._options import SEED, AsJson, FileFormat, Format
from calbench.cli._output import print_json, refuse_overwriting
from calbench.errors import InputError

if TYPE_CHECKING:
    from calbench.records import Answers, ColumnNames
    from calbench.statistics import LabelSample
    from calbench.studies import LabelPlan

METRICS = "accuracy,overconfidence_gap,ece[n_bins=1],ece_shared_bins"


@app.command("label-plan")
@reads_tables
def label_plan(
    reference: Annotated[Path, typer.Argument(help="Answers of the reference, without labels.")],
    candidate: Annotated[Path, typer.Argument(help="Answers of the candidate to the same items.")],
    *,
    columns: ColumnNames,
    file_format: Format = FileFormat.auto,
    n: Annotated[int, typer.Option("--n", min=1, help="How many items to label.")] = 200,
    rest: Annotated[
        float, typer.Option(help="Share of the labels, at least, for items that both answer alike.")
    ] = 0.25,
    seed: Annotated[int, typer.Option(min=0, help="Of the order in which items are drawn.")] = SEED,
    out: Annotated[Path | None, typer.Option(help="Write the plan there, as csv.")] = None,
    judge: Annotated[
        Path | None, typer.Option(help="A plan whose column label is filled in: print what it shows.")
    ] = None,
    metrics: Annotated[str, typer.Option(help="Of --judge: ids, separated by commas.")] = METRICS,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    as_json: AsJson = False,
) -> None:
    """Say which items to label to tell two models apart, and what their labels show.

    Items that both models answer alike cannot change a difference in accuracy, so most labels go to the
    others; the rest is sampled. A plan is no random sample of the items, and no other command reads it.

    Example: calbench label-plan fp32.parquet int4.parquet --n 200 --out plan.csv

    Example: calbench label-plan fp32.parquet int4.parquet --judge plan.csv
    """
    from calbench import studies

    first, second = (_answers(path, columns, file_format) for path in (reference, candidate))
    files = {"reference": str(reference), "candidate": str(candidate)}
    if judge is not None:
        if out is not None:
            raise InputError("--judge reads a plan and --out writes one; leave out one of them")
        plan, sample = studies.judged_plan(first, second, judge)
        return _shown(files, plan, sample, metrics, level, as_json=as_json)
    plan = studies.plan_labels(first, second, n, rest_share=rest, seed=seed)
    if out is not None:
        refuse_overwriting(out, (reference, candidate))
        plan.write(out)
    if as_json:
        ids = [str(plan.reference.item_ids[row]) for row in plan.rows]
        return print_json({**files, **_facts(plan), "item_ids": ids})
    (flips, all_flips), (others, all_others) = plan.sizes
    typer.echo(
        f"label {flips + others:,} of {len(plan.flips):,} items: {flips:,} of the {all_flips:,} that the"
        f" models answer differently, and {others:,} of the {all_others:,} others\n"
        f"of the difference in accuracy that tells as much as {plan.worth:,} labels of items drawn at random"
    )
    if plan.reference.classes:
        typer.echo(f"a label is one of {', '.join(plan.reference.classes[:20])}")
    if out is not None:
        typer.echo(f"fill in the column label of {out}, every row of it; then give it to --judge")
    return None


def _answers(path: Path, columns: ColumnNames, file_format: FileFormat) -> Answers:
    from calbench import interchange

    return interchange.read_answers(path, columns=columns, format_=file_format.value)


def _facts(plan: LabelPlan) -> dict[str, Any]:
    """Return a plan's numbers, as JSON has them."""
    (flips, all_flips), (others, all_others) = plan.sizes
    return {
        "n_items": len(plan.flips),
        "n_flips": all_flips,
        "n_labels": {"flip": flips, "rest": others},
        "inclusion_probability": {
            "flip": flips / all_flips if all_flips else None,
            "rest": others / all_others if all_others else None,
        },
        "worth": plan.worth,
    }


def _shown(
    files: dict[str, str], plan: LabelPlan, sample: LabelSample, metrics: str, level: float, *, as_json: bool
) -> None:
    from dataclasses import asdict

    from calbench.selection import split_patterns
    from calbench.statistics import labelled_accuracy, labelled_change

    found = [labelled_change(sample, metric, level=level) for metric in split_patterns(metrics)]
    sides = ("candidate", "reference")
    own = {side: labelled_accuracy(sample, arm, level=level) for arm, side in enumerate(sides)}
    if as_json:
        changes = [asdict(change) for change in found]
        return print_json({**files, **_facts(plan), "differences": changes, "accuracy_intervals": own})
    typer.echo(
        f"{len(plan.flips):,} items, {len(sample.rows):,} labels; candidate less reference, {level:.0%}"
        " intervals"
    )
    for change in found:
        low, high = change.interval
        typer.echo(
            f"{change.metric}: {change.reference_value:.4f} -> {change.candidate_value:.4f}, change"
            f" {change.value:+.4f} [{low:+.4f}, {high:+.4f}]"
        )
    for side in reversed(sides):
        typer.echo("accuracy of the {}: [{:.4f}, {:.4f}]".format(side, *own[side]))
    return None
