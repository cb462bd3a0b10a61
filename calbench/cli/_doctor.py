"""``calbench doctor``."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.cli._application import app
from calbench.cli._options import AsJson
from calbench.cli._output import print_json

if TYPE_CHECKING:
    from calbench.runtimes import SelfTest


@app.command()
def doctor(
    quantizers: Annotated[
        list[str] | None,
        typer.Argument(
            help="Ids to try, arguments in brackets; every registered one if left out. Or a server's address."
        ),
    ] = None,
    tokenizer: Annotated[
        str, typer.Option(help="Of an address: a folder or hub id with the base model's tokenizer.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Try every quantizer on tiny models: which work on this machine, and why not where one does not.

    A quantizer that is named here and does not work makes the exit status 1. An address is put to the
    self-test that every run begins with; one that cannot be trusted makes the exit status 1 too.

    Example: calbench doctor bnb-nf4 "gptq-int4[backend=gptqmodel]"

    Example: calbench doctor http://localhost:8080/v1#my-model --tokenizer ./my-model
    """
    from calbench.models import is_address

    if quantizers and any(map(is_address, quantizers)):
        tests = [_server_test(address, tokenizer) for address in quantizers]
        if as_json:
            print_json([test.to_dict() for test in tests])
        for test in () if as_json else tests:
            _print_server(test)
        raise typer.Exit(1 if any(test.refusal for test in tests) else 0)
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


def _server_test(address: str, tokenizer: str) -> SelfTest:
    from calbench.models import Address, ModelSource
    from calbench.runtimes import connected

    source = (
        ModelSource("doctor", "causal-lm", tokenizer, builds=(("served", address),)) if tokenizer else None
    )
    own = source.fetch().load_tokenizer() if source else None
    with connected(Address.parse(address), tokenizer=own) as found:
        return found.test


def _print_server(test: SelfTest) -> None:
    told = {name: fact for name, fact in test.facts.items() if not isinstance(fact, dict)}
    _print_facts("server", {name: str(fact) for name, fact in told.items()})
    typer.secho("self-test", bold=True)
    colours = {"ok": "green", "noted": "yellow", "refused": "red"}
    for check in test.checks:
        outcome = typer.style(check.outcome, fg=colours[check.outcome])
        typer.echo(f"  {check.name:<24} {outcome}: {check.what}")


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
