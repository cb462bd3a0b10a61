"""``calbench compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from calbench.cli._application import app
from calbench.cli._options import (
    MARGIN,
    SEED,
    AsJson,
    Inconclusive,
    Pair,
    Resamples,
    Seed,
    Undecided,
    reads_pair,
    status_of,
)
from calbench.cli._output import print_json, say

if TYPE_CHECKING:
    from calbench.gates import Decision


@app.command()
@reads_pair
def compare(
    *,
    pair: Pair,
    metric: Annotated[str, typer.Option(help="Ids of metrics, separated by commas.")] = "ece",
    margin: Annotated[float, typer.Option(help="How much worse is accepted.")] = MARGIN,
    relative: Annotated[bool, typer.Option(help="The margin is a share, 0.05 for 5%.")] = False,
    inconclusive: Inconclusive = Undecided.report,
    n_resamples: Resamples = 2000,
    seed: Seed = SEED,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table for a pull request.")] = False,
    as_json: AsJson = False,
) -> None:
    """Gate a candidate against a reference: exit status 1 if it is shown to be worse, 3 if undecided.

    The reference comes first. Items are matched by id; those that only one file has are left out, counted
    and named. How far the two models' answers lie apart is printed too.

    Example: calbench compare fp32.parquet int4.parquet --metric ece,nll --margin 0.02

    Example: calbench compare fp16/ int4/ --metric nll --json   (folders of lm-eval samples)
    """
    from dataclasses import asdict

    from calbench import gates
    from calbench.metrics import get, precision_split
    from calbench.selection import split_patterns

    both = pair.both
    compared = gates.compare(both.reference, both.candidate, n_resamples=n_resamples, seed=seed)
    decisions = []
    for name in split_patterns(metric):
        worse = "decrease" if get(name).direction == "higher" else "increase"
        limit = {f"max_{'relative_' if relative else ''}{worse}": margin}
        decisions.append(compared.decide(name, **limit))  # type: ignore[arg-type]
    split = precision_split(both.candidate, both.reference)
    if as_json:
        print_json(
            {
                "reference": str(pair.reference),
                "candidate": str(pair.candidate),
                "gates": [decision.to_plain(test="calbench compare") for decision in decisions],
                "precision_split": asdict(split),
                "only_reference": list(both.only_reference),
                "only_candidate": list(both.only_candidate),
            }
        )
    elif markdown:
        typer.echo(_markdown(decisions))
    else:
        typer.echo(f"reference {pair.reference}, candidate {pair.candidate}")
        for decision in decisions:
            typer.echo(_line(decision))
        flip = "flip" if split.flips_of == "answers" else "turn right or wrong"
        typer.echo(
            f"answers that {flip}: {split.flip_rate:.1%}; confidence moves by"
            f" {split.confidence_shift_mean:.4f} on average, at most {split.confidence_shift_max:.4f}"
        )
        for note in both.notes:
            say(f"note: {note}")
    raise typer.Exit(status_of((d.outcome for d in decisions), inconclusive))


def _markdown(decisions: list[Decision]) -> str:
    """Return a row a metric, for a comment on a pull request."""
    from tabulate import tabulate

    rows = [
        {
            "metric": d.change.metric,
            "reference": f"{d.change.reference_value:.4f}",
            "candidate": f"{d.change.candidate_value:.4f}",
            f"change [{d.change.level:.0%} interval]": "{:+.4f} [{:+.4f}, {:+.4f}]".format(
                d.change.value, *d.change.interval
            ),
            "limit": f"{d.limit:+g}{' relative' if d.change.relative else ''}",
            "n": f"{d.change.n:,}",
            "verdict": d.outcome,
        }
        for d in decisions
    ]
    text: str = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
    return text


def _line(decision: Decision) -> str:
    measured = decision.change
    low, high = measured.interval
    unit = " relative" if measured.relative else ""
    needed = f"; about {decision.items_needed:,} items would decide" if decision.items_needed else ""
    return (
        f"{decision.outcome}: {measured.metric} reference {measured.reference_value:.4f} -> candidate"
        f" {measured.candidate_value:.4f}: change {measured.value:+.4f} [{low:+.4f}, {high:+.4f}],"
        f" margin {decision.limit:+g}{unit}, n = {measured.n:,}{needed}"
    )
