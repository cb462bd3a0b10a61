"""``calbench run``."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.cli._application import app
from calbench.cli._harness_options import names_tasks
from calbench.cli._options import (
    SEED,
    AllowHost,
    AsJson,
    Chat,
    Device,
    Multiturn,
    Profile,
    ProfileName,
    Resamples,
    StoreFolder,
)
from calbench.cli._output import print_json, say
from calbench.errors import CalbenchError

if TYPE_CHECKING:
    from calbench.runs import Cell
    from calbench.studies import MissingRow


class Executor(str, Enum):
    """Who runs the models."""

    local = "local"
    ray = "ray"


@app.command()
@names_tasks
def run(
    models: Annotated[str, typer.Option(help="Ids, globs, 'all', 'not X', separated by commas.")] = "",
    quantizers: Annotated[str, typer.Option(help="Likewise, arguments in brackets.")] = "",
    tasks: Annotated[str, typer.Option(help="Likewise; each model's own tasks if left out.")] = "",
    calibrators: Annotated[str, typer.Option(help="Likewise: fitted besides; none if left out.")] = "",
    chat: Chat = None,
    multiturn: Multiturn = None,
    profile: Profile = ProfileName.default,
    store: StoreFolder = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the calibration/test division.")] = SEED,
    n_resamples: Resamples = 2000,
    device: Device = "auto",
    allow_host: AllowHost = None,
    max_age: Annotated[
        float | None,
        typer.Option(
            envvar="CALBENCH_MAX_AGE",
            help="Days after which servers are asked anew; never, if left out.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Ask nothing; print how many requests and prompt tokens a served run takes.")
    ] = False,
    replay: Annotated[bool, typer.Option(help="Use stored predictions only.")] = False,
    executor: Annotated[Executor, typer.Option(help="Who runs the models.")] = Executor.local,
    ray_address: Annotated[
        str, typer.Option(help="Of an existing Ray cluster; one is started here if left out.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Run models at several precisions on tasks, and print what each precision costs.

    fp32 is run besides, as what everything is compared with. Predictions are stored: a second run
    prints the same numbers at once. A cell whose backend is not here is skipped by name and reason, and
    so is what a pattern picked and cannot be had here, or does not go together; one that is refused
    makes the exit status 2, after all the others were run.

    Example: calbench run --models minilm --quantizers all --tasks tweets --profile quick
    """
    from rich.console import Console

    from calbench import devices
    from calbench.report import TerminalProgress, precision_json, precision_markdown
    from calbench.runs import (
        PROFILES,
        Availability,
        Cell,
        Runner,
        Selection,
        Turns,
        division,
        estimate_text,
        grid_of,
        reference_of,
        served_estimate,
    )
    from calbench.runtimes import allow, forget_after
    from calbench.store import Store, keep_limit, size_limit
    from calbench.studies import RAW, MissingRow, place, precision_rows

    size_limit()  # one that cannot be read is refused before the work
    allow(allow_host or ())
    if max_age is not None:
        forget_after(max_age)
    devices.choose(device)
    if executor is Executor.local and not replay:
        devices.device()
    started = datetime.now(timezone.utc)
    fitted = grid_of(calibrators=calibrators).calibrators(Selection()) if calibrators else ()
    grid = grid_of(models=models or None, quantizers=quantizers or None, tasks=tasks or None, calibrators=RAW)
    in_turns = Selection(turns=Turns(chat, multiturn))
    found = grid.cells(in_turns, PROFILES[profile.value])
    picked, excused = Availability().sorted_out(found, grid, in_turns)
    references = {Cell(c.model, c.task, reference_of(c.model), RAW) for c in picked}
    cells = list(dict.fromkeys((*sorted(references), *picked)))
    kept = Store.at(store)
    if dry_run:
        typer.echo(estimate_text(served_estimate(cells, PROFILES[profile.value])))
        raise typer.Exit(0)
    for model, task in dict.fromkeys((cell.model, cell.task) for cell in cells):
        with suppress(CalbenchError):  # what is wrong with it is said in its row
            say(division(model, task, PROFILES[profile.value]))
    if executor is Executor.ray and not replay:
        _run_on_ray(
            cells,
            store if store and kept.remote else str(kept.root.resolve()),
            profile.value,
            ray_address or None,
        )
        replay = True  # what the cluster could not do is not tried again here
    runner = Runner(
        kept,
        PROFILES[profile.value],
        n_resamples=n_resamples,
        planned=cells,
        progress=TerminalProgress(Console(stderr=True)),
        replay=replay,
    )
    rows = sorted(precision_rows(runner, cells, calibrators=fitted, seed=seed), key=place)
    rows += [MissingRow(cell.model, cell.task, cell.quantizer, o.reason, skipped=True) for cell, o in excused]
    if as_json:
        print_json(precision_json(rows))
    else:
        typer.echo(precision_markdown(rows))
    missing = [row for row in rows if isinstance(row, MissingRow)]
    _say_missing(missing)
    if note := keep_limit(kept, used_since=started):
        say(note)
    raise typer.Exit(0 if all(row.skipped for row in missing) else 2)


def _run_on_ray(cells: list[Cell], store: str, profile: str, address: str | None) -> None:
    from calbench.runs import RayExecutor, jobs_of

    jobs = jobs_of(cells)
    say(f"{len(jobs)} jobs on Ray")
    failures = RayExecutor(address).run(
        jobs, store=store, profile=profile, on_progress=lambda n: say(f"{n} of {len(jobs)} done")
    )
    for failure in failures:
        say(f"failed: {failure.job}: {failure.reason}")


def _say_missing(missing: list[MissingRow]) -> None:
    by_reason: dict[tuple[bool, str], list[MissingRow]] = {}
    for row in missing:
        by_reason.setdefault((row.skipped, row.reason), []).append(row)
    for (skipped, reason), rows in by_reason.items():
        models, quantizers, tasks = (
            ", ".join(dict.fromkeys(getattr(row, part) for row in rows))
            for part in ("model", "quantizer", "task")
        )
        say(f"{'skipped' if skipped else 'refused'}: {models} × {quantizers} on {tasks}: {reason}")
