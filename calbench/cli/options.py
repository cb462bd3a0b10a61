"""Options that several commands share, and how their text is read."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from calbench.errors import InputError
from calbench.registry import split_patterns

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the resamples, and of the split.")]
Resamples = Annotated[int, typer.Option(min=100, help="Number of bootstrap resamples.")]
Columns = Annotated[
    str, typer.Option(help="Names of the file's columns: item_id=...,label=...,logits=... where they differ.")
]
Metrics = Annotated[str, typer.Option(help="Ids of metrics, separated by commas.")]
StoreFolder = Annotated[
    Optional[Path],  # noqa: UP045 (typer)
    typer.Option("--store", help="Where predictions and quantized models are kept."),
]


class ProfileName(str, Enum):
    """How many items of each task to use."""

    quick = "quick"
    default = "default"
    full = "full"


Profile = Annotated[ProfileName, typer.Option(help="How many items of each task to use.")]


def column_names(text: str) -> dict[str, str]:
    """Read the text of ``--columns`` into keywords of :meth:`calbench.Predictions.read`."""
    mapped: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        ours, _, theirs = part.partition("=")
        if ours not in ("item_id", "label", "logits") or not theirs:
            raise InputError(
                f"--columns: cannot read {part!r}; write item_id=NAME, label=NAME and logits=NAME"
            )
        mapped[ours] = theirs
    return mapped


def metric_names(metrics: str) -> tuple[str, ...]:
    """Read the text of ``--metrics``; commas inside brackets belong to a metric's arguments."""
    return tuple(split_patterns(metrics))
