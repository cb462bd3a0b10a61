"""``calbench recommend``."""

from __future__ import annotations

from typing import Annotated

import typer

from calbench.cli._application import app
from calbench.cli._compression import as_plain, divided, division_line, limits_of, reasons, show, wanted
from calbench.cli._harness_options import names_tasks
from calbench.cli._options import (
    SEED,
    AsJson,
    Device,
    Inconclusive,
    Profile,
    ProfileName,
    Resamples,
    Seed,
    StoreFolder,
    Undecided,
    status_of,
)
from calbench.cli._output import print_json, say


@app.command()
@names_tasks
def recommend(
    model: Annotated[str, typer.Argument(help="An id, a folder, a hub id or a GGUF file.")],
    task: Annotated[str, typer.Argument(help="An id, or data such as 'tickets.csv[text=body,label=kind]'.")],
    quantizers: Annotated[str, typer.Option(help="Which to try: ids, globs, 'all', 'not X'.")] = "all",
    budget_mib: Annotated[
        float | None,
        typer.Option("--budget-mib", min=0, help="The most memory that the model may take, in MiB."),
    ] = None,
    max_increase: Annotated[
        list[str] | None, typer.Option(help="How much worse a metric may be, as ece=0.02; repeatable.")
    ] = None,
    calibrator: Annotated[str, typer.Option(help="Fitted on the reference and used after it.")] = "identity",
    profile: Profile = ProfileName.default,
    inconclusive: Inconclusive = Undecided.report,
    seed: Seed = SEED,
    n_resamples: Resamples = 2000,
    store: StoreFolder = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Name the smallest build of a model that is shown to keep its calibration and its accuracy.

    Every quantizer that fits the model is tried; what is smaller but undecided is named. Exit status 1 if
    every build is shown to lose something, 3 if none is shown to keep it.

    Example: calbench recommend minilm tweets --quantizers "bnb-*,gptq-int4" --budget-mib 60
    """
    from calbench import devices
    from calbench.runs import reference_of
    from calbench.studies import at_chance, compressions, recommended

    devices.choose(device)
    limits = limits_of(max_increase or ())
    asked = wanted(model, task, quantizers, profile=profile.value, n_resamples=n_resamples, store=store)
    rows = list(
        compressions(
            asked.runner,
            asked.model,
            asked.task,
            asked.quantizers,
            calibrator=calibrator,
            limits=limits,
            seed=seed,
        )
    )
    found, missing = divided(rows)
    best, undecided = recommended(found, budget_bytes=None if budget_mib is None else budget_mib * 2**20)
    outcome = "pass" if best else "inconclusive" if undecided else "fail"
    if as_json:
        print_json(
            {
                "recommended": best and best.name,
                "undecided": [one.name for one in undecided],
                "builds": [as_plain(one) for one in found],
                "missing": {one.quantizer: one.reason for one in missing},
            }
        )
    else:
        say(division_line(asked.runner, asked.model, asked.task))
        if note := at_chance(asked.runner.record(asked.model, reference_of(asked.model), asked.task)):
            say(f"warning: {note}")
        show(sorted(found, key=lambda one: -(one.size_bytes or 0)), missing)
        sized = not found or any(one.size_bytes is not None for one in found)
        typer.echo(
            _sentence(best.name if best else None, [one.name for one in undecided], budget_mib, sized=sized)
        )
        for one in undecided:
            for line in reasons(one):
                typer.echo(f"  {line}")
    raise typer.Exit(status_of([outcome], inconclusive))


def _sentence(best: str | None, undecided: list[str], budget_mib: float | None, *, sized: bool) -> str:
    within = f" within {budget_mib:g} MiB" if budget_mib is not None else ""
    smaller = f"; smaller and undecided: {', '.join(undecided)}" if undecided else ""
    if best and not sized:
        before = f"; undecided before it: {', '.join(undecided)}" if undecided else ""
        return f"recommended: {best}, the first that is shown to keep everything; no size is known{before}"
    if best:
        return f"recommended{within}: {best}, the smallest that is shown to keep everything{smaller}"
    if undecided:
        return f"no build{within} is shown to keep everything; undecided: {', '.join(undecided)}"
    return f"no build{within} keeps everything"
