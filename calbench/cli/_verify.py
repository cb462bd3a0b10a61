"""``calbench verify``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from calbench.cli._application import app
from calbench.cli._options import AsJson, Device, StoreFolder
from calbench.cli._output import print_json


@app.command()
def verify(
    report: Annotated[Path, typer.Argument(help="A report's folder, with its evidence.json.")],
    store: StoreFolder = None,
    records: Annotated[
        list[Path] | None, typer.Option(help="Records from elsewhere, or folders of them; repeatable.")
    ] = None,
    rerun: Annotated[
        int, typer.Option(min=0, help="Ask the models again for this many items of each record.")
    ] = 0,
    attest: Annotated[
        Path | None,
        typer.Option(help="Write the verified verdicts to this file, as an in-toto statement."),
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Compute every verdict of a report again from stored records, and check its hashes.

    With --rerun the models are loaded and quantized anew, and asked for a few items of each record: what is
    stored must be what they say.

    Exit status 0 if all are the same, 1 if one differs, 3 if none does but some could not be computed.

    Example: calbench verify report/

    Example: calbench verify report/ --rerun 50

    Example: calbench verify report/ --attest report/statement.json
    """
    from dataclasses import asdict

    from rich.console import Console

    from calbench import devices
    from calbench import report as reports
    from calbench.errors import InputError
    from calbench.runs import read_records
    from calbench.store import Store

    own = read_records(records).values() if records else ()
    found = list(reports.verify(report, Store.at(store), records=own))
    if rerun:
        devices.choose(device)
        progress = reports.TerminalProgress(Console(stderr=True))
        found += reports.rerun(report, Store.at(store), rerun, progress=progress)
    counts = Counter(each.state for each in found)
    if as_json:
        print_json({"counts": counts, "findings": [asdict(each) for each in found]})
    else:
        whys = Counter((each.state, each.why) for each in found if each.state in ("missing", "open"))
        for each in found:
            if each.state == "differs":
                typer.echo(f"DIFFERS {each.what}: {each.why}")
        for (state, why), count in whys.items():
            typer.echo(f"{state} {count}: {why}")
        typer.echo(
            f"{counts['same']} the same, {counts['differs']} differ, {counts['missing']} missing,"
            f" {counts['open']} that stored records cannot tell"
        )
    if attest:
        if counts["differs"] or counts["missing"]:
            raise InputError(f"{attest}: not written: it would attest to what was not verified")
        attest.write_text(reports.attestation(report), encoding="utf-8")
    raise typer.Exit(1 if counts["differs"] else 3 if counts["missing"] or counts["open"] else 0)
