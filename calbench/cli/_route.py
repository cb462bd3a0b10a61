"""``calbench route``."""

from __future__ import annotations

from typing import Annotated

import typer

from calbench.cli._application import app
from calbench.cli._options import SEED, AsJson, Pair, Resamples, Seed, reads_pair
from calbench.cli._output import interval, print_json, say, table
from calbench.errors import InputError


@app.command()
@reads_pair
def route(
    calibrator: Annotated[str, typer.Option(help="Id of the calibrator.")] = "temperature",
    *,
    pair: Pair,
    thresholds: Annotated[
        str, typer.Option(help="Confidences from which on the candidate's answer stands, by commas.")
    ] = "",
    cost: Annotated[
        float, typer.Option(help="Of an answer of the candidate, where one of the reference costs 1.")
    ] = 0.25,
    n_resamples: Resamples = 2000,
    seed: Seed = SEED,
    as_json: AsJson = False,
) -> None:
    """Ask the reference what the candidate is unsure of: accuracy, ECE and cost against the share sent on.

    The calibrator is fitted on the reference and decides for the candidate; "refitted" is one fitted on the
    candidate itself, which shows whether the first still sends on the right items.

    Example: calbench route fp32.parquet int4.parquet --thresholds .7,.8,.9 --cost 0.3
    """
    from dataclasses import asdict

    from calbench import gates, studies

    moved = gates.transfer(
        pair.both.reference, pair.both.candidate, calibrator, n_resamples=n_resamples, seed=seed
    )
    chosen = _numbers(thresholds) or studies.THRESHOLDS
    found = list(studies.routes(moved, chosen, candidate_cost=cost))
    alone = {arm: moved.estimate("accuracy", arm=arm) for arm in ("calibrated_reference", "transferred")}
    if as_json:
        return print_json(
            {
                **pair.transferred(calibrator, moved),
                "alone": {arm: asdict(estimate) for arm, estimate in alone.items()},
                "routes": [asdict(each) for each in found],
            }
        )
    table(
        f"{calibrator}, {pair.candidate.name} -> {pair.reference.name}: fitted on {moved.n_calibration:,}"
        f" items, scored on {moved.n_test:,}",
        ["threshold", "sent on", "cost", "accuracy", "ECE", "sent on, refitted", "accuracy less refitted's"],
        [
            [
                f"{r.threshold:g}",
                f"{r.routed.value:.1%}",
                f"{r.cost:.2f}",
                f"{r.accuracy.value:.4f}\n{interval(r.accuracy)}",
                f"{r.ece.value:.4f}\n{interval(r.ece)}",
                f"{r.refitted_routed:.1%}",
                f"{r.refitting.value:+.4f}\n{interval(r.refitting)}",
            ]
            for r in found
        ],
    )
    for arm, estimate in alone.items():
        typer.echo(f"{arm.replace('_', ' ')} alone: accuracy {estimate.value:.4f} {interval(estimate)}")
    for warning in (*moved.warnings, *pair.both.notes):
        say(f"note: {warning}")
    return None


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"cannot read --thresholds {text!r}; write numbers, such as .7,.8,.9") from None
