"""``calbench transfer``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from calbench.cli._application import app
from calbench.cli._options import (
    SEED,
    AsJson,
    Metrics,
    Pair,
    Resamples,
    Seed,
    metric_names,
    reads_pair,
)
from calbench.cli._output import interval, markdown_table, plain, print_json, say, table

if TYPE_CHECKING:
    from calbench.statistics import Change, Estimate


@app.command()
@reads_pair
def transfer(
    calibrator: Annotated[str, typer.Option(help="Id of the calibrator.")] = "temperature",
    *,
    pair: Pair,
    metrics: Metrics = "",
    reference_epsilon: Annotated[
        float | None, typer.Option(help="Unit error of the reference's precision, for pacs.")
    ] = None,
    candidate_epsilon: Annotated[
        float | None, typer.Option(help="Unit error of the candidate's precision, for pacs.")
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            help="Cross-fit in so many folds: all items are scored, and no regret is shown; 1 for one split."
        ),
    ] = 1,
    n_resamples: Resamples = 2000,
    seed: Seed = SEED,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table for a pull request.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fit a calibrator on the reference, use it on the candidate, and say what was lost.

    Where a file holds the top answer only, calibrators of confidences can be used: histogram,
    isotonic, beta, platt, scaling_binning.

    Example: calbench transfer fp32.parquet int4.parquet --calibrator temperature

    Example: calbench transfer bf16.parquet 3bit.parquet --columns label=answer_idx,logits=logprobs
    """
    from calbench import gates

    both = pair.both
    wanted = metric_names(metrics, both.reference)
    moved = gates.transfer(
        both.reference,
        both.candidate,
        calibrator,
        n_resamples=n_resamples,
        reference_epsilon=reference_epsilon,
        candidate_epsilon=candidate_epsilon,
        seed=seed,
        folds=folds,
    )
    parts: dict[str, dict[str, Estimate | Change]] = {
        arm: {m: moved.estimate(m, arm=arm) for m in wanted}
        for arm in gates.TRANSFER_ARMS
        if folds == 1 or arm != "refitted"
    }
    parts |= {
        name: {m: moved.contrast(name, m) for m in wanted}
        for name in gates.TRANSFER_CONTRASTS
        if folds == 1 or name != "regret"
    }
    if as_json:
        return print_json(
            {
                **pair.transferred(calibrator, moved),
                **{part: {n: plain(e) for n, e in values.items()} for part, values in parts.items()},
                "warnings": list(moved.warnings),
                "only_reference": list(both.only_reference),
                "only_candidate": list(both.only_candidate),
            }
        )
    title = (
        f"{calibrator}, {pair.reference.name} -> {pair.candidate.name}: fitted on {moved.n_calibration:,}"
        f" items, scored on {moved.n_test:,}" + (f" in {moved.folds} folds" if moved.folds > 1 else "")
    )
    lines = [
        [part.replace("_", " "), *(f"{e.value:.4f}\n{interval(e)}" for e in values.values())]
        for part, values in parts.items()
    ]
    (markdown_table if markdown else table)(title, ["", *wanted], lines)
    for warning in (*moved.warnings, *both.notes):
        say(f"note: {warning}")
    return None
