"""``calbench list``."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from calbench.cli._application import app
from calbench.cli._options import AsJson
from calbench.cli._output import print_json


class Kind(str, Enum):
    """What ``calbench list`` can list."""

    models = "models"
    tasks = "tasks"
    quantizers = "quantizers"
    calibrators = "calibrators"
    metrics = "metrics"


@app.command("list")
def list_(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; everything if left out.")] = None,
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
        return print_json(shown)
    for title, entries in shown.items():
        typer.secho(title, bold=True)
        for name, origin in entries.items():
            typer.echo(f"  {name:<22} {origin}")
    return None
