"""The command line, one file a command. Every command that prints numbers can print them as JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

import calbench
from calbench.cli import (  # noqa: F401 (importing a command's file registers it)
    _check,
    _compare,
    _doctor,
    _evaluate,
    _export,
    _export_gguf,
    _export_records,
    _import_records,
    _label_plan,
    _listing,
    _monitor,
    _plot,
    _rank,
    _recommend,
    _report,
    _route,
    _run,
    _sensitivity,
    _setup,
    _store,
    _threshold,
    _transfer,
    _verify,
)
from calbench.cli._application import app
from calbench.cli._translation import in_options
from calbench.errors import CalbenchError, UnknownNameError
from calbench.escaping import printable

_INTERRUPTED = 130


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(calbench.__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line: exit status 0 fine, 1 a gate failed, 2 bad usage or input, 3 undecided."""
    debug = "--debug" in sys.argv[1:]
    # A flag of the whole program: it may stand before the command or after it.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments, standalone_mode=True)
    except (CalbenchError, OSError) as error:  # the latter: a full disk, a folder that cannot be written
        if debug:
            raise
        _complain(f"error: {in_options(str(error))}{_where_else(error)}")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception as error:  # 1 would mean that a gate failed
        if debug:
            raise
        _complain(f"internal error: {type(error).__name__}: {error}\nrun again with --debug and report it")
        sys.exit(2)
    sys.exit(0)


def _where_else(error: Exception) -> str:
    """Say what a folder's own components are known to, if an id is not known here."""
    if isinstance(error, UnknownNameError) and Path("conftest.py").is_file():
        return "; ids of a conftest.py are known to pytest alone, those of a package's entry points here, too"
    return ""


def _complain(message: str) -> None:
    typer.secho(printable(message), fg="red", err=True)
