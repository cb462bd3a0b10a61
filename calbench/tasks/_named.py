"""Data sets that are named where they are used: a file, a folder, ``hf:ORG/NAME``."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calbench.configuration import Table
from calbench.errors import InputError
from calbench.registry import Spec
from calbench.tasks._configured import KINDS, task_of
from calbench.tasks._data import READERS, DataSource
from calbench.tasks._harness import PREFIX
from calbench.tasks._harness_tasks import harness_tasks
from calbench.tasks._items import quantization_share
from calbench.tasks._registry import Task, arguments_taken, registered, registry
from calbench.tasks._rows import Row

HUB = "hf:"
_FILE = re.compile(rf"({'|'.join(map(re.escape, READERS))})(\.\w+)?$")
_MAX_CLASSES = 100
# What a kind of task needs, and the columns that plainly are it.
_PLAIN: tuple[tuple[str, dict[str, tuple[str, ...]]], ...] = (
    (
        "multiple-choice",
        {"question": ("question",), "options": ("choices", "options"), "answer": ("answer", "answerKey")},
    ),
    (
        "classification",
        {
            "text": ("premise", "sentence1", "question1"),
            "pair": ("hypothesis", "sentence2", "question2"),
            "label": ("label",),
        },
    ),
    ("classification", {"text": ("text", "sentence"), "label": ("label",)}),
    ("generation", {"question": ("question",), "answers": ("answers", "answer")}),
)
_OPEN: dict[str, tuple[str, ...]] = {}


def is_place(name: str) -> bool:
    """Whether a name says where a data set is, and is not an id or a glob of ids.

    >>> [is_place(name) for name in ("nyt", "*qa", "hf:cais/mmlu[split=test]", "./folder", "a.csv[label=x]")]
    [False, False, True, True, True]
    """
    try:
        place = Spec.parse(name).name
    except InputError:  # a glob such as x[ab]*, or brackets that :func:`named` will refuse
        place = name.partition("[")[0]
    return (
        place.startswith((HUB, PREFIX)) or "/" in place or "\\" in place or bool(_FILE.search(place.lower()))
    )


def named(name: str) -> tuple[str, ...]:
    """Register what is at a place, and return the ids: short, and unlike every other's.

    Raises
    ------
    InputError
        There is no such data set, it has no such column, or what its columns mean cannot be told; the
        message says what to write.
    SetupRequiredError
        It is on the hub, which cannot be reached.
    """
    spec = Spec.parse(name)
    if spec.id not in _OPEN:
        if spec.name.startswith(PREFIX):
            found = [(_free_id(spec, f"lm-eval-{task.id}"), task) for task in harness_tasks(spec)]
            _OPEN[spec.id] = tuple(_registered(key, replace(task, id=key), spec.id) for key, task in found)
        else:
            table = _table(spec)
            _OPEN[spec.id] = (_registered(table.name[-1], task_of(table), spec.id),)
    return _OPEN[spec.id]


def group_of(name: str) -> str:
    """Return the group of the harness through which a task was named; ``""`` if it was named by itself."""
    return next((spelled for spelled, ids in _OPEN.items() if name in ids and len(ids) > 1), "")


def _registered(name: str, task: Task, origin: str) -> str:
    def declared() -> Task:
        return task

    declared.__module__, declared.__qualname__ = origin, name
    registry.register(name)(declared)
    return name


def get(name: str) -> Task:
    """Return the task with this id, or at this place; its items load when they are first needed.

    A multiple-choice task takes arguments in brackets, ``mmlu[rule=sum,n_shots=5]``, and so does one
    of open questions: ``triviaqa[confidence=p-true,n_shots=5,max_new_tokens=16]``. All take ``chat``,
    and those with examples ``multiturn``.

    Raises
    ------
    UnknownNameError
        No task has the id.
    InputError
        The task does not take such an argument, or what is at the place is no task; see :func:`named`.
    """
    if not is_place(name):
        return registered(name)
    found = named(name)
    if len(found) > 1:
        raise InputError(f"{name} is {len(found)} tasks; name one of {', '.join(found)}")
    return registered(found[0])


def in_turns(name: str, *, chat: str, multiturn: bool | None = None) -> str:
    """Return the id of a task that is asked by a chat template; what its id says already stays.

    Parameters
    ----------
    name
        The task.
    chat
        ``"true"``, ``"false"``, or a system prompt.
    multiturn
        Whether answered examples are turns of their own; None leaves it to the task.

    Raises
    ------
    InputError
        The task does not take such an argument.
    """
    told = {"chat": chat} | ({} if multiturn is None else {"multiturn": str(multiturn).lower()})
    known = arguments_taken(get(name))
    given = {key: value for key, value in told.items() if key in known} | dict(Spec.parse(name).arguments)
    return get(Spec(Spec.parse(name).name, tuple(sorted(given.items()))).id).id


@dataclass(frozen=True)
class NamedTable(Table):
    """A declaration in brackets: what is wrong with it is said of these."""

    source: DataSource = field(default_factory=lambda: DataSource(""))
    spelled: str = ""

    def error(self, key: str | None, problem: str) -> InputError:  # noqa: ARG002 (there is one line only)
        """Return an error that shows what was written."""
        return InputError(f"{self.spelled}: {problem}")


def _table(spec: Spec) -> NamedTable:
    given = _typed(spec)
    place = spec.name.removeprefix(HUB)
    if not spec.name.startswith(HUB) and not Path(place).expanduser().exists():
        raise InputError(f"{place!r}: there is no such file or folder; write hf:{place} for the hub's")
    more = {key: given.pop(key) for key in ("config", "split", "revision", "n_items") if key in given}
    columns = tuple(given["columns"]) if "columns" in given else None
    source = DataSource(place, given.get("file"), columns=columns, **more)
    kind = given.pop("kind", None)
    found = _meant(kind, given, source, spec.id)
    found.setdefault("n_quantization", quantization_share(len(source.rows)))
    return NamedTable(Path(), ("tasks", _free_id(spec)), {"hub": place, **found}, "", (), source, spec.id)


def _typed(spec: Spec) -> dict[str, Any]:
    known: dict[str, Any] = {key: kind for keys in KINDS.values() for key, kind in keys.items()}
    given: dict[str, Any] = {}
    for key, text in spec.arguments:
        kind = known.get(key)
        if kind is None or kind is dict or key == "hub":
            there = ", ".join(sorted(key for key, kind in known.items() if kind is not dict and key != "hub"))
            raise InputError(f"{spec.id}: there is no argument {key!r} here; there are {there}")
        if kind is int and not text.isdecimal():
            raise InputError(f"{spec.id}: {key} is {text!r}; give a whole number")
        written = text.replace("\\n", "\n").replace("\\s", " ")
        if key == "label_words" and len({word.startswith(" ") for word in written.split("+")}) > 1:
            # The space at a value's beginning is lost in brackets, and the other words keep theirs.
            raise InputError(
                f"{spec.id}: only some label_words begin with a space; write \\s for it, as in \\sno+\\syes"
            )
        lists = kind is list or (isinstance(kind, tuple) and "+" in text)
        given[key] = int(text) if kind is int else written.split("+") if lists else written
    return given


def _meant(kind: str | None, given: dict[str, Any], source: DataSource, spelled: str) -> dict[str, Any]:
    """Complete what was given by the columns that are plainly meant."""
    first = source.rows[0]
    for name, needed in _PLAIN:
        own = {key for key in given if key in needed}
        fits = {
            key: given[key] if key in given else next((c for c in columns if c in first.values), None)
            for key, columns in needed.items()
        }
        foreign = [key for key in given if key not in KINDS[name]]
        if kind in (None, name) and None not in fits.values() and not foreign and (own or not _asks(given)):
            return _completed(name, {**given, **fits}, source)
    there = ", ".join(f"{c!r} ({type(v).__name__})" for c, v in first.values.items())
    place = spelled.partition("[")[0]
    raise InputError(
        f"{spelled}: what its columns mean cannot be told; there are {there}. Write one of\n"
        f'  "{place}[text=COLUMN,label=COLUMN]" (and pair=COLUMN where two texts are shown)\n'
        f'  "{place}[question=COLUMN,options=COLUMN,answer=COLUMN]" (or options=COLUMN+COLUMN+...)\n'
        f'  "{place}[question=COLUMN,answers=COLUMN]" for open questions'
    )


def _asks(given: dict[str, Any]) -> bool:
    return any(key in needed for key in given for _, needed in _PLAIN)


def _completed(kind: str, given: dict[str, Any], source: DataSource) -> dict[str, Any]:
    first = source.rows[0]
    if kind == "classification" and "classes" not in given:
        given["classes"] = _classes(given["label"], source)
    options = first.values.get(given["options"]) if isinstance(given.get("options"), str) else None
    if isinstance(options, dict) and set(options) == {"text", "label"} and "keys" not in given:
        given |= {"keys": f"{given['options']}.label", "options": f"{given['options']}.text"}
    elif kind == "multiple-choice" and "answer_start" not in given and "keys" not in given:
        values = {row.get(given["answer"]) for row in source.rows}
        if all(str(value).isdecimal() for value in values) and "0" in map(str, values):
            given["answer_start"] = 0  # no option has the number 0 where they count from 1
    return {"kind": kind, **given}


def _classes(label: str, source: DataSource) -> list[str]:
    if label in source.classes:
        return list(source.classes[label])
    found = sorted({str(row.get(label)) for row in source.rows})
    if not 2 <= len(found) <= _MAX_CLASSES:
        row: Row = source.rows[0]
        raise row.error(label, f"has {len(found)} different values; 2 to {_MAX_CLASSES} classes are wanted")
    return found


def _free_id(spec: Spec, *names: str) -> str:
    if not names:
        path = re.sub(_FILE, "", spec.name.removeprefix(HUB).rstrip("/\\"))
        parts = [part for part in re.split(r"[/\\]", path) if part not in ("", ".", "..", "~")] or ["data"]
        names = (parts[-1], "-".join(parts[-2:]))
    name = "data"
    for candidate in names:
        name = re.sub(r"[^a-z0-9._-]+", "-", candidate.lower()).strip("-._") or name
        if name not in registry.names():
            return name
    return f"{name}-{hashlib.sha256(spec.id.encode()).hexdigest()[:6]}"
