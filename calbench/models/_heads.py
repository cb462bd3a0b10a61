"""Whether a classification head answers with logits of the classes that are declared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from calbench.errors import InputError

if TYPE_CHECKING:
    from calbench.models._sources import ModelSource


def check_head(source: ModelSource, config: Any) -> None:
    """Raise :class:`InputError` unless the outputs are logits of classes, or of labels as the source says."""
    kind = getattr(config, "problem_type", None)
    if kind == "multi_label_classification" and not source.multi_label:
        raise InputError(
            f"model {source.id!r}: its head is made for multi label classification: each output answers yes"
            " or no by itself, and a softmax over them would be no probability; declare it with"
            " multi_label = true, and each of its labels as a task of two classes with output = the label"
        )
    if kind == "regression" or config.num_labels == 1:
        what = str(kind or "one output").replace("_", " ")
        raise InputError(
            f"model {source.id!r}: its head is made for {what}: its outputs are no logits of classes of"
            " which one is right; measure such a model elsewhere and import its probabilities"
        )
    if source.classes:
        _check_classes(source.id, source.classes, config)


def _check_classes(model_id: str, classes: Sequence[str], config: Any) -> None:
    """Raise :class:`InputError` unless the head has as many outputs, and the same names in one order."""
    outputs = [str(config.id2label.get(index, f"LABEL_{index}")) for index in range(config.num_labels)]
    if len(outputs) != len(classes):
        raise InputError(
            f"model {model_id!r}: its head has {len(outputs)} outputs ({', '.join(outputs)}), and"
            f" {len(classes)} classes are declared ({', '.join(classes)}); name them all"
        )
    ours, theirs = ([name.casefold() for name in names] for names in (classes, outputs))
    if ours != theirs and sorted(ours) == sorted(theirs):
        raise InputError(
            f"model {model_id!r}: its configuration orders the head's outputs {', '.join(outputs)}, and"
            f" the classes are declared as {', '.join(classes)}; declare them in the head's order"
        )
