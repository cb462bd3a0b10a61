"""``calbench doctor``."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Annotated

import typer

from calbench.cli._application import app
from calbench.cli._options import AsJson
from calbench.cli._output import print_json


@app.command()
def doctor(
    quantizers: Annotated[
        list[str] | None,
        typer.Argument(help="Ids to try, arguments in brackets; every registered one if left out."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try every quantizer on tiny models: which work on this machine, and why not where one does not.

    A quantizer that is named here and does not work makes the exit status 1.

    Example: calbench doctor bnb-nf4 "gptq-int4[backend=gptqmodel]"
    """
    from calbench import devices
    from calbench import quantizers as library
    from calbench.cache import cache_dir
    from calbench.quantizers import diagnose, packages

    machine = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": devices.describe(),
    }
    setup = _embedded_models()
    found = []
    if not as_json:
        _print_facts("machine", machine)
        _print_facts("packages", packages())
        _print_facts(f"embedded models in {cache_dir()}", setup)
        typer.secho("quantizers, tried on a tiny encoder and a tiny decoder", bold=True)
    for diagnosis in diagnose(quantizers or library.names()):
        found.append(diagnosis)
        if not as_json:
            colour = {"works": "green", "unavailable": "yellow", "broken": "red"}[diagnosis.status]
            versions = ", ".join(f"{k} {v}" for k, v in diagnosis.versions.items())
            works = diagnosis.status == "works"
            told = (diagnosis.kernel, versions, diagnosis.reason) if works else (diagnosis.reason,)
            what = "; ".join(filter(None, told))
            typer.echo(f"  {diagnosis.quantizer:<12} {typer.style(diagnosis.status, fg=colour)}: {what}")
    if as_json:
        print_json(
            {
                "machine": machine,
                "packages": packages(),
                "embedded_models": setup,
                "quantizers": [asdict(diagnosis) for diagnosis in found],
            }
        )
    if quantizers and any(diagnosis.status != "works" for diagnosis in found):
        raise typer.Exit(1)


def _print_facts(title: str, facts: dict[str, str]) -> None:
    typer.secho(title, bold=True)
    for name, value in facts.items():
        typer.echo(f"  {name:<12} {value}")


def _embedded_models() -> dict[str, str]:
    """Which of the embedded models are there, or what is to be done."""
    from calbench import models
    from calbench.errors import SetupRequiredError
    from calbench.runs import DEFAULT_MODELS

    def status(name: str) -> str:
        try:
            models.get(name).check_set_up()
        except SetupRequiredError:
            return "not there; run 'calbench setup' once"
        return "ready"

    return {name: status(name) for name in DEFAULT_MODELS}
