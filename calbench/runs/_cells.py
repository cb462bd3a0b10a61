"""Cells: which model is asked which task, at which precision, with which calibrator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from calbench import calibrators, models, quantizers, tasks
from calbench.errors import CalbenchError, InputError, UnanswerableError, UnknownNameError
from calbench.gates import takes_confidences
from calbench.models import Architecture
from calbench.registry import Spec, unknown
from calbench.runs._declarations import (
    REFERENCE,
    Turns,
    builds_of,
    declared_source,
    reference_of,
)
from calbench.selection import select, split_patterns

DEFAULT_MODELS = ("minilm", "smollm2")
DEFAULT_QUANTIZERS = (REFERENCE, "bnb-int8", "bnb-nf4", "gptq-int4")
AXES = ("models", "tasks", "quantizers", "calibrators")


@dataclass(frozen=True, order=True)
class Cell:
    """One model, task, quantizer and calibrator, by their ids."""

    model: str
    task: str
    quantizer: str
    calibrator: str

    @property
    def name(self) -> str:
        """The parts as they are, joined by ``::``, as records are named everywhere.

        >>> Cell("smollm2", "tweets", "gptq-int4", "temperature").name
        'smollm2::tweets::gptq-int4::temperature'
        """
        return f"{self.model}::{self.task}::{self.quantizer}::{self.calibrator}"

    @property
    def id(self) -> str:
        """For test ids, ``-k`` and ``accepted``: the parts, as they are spelled everywhere, joined by ``-``.

        >>> Cell("smollm2", "tweets", "gptq-int4", "temperature").id
        'smollm2-tweets-gptq-int4-temperature'
        """
        return f"{self.model}-{self.task}-{self.quantizer}-{self.calibrator}"


@dataclass(frozen=True)
class Profile:
    """How much of each task is used.

    Parameters
    ----------
    name
        ``"quick"``, ``"default"`` or ``"full"``.
    n_calibration, n_test
        Sizes of the splits by architecture (a decoder LLM costs ten times an encoder); None takes
        all items, 40% of them for calibration.
    max_tasks
        How many of a model's own tasks a run without a selection takes; None for all.
    asks_on
        Of which architectures undecided gates ask further items of a task, and up to how many in all; None
        for all.
    """

    name: str
    n_calibration: Mapping[Architecture, int] | None = None
    n_test: Mapping[Architecture, int] | None = None
    max_tasks: int | None = None
    asks_on: Mapping[Architecture, int | None] = field(default_factory=dict)

    def sizes(self, architecture: Architecture, n_items: int) -> tuple[int, int]:
        """Return the sizes of the calibration and test splits of ``n_items`` items."""
        if self.n_calibration is None or self.n_test is None:
            n_calibration = round(0.4 * n_items)
            return n_calibration, n_items - n_calibration
        wanted = self.n_calibration[architecture], self.n_test[architecture]
        if sum(wanted) <= n_items:
            return wanted
        n_calibration = n_items * wanted[0] // sum(wanted)
        return n_calibration, n_items - n_calibration


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "quick",
            {"sequence-classification": 300, "causal-lm": 60},
            {"sequence-classification": 500, "causal-lm": 100},
            max_tasks=1,
        ),
        Profile(
            "default",
            {"sequence-classification": 900, "causal-lm": 400},
            {"sequence-classification": 1300, "causal-lm": 600},
            asks_on={"sequence-classification": None, "causal-lm": 2400},
        ),
        Profile("full"),
    )
}


@dataclass(frozen=True)
class Selection:
    """What is picked on each axis, as patterns (ids, globs, ``all``, ``not X``); None leaves it open.

    ``turns`` holds for every task that a causal LM is asked.
    """

    models: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    quantizers: tuple[str, ...] | None = None
    calibrators: tuple[str, ...] | None = None
    turns: Turns = field(default_factory=Turns)

    def names(self, axis: str, wanted: str) -> bool:
        """Whether an id is named as it is, and not only matched by a pattern."""
        return _is_among(axis, getattr(self, axis) or (), wanted)


@dataclass(frozen=True)
class Grid:
    """The cells that a test wants, narrowed by what the command line selects.

    On each axis, a grid that names ids, globs or ``all`` picks from everything registered; one that
    only excludes, or says nothing, starts from the default set, or from the command line's
    selection where there is one. The command line then narrows what the grid picked.

    Parameters
    ----------
    wanted
        What the grid names.
    by_default
        What it names on the axes that the command line leaves open; the command line replaces it. Of
        tasks a model gets those that it can be asked, or its own if there are none, and the first
        ones of them in a short profile.
    """

    wanted: Selection = field(default_factory=Selection)
    by_default: Selection = field(default_factory=Selection)

    def cells(self, command_line: Selection, profile: Profile) -> list[Cell]:
        """Return the cells in an order that loads each model once per quantizer.

        Calibrators that cannot be fitted on open questions are left out there, unless the command line
        names them: such a cell says so itself.

        Raises
        ------
        UnknownNameError
            An id or a pattern matches nothing that is registered.
        """
        picked = {axis: self._pick(axis, command_line) for axis in AXES}
        return [
            Cell(model, task, quantizer, calibrator)
            for model in picked["models"]
            for quantizer in self._quantizers(model, picked["quantizers"], command_line)
            for task in command_line.turns.asked(model, self._tasks(model, command_line, profile))
            for calibrator in picked["calibrators"]
            if command_line.names("calibrators", calibrator)
            or (_can_fit(calibrator, task) and _knows_precision(model, calibrator))
        ]

    def calibrators(self, command_line: Selection) -> tuple[str, ...]:
        """Return the calibrators alone, for cells whose other parts are not registered."""
        return self._pick("calibrators", command_line)

    def names(self, axis: str, wanted: str, command_line: Selection) -> bool:
        """Whether an id is named here or on the command line, and not only matched by a pattern.

        Where no tasks are selected a model's own are taken, and count as named.
        """
        patterns = (*(self._wanted(axis, command_line) or ()), *(getattr(command_line, axis) or ()))
        spelled = {wanted, command_line.turns.as_written(wanted)} if axis == "tasks" else {wanted}
        return any(_is_among(axis, patterns, name) for name in spelled) if patterns else axis == "tasks"

    def _pick(self, axis: str, command_line: Selection) -> tuple[str, ...]:
        narrowed = getattr(command_line, axis)
        wanted = self._wanted(axis, command_line)
        chosen = _select(axis, narrowed, _defaults(axis)) if narrowed else _defaults(axis)
        if not wanted:
            return chosen
        named = _select(axis, wanted, chosen)
        return tuple(name for name in chosen if _covers(named, name)) if narrowed else named

    def _quantizers(self, model: str, picked: tuple[str, ...], command_line: Selection) -> tuple[str, ...]:
        """Return the quantizers of one model: of a served one, its builds."""
        builds = [name for name, _ in builds_of(model)]
        if not builds:
            registered = quantizers.registry.names()
            return tuple(name for name in picked if Spec.parse(name).name in registered)
        for patterns in (self.wanted.quantizers, command_line.quantizers):
            builds = [name for name in builds if _fits_build(patterns, name, reference_of(model))]
        return tuple(builds)

    def _wanted(self, axis: str, command_line: Selection) -> tuple[str, ...] | None:
        named: tuple[str, ...] | None = getattr(self.wanted, axis)
        if named or getattr(command_line, axis):
            return named
        replaced: tuple[str, ...] | None = getattr(self.by_default, axis)
        return replaced

    def _tasks(self, model: str, command_line: Selection, profile: Profile) -> tuple[str, ...]:
        if self.wanted.tasks or command_line.tasks:
            return self._pick("tasks", command_line)
        source = declared_source(model)
        own = source.default_tasks if source else ()
        if named := self.by_default.tasks:
            picked = self._pick("tasks", command_line)
            picked = tuple(sorted(picked, key=lambda t: named.index(t) if t in named else len(named)))
            # Where none fits and the model has none of its own, each cell says why it cannot be measured.
            own = tuple(task for task in picked if _can_be_asked(model, task)) or own or picked
        named_itself = self.names("models", model, command_line)
        return (own or _fitting(model, is_named=named_itself))[: profile.max_tasks]


def grid_of(
    *,
    models: str | Iterable[str] | None = None,
    tasks: str | Iterable[str] | None = None,
    quantizers: str | Iterable[str] | None = None,
    calibrators: str | Iterable[str] | None = None,
    by_default: Mapping[str, str | Iterable[str]] | None = None,
) -> Grid:
    """Return a grid from selections as strings or lists; see :class:`Grid`.

    Raises
    ------
    UnknownNameError
        ``by_default`` names an axis that does not exist.
    """
    for axis in by_default or ():
        if axis not in AXES:
            raise UnknownNameError(unknown("axis of a grid", axis, AXES))
    defaults: dict[str, Any] = {axis: _parts(named) for axis, named in (by_default or {}).items()}
    return Grid(
        Selection(_parts(models), _parts(tasks), _parts(quantizers), _parts(calibrators)),
        Selection(**defaults),
    )


def _fits_build(patterns: tuple[str, ...] | None, build: str, reference: str) -> bool:
    """Whether patterns pick a served build; ``fp32`` stands for the build that others are compared with."""
    names = (build, REFERENCE) if build == reference else (build,)

    def covers(pattern: str) -> bool:
        return pattern == "all" or any(fnmatchcase(name, pattern) for name in names)

    wanted = [pattern for pattern in patterns or () if not pattern.startswith("not ")]
    unwanted = [pattern.removeprefix("not ").strip() for pattern in patterns or () if pattern not in wanted]
    return (not wanted or any(map(covers, wanted))) and not any(map(covers, unwanted))


def _parts(patterns: str | Iterable[str] | None) -> tuple[str, ...] | None:
    if patterns is None:
        return None
    return tuple(split_patterns(patterns)) if isinstance(patterns, str) else tuple(patterns)


def _known(axis: str) -> tuple[str, ...]:
    registries = {
        "models": models.names,
        "tasks": tasks.names,
        "quantizers": lambda: (*quantizers.names(), *_served_builds()),
        "calibrators": calibrators.names,
    }
    return registries[axis]()


def _served_builds() -> tuple[str, ...]:
    """Builds that are named in calbench.toml or by an address, and are no registered quantizers."""
    found = (build for model in models.names() for build, _ in builds_of(model))
    return tuple(name for name in dict.fromkeys(found) if name not in quantizers.names())


def _defaults(axis: str) -> tuple[str, ...]:
    if axis == "models":  # a project that declares models means those
        return models.declared() or DEFAULT_MODELS
    return DEFAULT_QUANTIZERS if axis == "quantizers" else _known(axis)


def _select(axis: str, patterns: Iterable[str], start: tuple[str, ...]) -> tuple[str, ...]:
    """Select from all that is registered; patterns that only exclude take away from ``start``.

    An id with arguments picks itself, in its canonical spelling.
    """
    patterns = [name for pattern in patterns for name in _placed(axis, pattern) or (pattern,)]
    kind, canonical = axis.removesuffix("s"), _CANONICAL[axis]
    kept = select(_known(axis), patterns, kind=kind, start=start, canonical=canonical)
    return tuple(sorted(kept, key=quantizer_order)) if axis == "quantizers" else kept


def _covers(names: Iterable[str], wanted: str) -> bool:
    """Whether an id is among the names; one without arguments stands for all arguments."""
    return any(name in (wanted, Spec.parse(wanted).name) for name in names)


def _is_among(axis: str, patterns: Iterable[str], wanted: str) -> bool:
    return any(
        wanted in (placed or (p, _CANONICAL[axis](p) if p.endswith("]") else p))
        for p in patterns
        for placed in (_placed(axis, p),)
    )


def _placed(axis: str, pattern: str) -> tuple[str, ...]:
    """Return the ids of what is at a place; none if the pattern names no place."""
    place = pattern.removeprefix("not ").strip()
    if axis == "models" and place.startswith('"'):  # a path with a comma in it
        place = Spec.parse(place).name
    found: tuple[str, ...] = ()
    if axis == "models" and models.is_place(place):
        found = (models.named(place),)
    if axis == "tasks" and tasks.is_place(place):
        found = tasks.named(place)
    return tuple(f"not {name}" for name in found) if pattern.startswith("not ") else found


def _fitting(model: str, *, is_named: bool) -> tuple[str, ...]:
    """Return the embedded tasks that a model without tasks of its own can be asked.

    That there is none is an error only for a model that somebody asked for.
    """
    asked = [models.get(name).default_tasks for name in DEFAULT_MODELS]
    fitting = tuple(task for task in dict.fromkeys(sum(asked, ())) if _can_be_asked(model, task))
    if not fitting and is_named:
        source = models.get(model)
        classes: tuple[str, ...] = ("no", "yes") if source.multi_label else source.classes
        output = f'\noutput = "{source.classes[0]}"' if source.multi_label else ""
        raise InputError(
            f"no embedded task fits the model {model!r}, whose classes are {', '.join(source.classes)};"
            " name a task with these classes, or declare one in calbench.toml:\n"
            '[tasks.mine]\nkind = "classification"\nfile = "mine.csv"\ntext = "text"\nlabel = "label"\n'
            f"classes = [{json.dumps(classes)[1:-1]}]{output}"
        )
    return fitting


def _can_be_asked(model: str, task: str) -> bool:
    """Whether a model can answer a task at all; what else is wrong with the two their cell says."""
    try:
        tasks.get(task).request(models.get(model))
    except UnanswerableError:
        return False
    except Exception:  # noqa: BLE001 (of a template, say: its cell meets it again)
        return True
    return True


def _can_fit(calibrator: str, task: str) -> bool:
    """Whether a task's records hold what a calibrator needs; what cannot be made says so in its own cell."""
    try:
        return not isinstance(tasks.get(task), tasks.Generation) or takes_confidences(calibrator)
    except CalbenchError:
        return True


_CANONICAL: dict[str, Callable[[str], str]] = {
    "models": lambda name: models.registry.bind(name)[1],
    "tasks": lambda name: tasks.get(name).id,
    "quantizers": lambda name: quantizers.get(name).id,
    "calibrators": lambda name: calibrators.registry.bind(name)[1],
}


def _knows_precision(model: str, calibrator: str) -> bool:
    """Whether a calibrator's need of a unit error can be met: no server tells one."""
    return not builds_of(model) or not calibrators.get(calibrator).needs_epsilon


def quantizer_order(name: str) -> tuple[int, str]:
    """Reference first, then the default quantizers from many bits to few, then the rest."""
    return (DEFAULT_QUANTIZERS.index(name) if name in DEFAULT_QUANTIZERS else len(DEFAULT_QUANTIZERS), name)
