"""Right answers that are kept in another file than the predictions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from calbench.errors import InputError
from calbench.records import ColumnFile, open_columns

_NAMES = ("label", "answer", "target", "gold", "preds", "predicted")


def with_answers(file: ColumnFile, path: Path, *, column: str | None, item_id: str | None) -> ColumnFile:
    """Return opened predictions with a column ``label`` taken from a file of answers.

    Both files name items in the same column, or neither does and they have equally many rows. The
    answers may be a full-precision model's own: then "right" means that the two agree.

    Parameters
    ----------
    file
        The predictions.
    path
        The answers.
    column
        The column that holds them; by default the first of ``label``, ``answer``, ``target``,
        ``gold``, ``preds`` and ``predicted`` that is there.
    item_id
        The column of ids; None where rows are matched by position.

    Raises
    ------
    InputError
        No column holds answers, an item has two or none, or the files differ in length.
    """
    answers = open_columns(path, text_columns=() if item_id is None else (item_id,))
    name = column or next((name for name in _NAMES if name in answers), None)
    if name is None:
        raise InputError(
            f"{path}: none of its columns ({', '.join(answers.names)}) is {', '.join(_NAMES)}; name the"
            " one that holds the answers with answers_column="
        )
    values = [_plain(value) for value in answers.column(name)]
    if item_id is None:
        n_rows = len(file.column(file.names[0])) if file.names else 0
        if len(values) != n_rows:
            raise InputError(
                f"{path}: has {len(values)} answers for the {n_rows} rows of {file.path}; give one a row,"
                " or ids in both files (ColumnNames(item_id='NAME'))"
            )
    else:
        answered = [str(item) for item in answers.column(item_id)]
        if len(answered) != len(values):
            raise InputError(f"{path}: has {len(values)} answers for {len(answered)} ids")
        known = dict(zip(answered, values, strict=True))
        if len(known) < len(answered):
            twice = next(item for item, n in Counter(answered).items() if n > 1)
            raise InputError(f"{path}: has two answers to {twice!r}; keep the right one")
        ids = [str(item) for item in file.column(item_id)]
        missing = [item for item in ids if item not in known]
        if missing:
            raise InputError(
                f"{path}: has no answer to {missing[0]!r} ({len(missing)} are missing); add them to"
                " answers=, or leave these rows out with ColumnNames(where=...)"
            )
        values = [known[item] for item in ids]
    names = (*(n for n in file.names if n != "label"), "label")
    return ColumnFile(
        file.path, names, lambda n: values if n == "label" else file.load(n), dict(file.metadata)
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
