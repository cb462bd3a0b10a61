"""``calbench export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.cli._application import app
from calbench.cli._columns import reads_tables
from calbench.cli._options import SEED, Seed, StoreFolder, class_vectors, read_record
from calbench.cli._output import say

if TYPE_CHECKING:
    from calbench.records import ColumnNames

export = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Write calibrators and records for other programs."
)
app.add_typer(export, name="export")


@export.command()
@reads_tables
def calibrator(
    record: Annotated[
        Path, typer.Argument(help="Predictions to fit on: the calibration split; a file or a stored record.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file: .json, .safetensors (torch) or .onnx.")
    ],
    name: Annotated[str, typer.Option("--calibrator", help="Id of the calibrator.")] = "temperature",
    *,
    columns: ColumnNames,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Unit error of the record's precision, for pacs."),
    ] = None,
    deployed_epsilon: Annotated[
        float | None,
        typer.Option(help="Unit error of the precision it will be used at, if another."),
    ] = None,
    seed: Seed = SEED,
    store: StoreFolder = None,
) -> None:
    """Fit a calibrator on stored predictions and write it for deployment.

    JSON is read by calbench.calibrators.from_json, safetensors by read_torch there, ONNX by any runtime
    (input "logits", output "probs"). All three give what calbench measured.

    Example: calbench export calibrator calibration.parquet --calibrator temperature -o temperature.onnx
    """
    import numpy as np

    from calbench import calibrators
    from calbench.calibrators import write

    predictions = class_vectors(read_record(record, columns, store=store))
    context = calibrators.CalibrationContext(
        epsilon=epsilon, n_classes=predictions.n_classes, rng=np.random.default_rng(seed)
    )
    fitted = calibrators.get(name).fit(predictions.logits, predictions.labels, context=context)
    if deployed_epsilon is not None:
        fitted = fitted.at(deployed_epsilon)
    write(fitted, output, n_classes=predictions.n_classes)
    say(f"{output}: {name}, {fitted.n_parameters} parameters, fitted on {len(predictions):,} items")
    for warning in fitted.warnings:
        say(f"note: {warning}")
