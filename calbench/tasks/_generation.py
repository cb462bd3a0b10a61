"""Questions that a causal LM answers in its own words; three ways to tell how sure it is."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from calbench.errors import InputError, UnanswerableError
from calbench.models import ModelSource
from calbench.tasks._chat import Chat, ChatSetting, chat_of
from calbench.tasks._items import HoldsItems, LabelledItem

Confidence = Literal["sequence", "p-true", "self-reported"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class OpenQuestion:
    """One question: a unique id, what is asked, and every answer that counts as right (its aliases)."""

    id: str
    text: str
    answers: tuple[str, ...]
    cluster: str = ""

    @property
    def distribution(self) -> None:
        """There are no classes to be shared out."""

    @property
    def label(self) -> int:
        """There are no classes."""
        return 0

    @property
    def content(self) -> str:
        """The question."""
        return self.text

    def problem(self, n_classes: int) -> str | None:  # noqa: ARG002 (the protocol's)
        """Say what makes the question unusable, if anything does."""
        return None if accepted(self) else "has no accepted answer; drop it"

    def row(self) -> list[Any]:
        """Every field, as plain JSON."""
        return [self.id, self.text, list(self.answers)]


@dataclass(frozen=True)
class Generation(HoldsItems):
    """A task whose items are open questions, for causal language models.

    Parameters
    ----------
    id
        The name that reports use.
    load
        Returns the questions; called once, when they are first needed.
    prompt
        Template with ``{question}`` of what comes before the answer.
    confidence
        ``"sequence"``: exp of the mean log-probability of the answer's tokens. ``"p-true"``: the
        probability that the model, shown its answer, calls it true rather than false (Kadavath et
        al. 2022). ``"self-reported"``: the percentage that it names when asked.
    n_shots
        How many answered questions the prompt begins with; they are set aside for it.
    max_new_tokens, stop
        Where an answer ends at the latest, and the texts that end it.
    n_quantization
        Items set aside for quantizers to read; a tenth, at most 128, where it is left out.
    chat, multiturn
        Whether a question is asked in turns, by the tokenizer's chat template, and whether answered ones
        are turns of their own; see :class:`calbench.tasks.MultipleChoice`.
    """

    id: str
    load: Callable[[], Sequence[OpenQuestion]] = field(repr=False, compare=False)
    prompt: str = "Question: {question}\nAnswer:"
    confidence: Confidence = "sequence"
    n_shots: int = 0
    max_new_tokens: int = 32
    stop: tuple[str, ...] = ("\n",)
    n_quantization: int | None = None
    chat: ChatSetting | None = None
    multiturn: bool = False

    def __post_init__(self) -> None:
        if "{question}" not in self.prompt:
            raise InputError(f"task {self.id!r}: the prompt {self.prompt!r} has no {{question}} in it")
        if self.confidence not in get_args(Confidence):
            known = ", ".join(map(repr, get_args(Confidence)))
            raise InputError(f"task {self.id!r}: confidence is {self.confidence!r}; use one of {known}")
        if self.n_shots < 0 or self.max_new_tokens < 1:
            raise InputError(f"task {self.id!r}: n_shots must be 0 or more and max_new_tokens 1 or more")

    @property
    def n_answers(self) -> int:
        """See :class:`~calbench.tasks._items.HoldsItems`."""
        return 1

    @property
    def n_training(self) -> int:
        """How many questions are shown as answered."""
        return self.n_shots

    @cached_property
    def chance(self) -> float:
        """Accuracy of giving one answer to everything: the one that most evaluation items accept."""
        items = self.partition.evaluation
        counts = Counter(form for item in items for form in accepted(open_question(item)))
        return max(counts.values()) / len(items)

    def request(self, source: ModelSource) -> GenerationRequest:
        """Return how this model is asked; raises :class:`UnanswerableError` if it cannot write."""
        source.check_reads_words(self.id)
        if source.architecture != "causal-lm":
            raise UnanswerableError(
                f"task {self.id!r} wants answers in words, which {source.id!r} (a classifier with a head of"
                " its own) cannot write; choose a causal LM"
            )
        ending = self.confidence, self.max_new_tokens, self.stop
        chat = chat_of(source, self.chat, multiturn=self.multiturn)
        if chat is not None:
            return GenerationRequest(self.prompt, *ending, chat=chat, shots=tuple(self._shots))
        preamble = "".join(f"{asked} {answer}\n\n" for asked, answer in self._shots)
        return GenerationRequest(self.prompt, *ending, preamble)

    @cached_property
    def _shots(self) -> list[tuple[str, str]]:
        """Answered questions, and their answers."""
        shown = self.partition.training[: self.n_shots]
        bare = GenerationRequest(self.prompt)
        return [(bare.text(item), open_question(item).answers[0]) for item in shown]


@dataclass(frozen=True)
class GenerationRequest:
    """How a question becomes a prompt, where its answer ends, and how the model is asked for confidence."""

    prompt: str
    confidence: Confidence = "sequence"
    max_new_tokens: int = 32
    stop: tuple[str, ...] = ("\n",)
    preamble: str = ""
    chat: Chat | None = None
    shots: tuple[tuple[str, str], ...] = ()

    @property
    def scoring(self) -> str:
        """The kind of request, for whoever must tell kinds apart."""
        return "generation"

    def text(self, item: LabelledItem) -> str:
        """Return what comes before the answer."""
        asked = self.sample(item)
        return self.preamble + asked if self.chat is None else self.chat.prompt(asked, self.shots)

    def sample(self, item: LabelledItem) -> str:
        """Return what a quantizer may read of an item: not the answered examples, which all share."""
        return self.prompt.replace("{question}", item.text)

    def answer(self, written: str) -> str:
        """Return the answer in what was written."""
        return written.strip()

    def judge(self, answer: str, question: OpenQuestion) -> bool:
        """Whether an answer is right."""
        return is_right(answer, question)

    def identity(self) -> dict[str, Any]:
        """Return all of it that can change an answer or its confidence."""
        return {
            "scoring": self.scoring,
            "prompt": self.prompt,
            "preamble": self.preamble,
            "confidence": self.confidence,
            "max_new_tokens": self.max_new_tokens,
            "stop": list(self.stop),
            **(
                {}
                if self.chat is None
                else {"chat": self.chat.identity(), "shots": list(map(list, self.shots))}
            ),
        }


def open_question(item: LabelledItem) -> OpenQuestion:
    """Return the item as what it must be here; raises :class:`InputError` if it is another kind."""
    if not isinstance(item, OpenQuestion):
        raise InputError(f"item {item.id!r} is a {type(item).__name__}; generation needs an OpenQuestion")
    return item


def normal_form(text: str) -> str:
    """Return an answer by its words: case, punctuation, articles and spaces aside.

    >>> normal_form(" The  U.S.A.! ")
    'usa'
    """
    words = _ARTICLES.sub(" ", text.casefold().translate(_PUNCTUATION)).split()
    return " ".join(words)


def accepted(question: OpenQuestion) -> set[str]:
    """Return the normal forms of the accepted answers; what has no words is none."""
    return {form for answer in question.answers if (form := normal_form(answer))}


def is_right(answer: str, question: OpenQuestion) -> bool:
    """Whether an answer is, in its normal form, one of those accepted."""
    return normal_form(answer) in accepted(question)
