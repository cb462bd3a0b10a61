"""``calbench check``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calbench.cli._application import app
from calbench.cli._compression import (
    VERDICTS,
    Wanted,
    as_plain,
    divided,
    division_line,
    limits_of,
    reasons,
    show,
    wanted,
)
from calbench.cli._options import (
    SEED,
    AsJson,
    Chat,
    Device,
    Inconclusive,
    Multiturn,
    Profile,
    ProfileName,
    Resamples,
    Seed,
    StoreFolder,
    Undecided,
    status_of,
)
from calbench.cli._output import print_json, say
from calbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from calbench.models import ModelSource
    from calbench.studies import Compressed, MissingRow

_N_BINS = 10
_QUANTIZERS = "bnb-int8,bnb-nf4"


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="An id, a folder, a hub id, a GGUF file, a server's address.")],
    data: Annotated[str, typer.Argument(help="A labelled file, or the id of a task.")],
    text: Annotated[str, typer.Option(help="The file's column of texts.")] = "",
    label: Annotated[str, typer.Option(help="The file's column of right classes.")] = "",
    classes: Annotated[
        str, typer.Option(help="Names of the head's outputs, in its order, where the model does not tell.")
    ] = "",
    reference: Annotated[
        str, typer.Option(help="What a compressed MODEL was made from; MODEL itself if left out.")
    ] = "",
    quantizers: Annotated[
        str,
        typer.Option(
            help="Ids, globs, 'all', 'not X'.", show_default=f"{_QUANTIZERS}; of servers all builds"
        ),
    ] = "",
    calibrator: Annotated[str, typer.Option(help="Fitted on the reference and used after it.")] = "identity",
    max_increase: Annotated[
        list[str] | None, typer.Option(help="How much worse a metric may be, as ece=0.02; repeatable.")
    ] = None,
    write_suite: Annotated[
        Path | None, typer.Option(help="A folder: leave a suite there that asks the same for ever.")
    ] = None,
    chat: Chat = None,
    multiturn: Multiturn = None,
    profile: Profile = ProfileName.full,
    inconclusive: Inconclusive = Undecided.report,
    seed: Seed = SEED,
    n_resamples: Resamples = 2000,
    store: StoreFolder = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Ask whether your model keeps its calibration and accuracy when it is compressed, on your own data.

    Exit status 0 if everything is shown to be kept, 1 if something is shown to be lost, 3 if that cannot be
    told. ECE is judged together with accuracy and the Brier score, since a model at chance can have any ECE.

    Example: calbench check ./my-bert tickets.csv --text body --label category --write-suite ci
    """
    from calbench import devices
    from calbench.cli._written_suite import check_free, write
    from calbench.runs import reference_of
    from calbench.studies import at_chance

    devices.choose(device)
    if write_suite is not None:
        check_free(write_suite)
    limits = limits_of(max_increase or ())
    named = _named(model, data, text, label, classes, reference, quantizers)
    task = _in_turns(named, chat, multiturn)
    asked = wanted(
        named.model, task, named.quantizers, profile=profile.value, n_resamples=n_resamples, store=store
    )
    rows = _rows(asked, named.candidate, calibrator, limits, seed)
    found, missing = divided(rows)
    if as_json:
        print_json(
            {
                "reference": asked.model,
                "task": asked.task,
                "builds": [as_plain(one) for one in found],
                "missing": {one.quantizer: one.reason for one in missing},
            }
        )
    else:
        say(division_line(asked.runner, asked.model, asked.task))
        if note := at_chance(asked.runner.record(asked.model, reference_of(asked.model), asked.task)):
            say(f"warning: {note}")
        show(found, missing)
        _show_reliability(found)
        for one in found:
            typer.echo(f"{VERDICTS[one.outcome]}: {one.name}")
            for line in reasons(one):
                typer.echo(f"  {line}")
    if write_suite is not None:
        builds = [one.name for one in found]
        written = write(write_suite, named.tables, builds, limits, calibrator, asked, store=store)
        say(f"written: {', '.join(written)}; run it with: cd {write_suite} && pytest")
        if "baselines/" not in written:
            say("no baseline was accepted, since not everything is kept: see --calbench-update-baseline")
    raise typer.Exit(status_of((one.outcome for one in found), inconclusive))


@dataclass(frozen=True)
class _Named:
    """What the arguments of a check mean, and the tables that would declare it."""

    model: str
    task: str
    quantizers: str
    candidate: str
    tables: dict[str, dict[str, Any]]


def _named(
    model: str, data: str, text: str, label: str, classes: str, reference: str, quantizers: str
) -> _Named:
    from calbench import models, tasks

    compressed = models.is_candidate(model)
    if compressed and not reference:
        raise InputError(
            f"{model} is {compressed}: what compression changed cannot be told without what it was made from;"
            " add --reference MODEL, a folder or a hub id"
        )
    place = reference or model
    outputs = [name.strip() for name in classes.split(",") if name.strip()]
    model_id = models.named(place, classes=outputs) if models.is_place(place) else models.get(place).id
    source = models.get(model_id)
    quantizers = quantizers or ("all" if source.builds else _QUANTIZERS)
    candidate = ""
    if compressed and compressed.startswith("a folder"):
        quantizers = f"checkpoint[folder={Path(model).expanduser().resolve()}]"
    elif reference:
        candidate = models.named(model, classes=source.classes) if models.is_place(model) else model
    tables: dict[str, dict[str, Any]] = {}
    if models.is_place(place):
        tables[f"models.{model_id}"] = _model_table(source)
    file = Path(data).expanduser()
    if not file.exists():
        if text or label:
            raise InputError(f"there is no file {data!r}; check the path")
        return _Named(model_id, data, quantizers, candidate, tables)
    declared = tasks.own_data(file, source, text=text, label=label, sets_aside=_reads_samples(quantizers))
    name = _free_task_id(file)
    tasks.declare(name, declared)
    if models.is_place(place):
        tables[f"models.{model_id}"] |= {"default_tasks": [name], "quantization_task": name}
    tables[f"tasks.{name}"] = {**declared, "file": file.resolve()}
    return _Named(model_id, name, quantizers, candidate, tables)


def _in_turns(named: _Named, chat: str | None, multiturn: bool | None) -> str:
    from calbench import models, tasks

    if chat is None or models.get(named.model).architecture != "causal-lm":
        return named.task
    return tasks.in_turns(named.task, chat=chat, multiturn=multiturn)


def _model_table(source: ModelSource) -> dict[str, Any]:
    table: dict[str, Any] = {"architecture": source.architecture}
    folder = Path(source.location)
    table["location"] = folder if folder.exists() else source.location
    if source.revision:
        table["revision"] = source.revision
    if source.classes:
        table["classes"] = list(source.classes)
    if source.multi_label:
        table["multi_label"] = True
    return {**table, "max_length": source.max_length}


def _reads_samples(patterns: str) -> bool:
    """Whether one of the quantizers chooses its rounding by looking at texts."""
    from calbench import quantizers
    from calbench.runs import PROFILES, Selection, grid_of

    grid = grid_of(models="minilm", tasks="tweets", quantizers=patterns, calibrators="identity")
    chosen = {cell.quantizer for cell in grid.cells(Selection(), PROFILES["full"])}
    return any(quantizers.get(name).n_samples for name in chosen)


def _free_task_id(file: Path) -> str:
    from calbench import tasks

    name = re.sub(r"[^a-z0-9._-]+", "-", file.name.split(".")[0].lower()).strip("-._") or "data"
    return name if name not in tasks.names() else f"own-{name}"


def _rows(
    asked: Wanted, candidate: str, calibrator: str, limits: Mapping[str, float], seed: int
) -> list[Compressed | MissingRow]:
    from calbench import models
    from calbench.runs import reference_of
    from calbench.studies import compressions, judged

    if not candidate:
        return list(
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
    models.get(candidate).resolve()  # what is wrong with it is said before the reference is asked
    records = (asked.runner.record(name, reference_of(name), asked.task) for name in (asked.model, candidate))
    return [
        judged(
            candidate,
            *records,
            calibrator=calibrator,
            limits=limits,
            seed=seed,
            n_resamples=asked.runner.n_resamples,
        )
    ]


def _show_reliability(found: list[Compressed]) -> None:
    """Print where confidence and accuracy part, for the reference and each build, as bars of text."""
    from calbench.metrics import ReliabilityBins

    first = found[0].comparison
    sides = {
        "reference": (first, first.reference),
        **{o.name: (o.comparison, o.comparison.candidate) for o in found},
    }
    typer.echo("accuracy by confidence (│ where it ought to be)")
    for name, (comparison, arm) in sides.items():
        outcomes = comparison.arm(arm).outcomes
        bins = ReliabilityBins.of(outcomes.confidences, outcomes.correct, n_bins=_N_BINS)
        typer.echo(f"  {name}")
        sums = zip(bins.weights, bins.confidence_sums, bins.correct_sums, strict=True)
        for count, confidence, accuracy in ((n, c / n, a / n) for n, c, a in sums if n):
            typer.echo(f"    {confidence:4.0%} {_bar(accuracy, confidence)} {accuracy:4.0%} of {count:,.0f}")


def _bar(accuracy: float, confidence: float, width: int = 40) -> str:
    """Draw a share as a bar with a mark where it ought to end.

    >>> _bar(0.5, 0.75, width=8)
    '████  │ '
    """
    bar = ["█"] * round(accuracy * width) + [" "] * (width - round(accuracy * width))
    place = min(width - 1, round(confidence * width))
    return "".join([*bar[:place], "│", *bar[place + 1 :]])
