"""The command line, one file a command. Every command that prints numbers can print them as JSON."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

import calbench
from calbench.cli import (
    compare,
    evaluate,
    listing,
    setup,
    store,
    transfer,
)
from calbench.cli.application import app
from calbench.errors import CalbenchError

# Importing a command's file registers it.
COMMANDS = (
    compare,
    evaluate,
    listing,
    setup,
    store,
    transfer,
)


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
