"""``calbench list``."""

from __future__ import annotations

import inspect
from enum import Enum
from typing import Annotated, Any

import typer

from calbench.cli._application import app
from calbench.cli._options import AsJson
from calbench.cli._output import print_json
from calbench.errors import CalbenchError


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
    """List the models, tasks, quantizers, calibrators and metrics that are registered, and what each is.

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
    picked = {k.value: r for k, r in registries.items() if kind in (None, k)}
    if as_json:
        return print_json(
            {
                k: {n: {"what": _what(r, n), "origin": r.origin(n)} for n in r.names()}
                for k, r in picked.items()
            }
        )
    for title, registry in picked.items():
        typer.secho(title, bold=True)
        width = max(map(len, registry.names()))
        for name in registry.names():
            origin = registry.origin(name)
            whose = "" if origin.startswith("calbench.") else f" [{origin}]"
            typer.echo(f"  {name:<{width}}  {_what(registry, name)}{whose}")
    return None


def _what(registry: Any, name: str) -> str:
    """Say in a sentence what a component is: the first of its documentation, or where it comes from."""
    try:
        component = registry.get(name)
    except CalbenchError as error:
        return f"cannot be used: {error}"
    described = inspect.getdoc(getattr(component, "function", component)) or ""
    return " ".join(described.split("\n\n", maxsplit=1)[0].split()) or registry.origin(name)
