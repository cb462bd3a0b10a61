"""How many items were planned before a gate was first judged: asking beyond them spends a reserve."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calbench.cache import replacing
from calbench.errors import CorruptRecordError
from calbench.store._records import Store, key_of
from calbench.store._writing import explaining


def planned_totals(store: Store, identity: Mapping[str, Any], wanted: int) -> tuple[int, ...]:
    """Return the totals that were decided on so far, in order; one above all of them is added.

    The first is what was planned before the first look, each later one an extension. They stay in this
    store, whatever else is deleted from it; machines that share records each keep their own.

    Raises
    ------
    CorruptRecordError
        What was kept cannot be read.
    """
    path: Path = store.root / "plans" / f"{key_of(identity)}.json"
    try:
        totals = [int(total) for total in json.loads(path.read_text(encoding="utf-8"))["totals"]]
    except FileNotFoundError:
        totals = []
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptRecordError(
            f"{path} cannot be read ({error!r}); it says how many items were planned, so put it back from a"
            " copy of the store, or delete it if these gates were never judged"
        ) from error
    if not totals or wanted > totals[-1]:
        totals.append(wanted)
        with explaining(store.root), replacing(path) as temporary:
            temporary.write_text(json.dumps({"identity": identity, "totals": totals}) + "\n")
    return tuple(totals)
