"""``calbench plot reliability | pareto | transfer | shift``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.cli._application import app
from calbench.cli._columns import reads_tables
from calbench.cli._options import Pair, StoreFolder, read_record, reads_pair
from calbench.cli._output import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calbench.records import ColumnNames
    from calbench.report import Axis, Row, SizeName

plot = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(plot, name="plot", help="Draw records and results as .svg, .png or .pdf.")

Output = Annotated[Path, typer.Option("--output", "-o", help="The picture: .svg, .png or .pdf.")]
Results = Annotated[list[Path], typer.Argument(help="results.json of runs.")]
Model = Annotated[str, typer.Option(help="Only this model.")]
Task = Annotated[str, typer.Option(help="Only this task.")]
Metric = Annotated[str, typer.Option(help="Id of the metric.")]


class Difference(str, Enum):
    """What a transfer matrix shows."""

    degradation = "degradation"
    regret = "regret"
    benefit = "benefit"


class Across(str, Enum):
    """What a Pareto plot has on its x-axis."""

    memory = "memory"
    bits = "bits"


@plot.command()
@reads_tables
def reliability(
    records: Annotated[list[Path], typer.Argument(help="Predictions, a line each.")],
    output: Output,
    *,
    columns: ColumnNames,
    n_bins: Annotated[int, typer.Option(min=1, help="Number of bins.")] = 15,
    store: StoreFolder = None,
) -> None:
    """Draw accuracy against confidence, with bands and counts.

    Example: calbench plot reliability fp32.parquet int4.parquet -o reliability.svg
    """
    from calbench import report

    report.check_figure_suffix(output)
    shown = {path.stem: read_record(path, columns, store=store) for path in records}
    _save(report.draw_reliability(shown, n_bins=n_bins), output)


@plot.command()
@reads_pair
def shift(
    output: Output,
    *,
    pair: Pair,
) -> None:
    """Draw how confidences moved between two precisions, with flipped answers marked.

    Example: calbench plot shift fp32.parquet int4.parquet -o shift.png
    """
    from calbench import report

    report.check_figure_suffix(output)
    for note in pair.both.notes:
        say(f"note: {note}")
    _save(report.draw_shift(pair.both.reference, pair.both.candidate), output)


@plot.command()
def pareto(
    results: Results,
    output: Output,
    task: Task = "",
    model: Model = "",
    metric: Metric = "ece",
    across: Annotated[Across, typer.Option(help="What is on the x-axis.")] = Across.memory,
) -> None:
    """Draw size against the calibrated metric, coloured by accuracy.

    Example: calbench plot pareto report/results.json --task tweets -o pareto.svg
    """
    from calbench import report

    report.check_figure_suffix(output)
    name: SizeName = "resident_bytes" if across is Across.memory else "effective_bits"
    _save(report.draw_pareto(_rows(results, model, task), metric=metric, across=name), output)


@plot.command()
def transfer(
    results: Results,
    output: Output,
    task: Task = "",
    model: Model = "",
    metric: Metric = "ece",
    difference: Annotated[Difference, typer.Option(help="What is shown.")] = Difference.degradation,
) -> None:
    """Draw what transfer lost, by calibrator and quantizer.

    Example: calbench plot transfer report/results.json --model minilm --task tweets -o transfer.svg
    """
    from calbench import report

    report.check_figure_suffix(output)
    rows = _rows(results, model, task)
    _save(report.draw_transfer_matrix(rows, metric=metric, difference=difference.value), output)


def _rows(results: list[Path], model: str, task: str) -> list[Row]:
    from calbench import report
    from calbench.errors import InputError

    document = report.combined(report.read_results(path) for path in results)
    chosen: dict[Axis, str] = {"model": model, "task": task}
    rows = [row for row in document["cells"] if all(not v or row[name] == v for name, v in chosen.items())]
    if not rows:
        held = {name: sorted({row[name] for row in document["cells"]}) for name in chosen}
        asked = " and ".join(f"{name} {value}" for name, value in chosen.items() if value)
        there = "; ".join(f"{name}s {', '.join(names)}" for name, names in held.items() if names)
        raise InputError(f"no cell is of {asked or 'any model'}; there are {there or 'none at all'}")
    return rows


def _save(figure: Figure, output: Path) -> None:
    from calbench import report

    report.save_figure(figure, output)
    say(str(output))
