"""Tasks that ``calbench.toml`` declares: a file, or files on the hub, and what its columns mean."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from calbench.configuration import Table, declared
from calbench.errors import InputError
from calbench.tasks._classification import SequenceClassification
from calbench.tasks._generation import Generation, OpenQuestion
from calbench.tasks._hub import hub_files
from calbench.tasks._items import Item
from calbench.tasks._mapped import OpenColumns, QuestionColumns, TextColumns
from calbench.tasks._multiple_choice import MultipleChoice, Question
from calbench.tasks._registry import Task, registry
from calbench.tasks._tables import Row, exploded, read_rows

_LOG = logging.getLogger(__name__)

_SOURCE: dict[str, Any] = {
    "kind": str,
    "file": str,
    "hub": str,
    "revision": str,
    "columns": list,
    "explode": dict,
    "id": str,
    "n_quantization": int,
}
_EXPLODE: dict[str, Any] = {"column": str, "key": str, "value": str, "unreadable": str}
_MULTIPLE_CHOICE: dict[str, Any] = _SOURCE | {
    "question": str,
    "passage": str,
    "options": (str, list),
    "answer": str,
    "keys": str,
    "answer_start": int,
    "prompt": str,
    "rule": str,
    "n_shots": int,
    "shots_file": str,
    "description": str,
    "overlong": str,
}
_CLASSIFICATION: dict[str, Any] = _SOURCE | {
    "text": str,
    "label": str,
    "classes": list,
    "labels": dict,
    "prompt": str,
    "label_words": list,
}
_GENERATION: dict[str, Any] = _SOURCE | {
    "question": str,
    "answers": (str, list),
    "prompt": str,
    "confidence": str,
    "n_shots": int,
    "max_new_tokens": int,
    "stop": list,
}
_ASKED = ("prompt", "confidence", "n_shots", "max_new_tokens", "n_quantization")
_FORWARDED = ("prompt", "rule", "n_shots", "description", "overlong", "n_quantization")


def task_of(table: Table) -> Task:
    """Return the task that a table declares; nothing is read or fetched yet.

    Raises
    ------
    InputError
        A key is missing, unknown or of another type; file, line and column are named.
    """
    kinds: dict[str, Callable[[Table], Task]] = {
        "multiple-choice": _multiple_choice,
        "classification": _classification,
        "generation": _generation,
    }
    kind = table.values.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise table.error(
            "kind" if "kind" in table.values else None,
            f"kind is {kind!r}; use one of {', '.join(map(repr, kinds))}",
        )
    try:
        return kinds[kind](table)
    except InputError as error:
        if str(table.path) in str(error):
            raise
        raise table.error(None, str(error)) from None


def _multiple_choice(table: Table) -> Task:
    table.check(_MULTIPLE_CHOICE, required=("file", "question", "options"))
    given = table.values
    columns = QuestionColumns(
        given["question"],
        given["options"],
        given.get("answer"),
        given.get("keys"),
        given.get("answer_start"),
        given.get("id"),
        given.get("passage"),
    )

    def load() -> list[Question]:
        return columns.read(_rows(table, "file"))

    def load_shots() -> list[Question]:
        return columns.read(_rows(table, "shots_file"))

    return MultipleChoice(
        table.name[-1],
        load,
        load_shots=load_shots if "shots_file" in given else None,
        **{name: given[name] for name in _FORWARDED if name in given},
    )


def _classification(table: Table) -> Task:
    table.check(_CLASSIFICATION, required=("file", "text", "label", "classes"))
    given = table.values
    columns = TextColumns(
        given["text"], given["label"], tuple(given["classes"]), given.get("labels", {}), given.get("id")
    )

    def load() -> list[Item]:
        return columns.read(_rows(table, "file"))

    return SequenceClassification(
        table.name[-1],
        tuple(given["classes"]),
        load,
        prompt=given.get("prompt"),
        label_words=tuple(given.get("label_words", ())),
        n_quantization=given.get("n_quantization", 128),
    )


def _generation(table: Table) -> Task:
    table.check(_GENERATION, required=("file", "question", "answers"))
    given = table.values
    answers = [given["answers"]] if isinstance(given["answers"], str) else given["answers"]
    if not answers:
        raise table.error("answers", "answers is []; name one column or more")
    columns = OpenColumns(given["question"], answers, given.get("id"))

    def load() -> list[OpenQuestion]:
        return columns.read(_rows(table, "file"))

    return Generation(
        table.name[-1],
        load,
        stop=tuple(given.get("stop", ("\n",))),
        **{name: given[name] for name in _ASKED if name in given},
    )


def _rows(table: Table, key: str) -> Iterator[Row]:
    rows = read_rows(_files(table, key), columns=table.values.get("columns"))
    if "explode" not in table.values:
        yield from rows
        return
    yield from _exploded(table.inner("explode"), rows)


def _exploded(table: Table, rows: Iterator[Row]) -> Iterator[Row]:
    """Take mappings apart; rows without a readable one are left out where that is declared, and counted."""
    table.check(_EXPLODE, required=("column", "key", "value"))
    given = table.values
    policy = given.get("unreadable", "refuse")
    if policy not in ("refuse", "drop"):
        raise table.error("unreadable", f"unreadable is {policy!r}; use 'refuse' or 'drop'")
    dropped: list[InputError] = []
    for row in rows:
        try:
            yield from exploded(row, given["column"], key=given["key"], value=given["value"])
        except InputError as error:  # noqa: PERF203 (one bad row of thousands)
            if policy == "refuse":
                raise
            dropped.append(error)
    if dropped:
        _LOG.warning("%d rows were left out; the first: %s", len(dropped), dropped[0])


def _files(table: Table, key: str) -> list[Path]:
    pattern = table.values[key]
    if "hub" in table.values:
        return hub_files(table.values["hub"], pattern, revision=table.values.get("revision"))
    whole = Path(pattern).expanduser()
    base = Path(whole.anchor) if whole.is_absolute() else table.folder
    relative = str(whole.relative_to(whole.anchor)) if whole.is_absolute() else pattern
    if (base / relative).is_dir():
        raise table.error(
            key, f"{key} is {pattern!r}, a folder; name a file in it, or several as in 'folder/*.csv'"
        )
    found = [base / relative] if (base / relative).is_file() else sorted(base.glob(relative))
    if not found:
        raise table.error(key, f"{key} is {pattern!r}, and there is no such file in {base}")
    return found


def _register(table: Table) -> None:
    task = task_of(table)

    def declared_task() -> Task:
        return task

    declared_task.__module__, declared_task.__qualname__ = str(table.path), table.name[-1]
    registry.register(table.name[-1])(declared_task)


for _table in declared("tasks"):
    _register(_table)
