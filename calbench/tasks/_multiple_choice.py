"""Multiple choice: a question, its options, and four rules by which a causal LM's words rank them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from calbench.errors import InputError, UnanswerableError
from calbench.models import ModelSource
from calbench.tasks._chat import Chat, ChatSetting, chat_of
from calbench.tasks._items import HoldsItems, LabelledItem, filled, normalized

Rule = Literal["letter", "sum", "mean-per-token", "mean-per-byte"]
Overlong = Literal["truncate", "refuse"]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Question:
    """One question: a unique id, what is asked, the options, and the index of the right one.

    ``passage`` is what the question is about, where there is such a text. Items of one task may
    have different numbers of options.
    """

    id: str
    text: str
    options: tuple[str, ...]
    label: int
    passage: str = ""
    cluster: str = ""
    distribution: tuple[float, ...] | None = None

    @property
    def content(self) -> str:
        """Passage, question and options: all that a model is shown."""
        return "\n".join((self.passage, self.text, *self.options))

    def problem(self, n_classes: int) -> str | None:
        """Say what makes the question unusable, if anything does."""
        if not 2 <= len(self.options) <= n_classes:
            return f"has {len(self.options)} options; give 2 to {n_classes}"
        empty = [i for i, option in enumerate(self.options) if not option.strip()]
        if empty:
            return f"has an empty option ({LETTERS[empty[0]]}); drop the item or mend it"
        if not 0 <= self.label < len(self.options):
            return f"has label {self.label}, of {len(self.options)} options"
        if self.distribution is not None and len(self.distribution) != len(self.options):
            return f"has {len(self.distribution)} shares of labels for {len(self.options)} options"
        return None

    def row(self) -> list[Any]:
        """Every field, as plain JSON."""
        return [self.id, self.passage, self.text, list(self.options), self.label]


@dataclass(frozen=True)
class MultipleChoice(HoldsItems):
    """A task whose items are questions with options, for causal language models.

    Parameters
    ----------
    id
        The name that options, test ids and reports use.
    load
        Returns the questions; called once, when they are first needed.
    prompt
        Template of what comes before an answer, with ``{question}`` and optionally ``{passage}``
        and ``{options}`` (one lettered line per option).
    rule
        How an option becomes a number, always a log-probability after the prompt: ``"letter"``
        that of the option's letter, ``"sum"`` that of its text, ``"mean-per-token"`` and
        ``"mean-per-byte"`` the same divided by the text's length.
    n_shots
        How many answered questions the prompt begins with.
    load_shots
        Where those come from; by default the first ``n_shots`` items are set aside for it.
    description
        What the prompt begins with, before the answered questions.
    overlong
        Whether a prompt that is longer than the model's context is cut from the left and counted,
        or refused.
    n_quantization
        Items set aside for quantizers to read; a tenth, at most 128, where it is left out.
    chat
        Whether a question is asked in turns, by the tokenizer's chat template; a text is the system
        prompt. None leaves it to the model. An option then begins the assistant's turn, without a space.
    multiturn
        In a chat: whether answered questions are turns of their own, or stand before the question.
    """

    id: str
    load: Callable[[], Sequence[Question]] = field(repr=False, compare=False)
    prompt: str = "Question: {question}\nAnswer:"
    rule: Rule = "mean-per-byte"
    n_shots: int = 0
    load_shots: Callable[[], Sequence[Question]] | None = field(default=None, repr=False, compare=False)
    description: str = ""
    overlong: Overlong = "truncate"
    n_quantization: int | None = None
    chat: ChatSetting | None = None
    multiturn: bool = False

    def __post_init__(self) -> None:
        if "{question}" not in self.prompt:
            raise InputError(f"task {self.id!r}: the prompt {self.prompt!r} has no {{question}} in it")
        if self.rule not in get_args(Rule):
            raise InputError(
                f"task {self.id!r}: no scoring rule is called {self.rule!r}; there are {_listed(Rule)}"
            )
        if self.rule == "letter" and "{options}" not in self.prompt:
            raise InputError(
                f"task {self.id!r}: a model can name a letter only if the prompt shows the {{options}}"
            )
        if self.overlong not in get_args(Overlong):
            raise InputError(f"task {self.id!r}: overlong is {self.overlong!r}; use {_listed(Overlong)}")
        if self.n_shots < 0:
            raise InputError(f"task {self.id!r}: n_shots is {self.n_shots}; give 0 or more")

    @property
    def n_answers(self) -> int:
        """See :class:`~calbench.tasks._items.HoldsItems`."""
        return len(LETTERS)

    @property
    def n_training(self) -> int:
        """How many questions are set aside to be shown as answered."""
        return self.n_shots if self.load_shots is None else 0

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Letters of the longest question's options."""
        return tuple(LETTERS[: max(len(_question(item).options) for item in self.dataset.items)])

    @cached_property
    def chance(self) -> float:
        """Accuracy of guessing among each evaluation item's options."""
        items = self.partition.evaluation
        return sum(1 / len(_question(item).options) for item in items) / len(items)

    def request(self, source: ModelSource) -> ChoiceRequest:
        """Return how this model is asked.

        Raises
        ------
        UnanswerableError
            The model is no causal LM.
        InputError
            There are too few examples for the prompt.
        """
        source.check_reads_words(self.id)
        if source.architecture != "causal-lm":
            raise UnanswerableError(
                f"task {self.id!r} is multiple choice, which {source.id!r} (a classifier with a head of its"
                " own) cannot answer; choose a causal LM"
            )
        chat = chat_of(source, self.chat, multiturn=self.multiturn)
        if chat is None:
            return ChoiceRequest(self.rule, self.prompt, self._preamble, self.overlong)
        return ChoiceRequest(
            self.rule, self.prompt, "", self.overlong, chat, tuple(self._shots), self.description
        )

    @cached_property
    def _preamble(self) -> str:
        answered = [f"{asked} {answer}" for asked, answer in self._shots]
        return "".join(part + "\n\n" for part in (self.description, *answered) if part)

    @cached_property
    def _shots(self) -> list[tuple[str, str]]:
        """Answered questions, and their answers."""
        if self.n_shots == 0:
            return []
        if self.load_shots is None:
            shots = [_question(item) for item in self.partition.training[: self.n_shots]]
        else:
            shots = list(self.load_shots()[: self.n_shots])
            asked = {normalized(item.content) for item in self.dataset.items}
            if (leaked := next((s for s in shots if normalized(s.content) in asked), None)) is not None:
                raise InputError(f"task {self.id!r}: the example {leaked.id!r} is also asked; take it out")
        if len(shots) < self.n_shots:
            raise InputError(f"task {self.id!r}: {self.n_shots} examples are wanted, there are {len(shots)}")
        bare = ChoiceRequest(self.rule, self.prompt)
        return [(bare.text(shot), bare.continuations(shot)[shot.label][1:]) for shot in shots]


@dataclass(frozen=True)
class ChoiceRequest:
    """How a question becomes a context and one continuation per option."""

    rule: Rule
    prompt: str
    preamble: str = ""
    overlong: Overlong = "truncate"
    chat: Chat | None = None
    shots: tuple[tuple[str, str], ...] = ()
    description: str = ""

    @property
    def keeps_first_token(self) -> bool:
        """Whether a context that is cut keeps its ``bos``."""
        return True

    @property
    def scoring(self) -> str:
        """The kind of request, for whoever must tell kinds apart."""
        return "choices"

    def text(self, item: LabelledItem) -> str:
        """Return what comes before the answer."""
        asked = self._asked(item)
        if self.chat is None:
            return self.preamble + asked
        return self.chat.prompt(asked, self.shots, self.description)

    def _asked(self, item: LabelledItem) -> str:
        question = _question(item)
        lines = "\n".join(f"{LETTERS[i]}. {option}" for i, option in enumerate(question.options))
        fields = {"{question}": question.text, "{passage}": question.passage, "{options}": lines}
        return filled(self.prompt, fields)

    def sample(self, item: LabelledItem) -> str:
        """Return what a quantizer may read of an item: not the answered examples, which all share."""
        return self._asked(item)

    def continuations(self, item: LabelledItem) -> list[str]:
        """Return what may follow, one per option."""
        options = _question(item).options
        space = " " if self.chat is None else ""
        return [f"{space}{LETTERS[i] if self.rule == 'letter' else text}" for i, text in enumerate(options)]

    def lengths(self, item: LabelledItem, n_tokens: Sequence[int]) -> list[int]:
        """Return what each option's log-probability is divided by."""
        if self.rule == "mean-per-token":
            return list(n_tokens)
        if self.rule == "mean-per-byte":
            return [len(option.encode()) for option in _question(item).options]
        return [1] * len(n_tokens)

    def identity(self) -> dict[str, Any]:
        """Return all of it that can change a prediction."""
        return {
            "scoring": self.scoring,
            "rule": self.rule,
            "prompt": self.prompt,
            "preamble": self.preamble,
            "overlong": self.overlong,
            **({} if self.chat is None else self._chat_identity(self.chat)),
        }

    def _chat_identity(self, chat: Chat) -> dict[str, Any]:
        return {
            "chat": chat.identity(),
            "shots": [list(shot) for shot in self.shots],
            "description": self.description,
        }


def _question(item: LabelledItem) -> Question:
    if not isinstance(item, Question):
        raise InputError(f"item {item.id!r} is a {type(item).__name__}; multiple choice needs a Question")
    return item


def _listed(choices: Any) -> str:
    return ", ".join(map(repr, get_args(choices)))
