"""The rules that a task keeps."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from calbench import tasks
from calbench.errors import CalbenchError, UnanswerableError
from calbench.models import ARCHITECTURES, ModelSource
from calbench.tasks import Dataset, Generation, LabelledItem, Task

_N_ASKED = 50


def check_task(task: str | Task) -> None:
    """Check that a task keeps the rules that calbench relies on; no model is loaded.

    Its items can be read, and are the same when they are read again; parts are set aside for training
    and quantizers and two items or more are left to calibrate and to test on; each class of a
    classification is some item's label; one architecture or more can be asked; what the model is shown
    differs from item to item, is the same each time, and does not depend on the label; and what
    identifies the way of asking is plain JSON.

    Parameters
    ----------
    task
        A registered id, which may carry arguments, or a task.

    Raises
    ------
    AssertionError
        A rule is broken; the message says which and how to mend it.

    Examples
    --------
    >>> from calbench.tasks import Item, SequenceClassification
    >>> items = [Item(f"q{i}", f"text {i}", i % 2) for i in range(200)]
    >>> check_task(SequenceClassification("mine", ("no", "yes"), lambda: items))
    """
    chosen = tasks.get(task) if isinstance(task, str) else task
    dataset = _dataset(chosen)
    again = _dataset(dataclasses.replace(chosen))  # without what the first has remembered
    _require(
        chosen, dataset.fingerprint == again.fingerprint, "other items each time; draw with a fixed seed"
    )
    try:
        evaluation = chosen.partition.evaluation
    except CalbenchError as error:
        raise AssertionError(f"{chosen.id}: {error}") from error
    _require(chosen, len(evaluation) > 1, "one item is left; two or more are needed to calibrate and to test")
    if isinstance(chosen, tasks.SequenceClassification | tasks.Decision):
        missing = set(range(len(chosen.classes))) - {item.label for item in evaluation}
        shown = ", ".join(chosen.classes[label] for label in sorted(missing))
        _require(chosen, not missing, f"no item is of class {shown}; drop the class or add items")
    if not isinstance(chosen, Generation):
        _require(chosen, 0 < chosen.chance < 1, f"chance is {chosen.chance}; it is a rate between 0 and 1")
    requests = [request for architecture in ARCHITECTURES if (request := _request(chosen, architecture))]
    _require(chosen, requests, "no model can be asked it; give a prompt and label words, or classes")
    for request in requests:
        _check_request(chosen, request, evaluation[:_N_ASKED])


def _dataset(chosen: Task) -> Dataset:
    try:
        return chosen.dataset
    except CalbenchError as error:
        raise AssertionError(f"{chosen.id}: its items cannot be used: {error}") from error


def _request(chosen: Task, architecture: Any) -> Any:
    classes = tuple(getattr(chosen, "classes", ()))
    decides = isinstance(chosen, tasks.Decision)
    builds = (("served", "http://localhost/v1/systemone"),) if decides else ()
    try:
        return chosen.request(
            ModelSource("some-model", architecture, "some-model", classes=classes, builds=builds)
        )
    except UnanswerableError:
        return None


def _check_request(chosen: Task, request: Any, items: tuple[LabelledItem, ...]) -> None:
    texts = [request.text(item) for item in items]
    _require(chosen, all(isinstance(t, str) and t.strip() for t in texts), "an item is shown as no text")
    _require(chosen, len(set(texts)) > 1, "every item looks the same; the prompt must hold the item's text")
    _require(chosen, [request.text(item) for item in items] == texts, "an item is shown in two ways")
    for item, text in zip(items, texts, strict=True):
        if any(field.name == "label" for field in dataclasses.fields(item)):  # type: ignore[arg-type]
            other = dataclasses.replace(item, label=0 if item.label else 1)  # type: ignore[type-var]
            _require(chosen, request.text(other) == text, "what is shown depends on the label; leave it out")
    identity = request.identity()
    try:
        plain = json.loads(json.dumps(identity, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{chosen.id}: identity() is not plain JSON ({error})") from error
    _require(chosen, plain == identity, "identity() changes on its way through JSON; use lists and text keys")


def _require(chosen: Task, holds: object, message: str) -> None:
    if not holds:
        raise AssertionError(f"{chosen.id}: {message}")
