"""Tasks that ``calbench.toml`` declares: a file, or files on the hub, and what its columns mean."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from calbench.configuration import Table, declared
from calbench.errors import InputError
from calbench.tasks._classification import SequenceClassification
from calbench.tasks._data import DataSource
from calbench.tasks._decision import Decision
from calbench.tasks._generation import Generation, OpenQuestion
from calbench.tasks._items import AnyItem, Item, by_likeness
from calbench.tasks._multiple_choice import MultipleChoice, Question
from calbench.tasks._registry import Task, registry
from calbench.tasks._rows import NEAR_DUPLICATES, Row, exploded, open_question, question, text_item

_LOG = logging.getLogger(__name__)

_SOURCE: dict[str, Any] = {
    "kind": str,
    "what": str,
    "file": str,
    "hub": str,
    "config": str,
    "split": str,
    "revision": str,
    "columns": list,
    "explode": dict,
    "id": str,
    "cluster": str,
    "n_items": int,
    "n_quantization": int,
}
_EXPLODE: dict[str, Any] = {"column": str, "key": str, "value": str, "unreadable": str}
_MULTIPLE_CHOICE: dict[str, Any] = _SOURCE | {
    "question": str,
    "passage": str,
    "options": (str, list),
    "choices": list,
    "answer": str,
    "keys": str,
    "answer_start": int,
    "label_distribution": str,
    "prompt": str,
    "rule": str,
    "n_shots": int,
    "shots_file": str,
    "description": str,
    "overlong": str,
    "chat": (bool, str),
    "multiturn": bool,
}
_CLASSIFICATION: dict[str, Any] = _SOURCE | {
    "text": str,
    "pair": str,
    "label": str,
    "label_distribution": str,
    "classes": list,
    "labels": dict,
    "prompt": str,
    "label_words": list,
    "chat": (bool, str),
    "output": str,
}
_DECISION: dict[str, Any] = _SOURCE | {
    "state": str,
    "label": str,
    "labels": dict,
    "instructions": str,
    "options": (dict, list),
    "levels": list,
    "yes": str,
    "no": str,
    "order": str,
}
_GENERATION: dict[str, Any] = _SOURCE | {
    "question": str,
    "answers": (str, list),
    "prompt": str,
    "confidence": str,
    "n_shots": int,
    "max_new_tokens": int,
    "stop": list,
    "chat": (bool, str),
    "multiturn": bool,
}
KINDS = {
    "decision": _DECISION,
    "multiple-choice": _MULTIPLE_CHOICE,
    "classification": _CLASSIFICATION,
    "generation": _GENERATION,
}
PUBLISHED = Path(__file__).with_name("published.toml")
_ASKED = ("prompt", "confidence", "n_shots", "max_new_tokens", "n_quantization", "chat", "multiturn")
_FORWARDED = ("prompt", "rule", "n_shots", "description", "overlong", "n_quantization", "chat", "multiturn")


def task_of(table: Table) -> Task:
    """Return the task that a table declares; nothing is read or fetched yet.

    Raises
    ------
    InputError
        A key is missing, unknown or of another type; file, line and column are named.
    """
    builders: dict[str, Callable[[Table], Task]] = {
        "multiple-choice": _multiple_choice,
        "classification": _classification,
        "generation": _generation,
        "decision": _decision,
    }
    kind = table.values.get("kind")
    if not isinstance(kind, str) or kind not in builders:
        raise table.error(
            "kind" if "kind" in table.values else None,
            f"kind is {kind!r}; use one of {', '.join(map(repr, builders))}",
        )
    if not any(key in table.values for key in ("file", "hub")):
        raise table.error(
            None, "lacks the key 'file', or 'hub' for a data set or a folder in the hub's layout"
        )
    try:
        return builders[kind](table)
    except InputError as error:
        if str(table.path) in str(error):
            raise
        raise table.error(None, str(error)) from None


def _multiple_choice(table: Table) -> Task:
    table.check(_MULTIPLE_CHOICE, required=("question",))
    given = table.values
    if ("options" in given) == ("choices" in given):
        raise table.error(None, "give options (where an item's own are) or choices (the same for every item)")

    def load(key: str = "file") -> list[Question]:
        return _clustered([question(row, given) for row in _rows(table, key)], given)

    return MultipleChoice(
        table.name[-1],
        load,
        load_shots=(lambda: load("shots_file")) if "shots_file" in given else None,
        **{name: given[name] for name in _FORWARDED if name in given},
    )


def _classification(table: Table) -> Task:
    table.check(_CLASSIFICATION, required=("text", "label", "classes"))
    given = table.values

    def load() -> list[Item]:
        return _clustered([text_item(row, given, given["classes"]) for row in _rows(table, "file")], given)

    return SequenceClassification(
        table.name[-1],
        tuple(given["classes"]),
        load,
        prompt=given.get("prompt"),
        label_words=tuple(given.get("label_words", ())),
        n_quantization=given.get("n_quantization"),
        chat=given.get("chat"),
        output=given.get("output", ""),
    )


def _decision(table: Table) -> Task:
    table.check(_DECISION, required=("state", "label", "instructions"))
    given = table.values
    options = given.get("options", {})
    # TOML has no null: an empty description is none.
    options = options if isinstance(options, dict) else dict.fromkeys(options)
    described = {name: meaning or None for name, meaning in options.items()}
    more = {name: given[name] for name in ("yes", "no", "order", "n_quantization") if name in given}

    def load() -> list[Item]:
        return [
            text_item(row, {**given, "text": given["state"]}, task.classes) for row in _rows(table, "file")
        ]

    task = Decision(
        table.name[-1], load, given["instructions"], described, tuple(given.get("levels", ())), **more
    )
    return task


def _generation(table: Table) -> Task:
    table.check(_GENERATION, required=("question", "answers"))
    given = table.values
    if not given["answers"]:
        raise table.error("answers", "answers is []; name one column or more")

    def load() -> list[OpenQuestion]:
        return _clustered([open_question(row, given) for row in _rows(table, "file")], given)

    return Generation(
        table.name[-1],
        load,
        stop=tuple(given.get("stop", ("\n",))),
        **{name: given[name] for name in _ASKED if name in given},
    )


def _clustered(items: list[AnyItem], given: Mapping[str, Any]) -> list[AnyItem]:
    return by_likeness(items) if given.get("cluster") == NEAR_DUPLICATES else items


def _rows(table: Table, key: str) -> Iterator[Row]:
    # A data set that was named is open already.
    source = getattr(table, "source", None) or source_of(table, key)
    rows = iter(source.rows)
    yield from _exploded(table.inner("explode"), rows) if "explode" in table.values else rows


def source_of(table: Table, key: str = "file") -> DataSource:
    """Return where a declared task's rows are; paths are relative to the declaration's folder.

    Raises
    ------
    InputError
        There is no such file.
    """
    given = table.values
    more = {name: given[name] for name in ("config", "split", "revision", "n_items") if name in given}
    more["columns"] = tuple(given["columns"]) if "columns" in given else None
    if "hub" in given:
        return DataSource(given["hub"], given.get(key), **more)
    whole = Path(given[key]).expanduser()
    base = Path(whole.anchor) if whole.is_absolute() else table.folder
    relative = str(whole.relative_to(whole.anchor)) if whole.is_absolute() else given[key]
    if (base / relative).exists():
        return DataSource(str(base / relative), **more)
    if not any(base.glob(relative)):
        raise table.error(key, f"{key} is {given[key]!r}, and there is no such file in {base}; mend the path")
    return DataSource(str(base), relative, **more)


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
            yield from exploded(row, given["column"], given["key"], given["value"])
        except InputError as error:  # noqa: PERF203 (one bad row of thousands)
            if policy == "refuse":
                raise
            dropped.append(error)
    if dropped:
        _LOG.warning("%d rows were left out; the first: %s", len(dropped), dropped[0])


def _register(table: Table) -> None:
    def declared_task() -> Task:
        return task_of(table)  # read when it is asked for: a wrong one must not keep others from running

    declared_task.__doc__ = table.values.get("what")
    own = table.path == PUBLISHED
    declared_task.__module__ = "calbench.tasks.published" if own else str(table.path)
    declared_task.__qualname__ = table.name[-1]
    registry.register(table.name[-1])(declared_task)


for _table in (*declared("tasks", PUBLISHED), *declared("tasks")):
    _register(_table)
