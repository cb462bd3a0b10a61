"""The application that commands register with."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="calbench",
    help="Does a model's calibration survive quantization?",
    no_args_is_help=True,
    # Plain help appears three times as fast, and reads the same in a log.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
