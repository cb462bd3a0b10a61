"""``calbench monitor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calbench.cli._application import app
from calbench.cli._columns import reads_tables, remapped
from calbench.cli._options import (
    MARGIN,
    SEED,
    AsJson,
    FileFormat,
    Format,
    Inconclusive,
    Resamples,
    Seed,
    StoreFolder,
    Undecided,
    read_record,
    status_of,
)
from calbench.cli._output import print_json

if TYPE_CHECKING:
    from calbench.records import AnyRecord, ColumnNames
    from calbench.studies import Monitoring


@app.command()
@reads_tables
def monitor(
    record: Annotated[Path, typer.Argument(help="A labelled sample of predictions from production.")],
    baseline: Annotated[
        Path,
        typer.Option(help="What was accepted: a suite's baselines (FILE.json::CELL), or predictions."),
    ],
    *,
    columns: ColumnNames,
    baseline_columns: Annotated[
        str, typer.Option(help="Names of the baseline's columns, if they are not those of --columns.")
    ] = "",
    file_format: Format = FileFormat.auto,
    margin: Annotated[float, typer.Option(help="By how much the ECE may rise.")] = MARGIN,
    threshold: Annotated[
        float, typer.Option(help="Confidence from which on a wrong answer is a sure mistake.")
    ] = 0.9,
    level: Annotated[float, typer.Option(help="Of intervals and tests, for each check.")] = 0.99,
    inconclusive: Inconclusive = Undecided.report,
    n_resamples: Resamples = 2000,
    seed: Seed = SEED,
    store: StoreFolder = None,
    as_json: AsJson = False,
) -> None:
    """Compare a sample from production with a baseline: exit status 1 if anything is flagged.

    3 if nothing is, and the calibration error is undecided.

    Flagged are a calibration error that rose, confidences that drifted, and mistakes made with high
    confidence that became more frequent.

    Example: calbench monitor today.parquet --baseline baselines/test_x.json::m::t::bnb-nf4::beta

    Example: calbench monitor today.csv --baseline june.parquet --columns confidence=p,correct=hit
    """
    from calbench import studies

    accepted = remapped(columns, baseline_columns) if baseline_columns else columns
    found = studies.monitor(
        _accepted(baseline, accepted, file_format, store),
        read_record(record, columns, file_format=file_format, store=store),
        margin=margin,
        threshold=threshold,
        level=level,
        n_resamples=n_resamples,
        seed=seed,
    )
    if as_json:
        print_json(_plain(found))
    else:
        _show(found)
    outcomes = ["fail" if found.flags else "pass", found.ece.outcome]
    raise typer.Exit(status_of(outcomes, inconclusive))


def _accepted(path: Path, names: ColumnNames, file_format: FileFormat, store: str | None) -> AnyRecord:
    from calbench import baselines

    file, cell = baselines.split_path(path)
    if cell or baselines.is_baseline(file):
        accepted = baselines.read(file, cell)
        return accepted.answers.with_metadata({"task": accepted.cell["task"]})
    return read_record(path, names, file_format=file_format, store=store)


def _show(found: Monitoring) -> None:
    e, drift, sure = found.ece.change, found.drift, found.sure_mistakes
    low, high = e.interval
    typer.echo(f"{found.n_sample:,} items, against a baseline of {found.n_baseline:,}")
    typer.echo(
        f"ECE baseline {e.reference_value:.4f} -> sample {e.candidate_value:.4f}: change {e.value:+.4f}"
        f" [{low:+.4f}, {high:+.4f}], margin {found.ece.limit:+g}: {found.ece.outcome}"
    )
    typer.echo(
        f"confidences: KS {drift.ks_statistic:.3f} (p = {drift.ks_p_value:.2g}), PSI {drift.psi:.3f}"
        f" (flagged above {drift.psi_limit:.3f}): {'drifted' if drift.flagged else 'steady'}"
    )
    typer.echo(
        f"wrong with confidence {sure.threshold:g} or more: {sure.share_baseline:.1%} ->"
        f" {sure.share_sample:.1%} (p = {sure.p_value:.2g}), {sure.n_new} of them new:"
        f" {'more frequent' if sure.flagged else 'not more frequent'}"
    )
    for item, confidence in sure.new:
        typer.echo(f"  {item} ({confidence:.3f})")
    typer.echo(f"flagged: {', '.join(found.flags) or 'nothing'}")


def _plain(found: Monitoring) -> dict[str, Any]:
    from dataclasses import asdict, fields

    parts: dict[str, Any] = {f.name: getattr(found, f.name) for f in fields(found) if f.name != "ece"}
    plain = {n: part if isinstance(part, int) else asdict(part) for n, part in parts.items()}
    return {**plain, "ece": found.ece.to_plain(test="calbench monitor"), "flags": list(found.flags)}
