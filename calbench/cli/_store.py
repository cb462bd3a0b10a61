"""``calbench store ls|verify|gc``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from calbench.cli._application import app
from calbench.cli._options import AsJson
from calbench.cli._output import print_json, say, table
from calbench.errors import InputError

if TYPE_CHECKING:
    from calbench.store import Store

store_app = typer.Typer(help="Look after stored predictions and checkpoints.", no_args_is_help=True)
app.add_typer(store_app, name="store")

Place = Annotated[
    str | None,
    typer.Option("--store", help="Folder or address of the store; the cache's own if left out."),
]


@store_app.command()
def ls(store: Place = None, as_json: AsJson = False) -> None:
    """List the records, oldest first, and what else takes room.

    Example: calbench store ls
    """
    from calbench.store import entries, listed

    place = _opened(store)
    records, everything = listed(place), entries(place)
    totals: dict[str, int] = {}
    for entry in everything:
        totals[entry.kind] = totals.get(entry.kind, 0) + entry.size_bytes
    if as_json:
        rows: list[dict[str, Any]] = [
            {
                "key": record.key,
                "model": record.model,
                "quantizer": record.quantizer,
                "task": record.task,
                "n_items": record.n_items,
                "size_bytes": record.entry.size_bytes,
                "written": record.entry.written.isoformat(timespec="seconds"),
                "problem": record.problem,
            }
            for record in records
        ]
        return print_json({"store": str(place.root), "records": rows, "size_bytes": totals})
    table(
        str(place.root),
        ["record", "key", "items", "written"],
        [
            [
                record.name if record.model else "damaged",
                record.key[:12],
                f"{record.n_items:,}",
                f"{record.entry.written:%Y-%m-%d %H:%M}",
            ]
            for record in records
        ],
    )
    for kind, size in sorted(totals.items()):
        typer.echo(f"{kind}: {size / 1e6:,.1f} MB")
    return None


@store_app.command()
def verify(store: Place = None, as_json: AsJson = False) -> None:
    """Read every record whole and compare it with its checksums: exit status 1 if one is damaged.

    Example: calbench store verify
    """
    from calbench.store import verify as verified

    found = list(verified(_opened(store)))
    damaged = [{"record": entry.folder.name, "problem": problem} for entry, problem in found if problem]
    if as_json:
        print_json({"n_records": len(found), "damaged": damaged})
    else:
        for one in damaged:
            typer.secho(one["problem"], fg="red")
        typer.echo(f"{len(found):,} records, {len(damaged):,} damaged")
    raise typer.Exit(1 if damaged else 0)


@store_app.command()
def gc(
    store: Place = None,
    max_size: Annotated[
        str | None,
        typer.Option(help="What may stay, such as 10GB: the least recently used goes until the rest fits."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Delete what killed processes left and, with a size limit, the least recently used of what it holds.

    Example: calbench store gc --max-size 10GB
    """
    from calbench.store import collect, parse_size

    deleted = collect(_opened(store), max_bytes=None if max_size is None else parse_size(max_size))
    freed = sum(entry.size_bytes for entry in deleted)
    if as_json:
        return print_json(
            {
                "deleted": [{"kind": entry.kind, "folder": str(entry.folder)} for entry in deleted],
                "size_bytes": freed,
            }
        )
    for entry in deleted:
        say(f"deleted {entry.kind} {entry.folder}")
    typer.echo(f"{len(deleted):,} deleted, {freed / 1e6:,.1f} MB freed")
    return None


def _opened(place: str | None) -> Store:
    """Return the store at a place; a folder that was named must be there."""
    from calbench.store import Store

    store = Store.at(place)
    if place is not None and store.remote is None and not store.root.is_dir():
        raise InputError(f"{store.root}: there is no store here; name the folder that a run was given")
    return store
