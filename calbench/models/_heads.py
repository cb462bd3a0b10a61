"""Whether a classification head answers with logits of the classes that are declared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from calbench.errors import InputError


def check_head(model_id: str, classes: Sequence[str], config: Any) -> None:
    """Raise :class:`InputError` unless the outputs are logits of classes that exclude each other."""
    kind = getattr(config, "problem_type", None)
    if kind in ("multi_label_classification", "regression") or config.num_labels == 1:
        what = str(kind or "one output").replace("_", " ")
        raise InputError(
            f"model {model_id!r}: its head is made for {what}: its outputs are no logits of classes of"
            " which one is right, and a softmax over them would be no probability; measure such a model"
            " elsewhere and import its probabilities, one two-class record for each label"
        )
    if classes:
        _check_classes(model_id, classes, config)


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
