"""Text classification: a fixed set of classes, asked of a model's own head or by label words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from calbench.errors import InputError, UnanswerableError
from calbench.models import ModelSource
from calbench.tasks._chat import Chat, ChatSetting, chat_of
from calbench.tasks._items import HoldsItems, Item, LabelledItem, filled


@dataclass(frozen=True)
class SequenceClassification(HoldsItems):
    """A task whose items are texts and whose answers are classes.

    A model with a classification head answers with that head. A causal language model is shown
    ``prompt`` and answers with the logits of ``label_words``, each of which must be one token.

    Parameters
    ----------
    id
        The name that options, test ids and reports use.
    classes
        Names of the classes; a label is an index into them.
    load
        Returns the labelled items; called once, when they are first needed.
    prompt
        Template with ``{text}``, and ``{pair}`` where items have two, for causal language models.
    label_words
        One per class, with the leading space that the tokenizer expects.
    n_training
        Items set aside because embedded models were fine-tuned on them.
    n_quantization
        Items set aside for quantizers to read; a tenth, at most 128, where it is left out.
    chat
        Whether a causal LM is asked in turns, by its tokenizer's chat template; a text is the system
        prompt. None leaves it to the model.
    output
        The label of a multi-label head that the second of two classes says yes to.
    """

    id: str
    classes: tuple[str, ...]
    load: Callable[[], Sequence[Item]] = field(repr=False, compare=False)
    prompt: str | None = None
    label_words: tuple[str, ...] = ()
    n_training: int = 0
    n_quantization: int | None = None
    chat: ChatSetting | None = None
    output: str = ""

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise InputError(f"task {self.id!r} has the classes {self.classes}; it needs two or more")
        if self.prompt is not None and "{text}" not in self.prompt:
            raise InputError(f"task {self.id!r}: the prompt {self.prompt!r} has no {{text}} in it")
        if self.prompt is not None and len(self.label_words) != len(self.classes):
            raise InputError(
                f"task {self.id!r} has {len(self.label_words)} label words for {len(self.classes)} classes"
            )
        if self.output and len(self.classes) != 2:
            raise InputError(
                f"task {self.id!r} asks for the label {self.output!r} of a multi-label head, so it has two"
                f" classes, no and yes; it has {len(self.classes)}"
            )

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1 / len(self.classes)

    @property
    def n_answers(self) -> int:
        """See :class:`~calbench.tasks._items.HoldsItems`."""
        return len(self.classes)

    def request(self, source: ModelSource) -> ClassificationRequest:
        """Return how this model is asked.

        Raises
        ------
        UnanswerableError
            The model's head has other classes, or the task has no prompt for a causal LM.
        """
        source.check_reads_words(self.id)
        if source.architecture == "causal-lm":
            if self.prompt is None:
                raise UnanswerableError(
                    f"task {self.id!r} has no prompt and label words, which the causal LM {source.id!r} needs"
                )
            chat = chat_of(source, self.chat)
            return ClassificationRequest("label-words", self.prompt, self.label_words, chat=chat)
        if source.multi_label or self.output:
            return self._of_one_label(source)
        if sorted(source.classes) != sorted(self.classes):
            heads = ", ".join(source.classes) or "(none named)"
            raise UnanswerableError(
                f"model {source.id!r} has the classes {heads} but task {self.id!r} has"
                f" {', '.join(self.classes)}; name the head's outputs in the model's 'classes'"
            )
        columns = tuple(source.classes.index(name) for name in self.classes)
        return ClassificationRequest("head", columns=columns)

    def _of_one_label(self, source: ModelSource) -> ClassificationRequest:
        if not source.multi_label or self.output not in source.classes:
            what = "several labels" if source.multi_label else "classes that exclude each other"
            raise UnanswerableError(
                f"model {source.id!r} has a head for {what}, {', '.join(source.classes)}, and task"
                f" {self.id!r} asks for {f'the label {self.output!r}' if self.output else 'none of them'};"
                " give a task of two classes (no, yes) the output = one label of a multi-label head"
            )
        return ClassificationRequest("head", columns=(source.classes.index(self.output),))


@dataclass(frozen=True)
class ClassificationRequest:
    """How a text becomes a model input and which numbers of its output are read.

    ``scoring`` is ``"head"`` (``columns`` puts the head's outputs into the task's order; a single one says
    yes or no by itself, and its logits are 0 and the output) or
    ``"label-words"`` (the logits of ``label_words`` after ``prompt``).
    """

    scoring: str
    prompt: str = "{text}"
    label_words: tuple[str, ...] = ()
    columns: tuple[int, ...] = ()
    chat: Chat | None = None

    def text(self, item: LabelledItem) -> str:
        """Return what the model is shown."""
        asked = self._asked(item)
        return asked if self.chat is None else self.chat.prompt(asked)

    def _asked(self, item: LabelledItem) -> str:
        pair = _pair(item)
        if pair and self.scoring != "head" and "{pair}" not in self.prompt:
            raise InputError(
                f"item {item.id!r} is a pair of texts, and the prompt {self.prompt!r} has no {{pair}}"
            )
        return filled(self.prompt, {"{text}": item.text, "{pair}": pair})

    def second(self, item: LabelledItem) -> str:
        """Return what a head is shown as the second text; ``""`` where there is one text only."""
        return _pair(item) if self.scoring == "head" else ""

    def sample(self, item: LabelledItem) -> str:
        """Return what a quantizer may read of an item: what is asked, without a chat's turns."""
        return "\n".join(filter(None, (self._asked(item), self.second(item))))

    def answers(self, logits: Any) -> Any:
        """Return the classes' logits ``(n, n_classes)`` of a head's, a torch tensor ``(n, n_outputs)``."""
        found = logits[:, list(self.columns)]
        if len(self.columns) > 1:
            return found
        from torch.nn.functional import pad

        return pad(found, (1, 0))  # the softmax of 0 and a logit is its sigmoid

    def identity(self) -> dict[str, Any]:
        """Return all of it that can change a prediction."""
        return {
            "scoring": self.scoring,
            "prompt": self.prompt,
            "label_words": list(self.label_words),
            "columns": list(self.columns),
            **({} if self.chat is None else {"chat": self.chat.identity()}),
        }


def _pair(item: LabelledItem) -> str:
    return item.pair if isinstance(item, Item) else ""
