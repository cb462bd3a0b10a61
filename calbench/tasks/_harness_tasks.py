"""Tasks of lm-evaluation-harness: it makes the documents and contexts, calbench asks and measures."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from calbench.errors import InputError, UnanswerableError
from calbench.models import ModelSource
from calbench.registry import Spec, unknown
from calbench.tasks._generation import Generation, GenerationRequest, OpenQuestion
from calbench.tasks._harness import PREFIX, Document, HarnessTask, Pairs, at_work, members
from calbench.tasks._items import AnyItem, LabelledItem, by_likeness, quantization_share
from calbench.tasks._multiple_choice import MultipleChoice, Question
from calbench.tasks._rows import NEAR_DUPLICATES, Row, cluster_of


@dataclass(frozen=True)
class HarnessChoice(MultipleChoice):
    """A ``multiple_choice`` task of the harness, of any form.

    An option's number is its summed log-likelihood (``rule="sum"``, as the harness's ``acc``) or that
    divided by its UTF-8 bytes (``"mean-per-byte"``, as ``acc_bytes``).
    """

    harness: HarnessTask = field(default_factory=lambda: HarnessTask(""), compare=False)
    chat: bool = False
    multiturn: bool = True

    def __post_init__(self) -> None:
        if self.rule not in ("sum", "mean-per-byte"):
            raise InputError(f"{self.harness.spelled}: rule is {self.rule!r}; use 'sum' or 'mean-per-byte'")

    @property
    def n_training(self) -> int:
        """None: examples come from the harness's own split."""
        return 0

    def request(self, source: ModelSource) -> Any:
        """Return how this model is asked; raises :class:`UnanswerableError` if it is no causal LM."""
        _check_causal(self.id, source)
        return _requests(self.harness, source, chat=self.chat, multiturn=self.multiturn)

    def logits(self, items: Sequence[LabelledItem], values: Any) -> Any:
        """Return each option's number from the log-likelihoods of all requests, ``(n, n_requests)``."""
        width = len(self.classes)
        found = np.full((len(items), width), -np.inf, dtype=np.float32)
        for row, item in enumerate(items):
            options = item.options if isinstance(item, Question) else ()
            for place, option in enumerate(options):
                length = len(option.encode()) if self.rule == "mean-per-byte" else 1
                found[row, place] = values[row, place] / length
        return found

    def metrics(self, items: Sequence[LabelledItem], values: Any) -> dict[str, float]:
        """Return the harness's own metrics of the log-likelihoods, but those that ask what is greedy."""
        task, documents = self.harness.task, _documents(self.harness)
        results = []
        for row, item in zip(values, items, strict=True):
            document = documents[item.id]
            pairs = [(float(v), False) for v in row[: len(document.instances)]]
            results.append(task.process_results(document.doc, pairs))
        return _aggregated(task, results, without=("exact_match",))


@dataclass(frozen=True)
class HarnessGeneration(Generation):
    """A ``generate_until`` task of the harness: open questions, filtered and judged by it."""

    harness: HarnessTask = field(default_factory=lambda: HarnessTask(""), compare=False)
    chat: bool = False
    multiturn: bool = True

    @property
    def n_training(self) -> int:
        """None: examples come from the harness's own split."""
        return 0

    def metrics(self, items: Sequence[LabelledItem], answers: Sequence[str]) -> dict[str, float]:
        """Return the harness's own metrics of the answers, after the first of its filters."""
        pairs = zip(items, answers, strict=True)
        return _aggregated(
            self.harness.task, [_judged(self.harness, item.id, answer) for item, answer in pairs]
        )

    def request(self, source: ModelSource) -> Any:
        """Return how this model is asked; raises :class:`UnanswerableError` if it is no causal LM."""
        _check_causal(self.id, source)
        asked = _requests(self.harness, source, chat=self.chat, multiturn=self.multiturn)
        return HarnessGenerationRequest(
            "{question}", self.confidence, self.max_new_tokens, self.stop, harness=self.harness, asked=asked
        )


@dataclass(frozen=True)
class HarnessRequest:
    """Each item's requests: a context and what may follow, one pair for one or two for an option."""

    identity_: Mapping[str, Any]
    pairs: Mapping[str, Pairs]

    @property
    def scoring(self) -> str:
        """The kind of request, for whoever must tell kinds apart."""
        return "requests"

    def text(self, item: LabelledItem) -> str:
        """Return the item's first context."""
        return self.pairs[item.id][0][0]

    def sample(self, item: LabelledItem) -> str:
        """Return what a quantizer may read of an item."""
        return item.text

    def identity(self) -> dict[str, Any]:
        """Return all of it that can change a prediction."""
        return dict(self.identity_)


@dataclass(frozen=True)
class HarnessGenerationRequest(GenerationRequest):
    """An open question of the harness: its context, and its own filters and metric as the judge."""

    harness: HarnessTask = field(default_factory=lambda: HarnessTask(""), compare=False)
    asked: HarnessRequest | None = None

    def text(self, item: LabelledItem) -> str:
        """Return what comes before the answer."""
        return self._requests.text(item)

    def sample(self, item: LabelledItem) -> str:
        """Return what a quantizer may read of an item."""
        return item.text

    def identity(self) -> dict[str, Any]:
        """Return all of it that can change an answer or its confidence."""
        return {**super().identity(), **self._requests.identity()}

    def answer(self, written: str) -> str:
        """Return what was written, as it is: the harness's filters see every space."""
        return written

    def judge(self, answer: str, question: OpenQuestion) -> bool:
        """Whether the harness's filters and metric call an answer, as it was written, right."""
        scores = _judged(self.harness, question.id, answer)
        return any(float(score) > 0 for score in scores.values() if isinstance(score, int | float))

    @property
    def _requests(self) -> HarnessRequest:
        assert self.asked is not None  # noqa: S101 (given by the task)
        return self.asked


def harness_tasks(spec: Spec) -> list[MultipleChoice | Generation]:
    """Return the tasks that a name of the harness stands for: one, or all members of a group or a tag.

    Raises
    ------
    UnknownNameError
        The harness and the folder that was included have no such name.
    BackendUnavailableError
        It is not installed.
    InputError
        An argument or a task cannot be used.
    """
    name, given = spec.name.removeprefix(PREFIX), _arguments(spec)
    return [_task(HarnessTask(member, given.get("n_shots"), said), given) for member, said in members(name)]


def _task(harness: HarnessTask, given: Mapping[str, Any]) -> MultipleChoice | Generation:
    kind = harness.task.OUTPUT_TYPE
    more = {key: given[key] for key in ("chat", "multiturn") if key in given}
    n_documents = len(harness.task.eval_docs)
    more["n_quantization"] = given.get("n_quantization", quantization_share(n_documents))
    more |= {"n_shots": int(harness.task.config.num_fewshot or 0), "harness": harness}
    if kind == "multiple_choice":
        rule, questions = given.get("rule", "sum"), lambda: _together(_questions(harness), harness, given)
        return HarnessChoice(harness.name, questions, rule=rule, **more)
    said = harness.task.config.generation_kwargs or {}
    stop = said.get("until") or []
    return HarnessGeneration(
        harness.name,
        lambda: _together(_open_questions(harness), harness, given),
        confidence=given.get("confidence", "sequence"),
        max_new_tokens=int(said.get("max_gen_toks", 256)),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        **more,
    )


def _together(items: list[AnyItem], harness: HarnessTask, given: Mapping[str, Any]) -> list[AnyItem]:
    """Give items the clusters that a field of their documents names."""
    if "cluster" not in given:
        return items
    if given["cluster"] == NEAR_DUPLICATES:
        return by_likeness(items)
    rows = (
        Row(f"{harness.spelled}: document {key}", key, dict(document.doc))
        for key, document in _documents(harness).items()
    )
    clusters = {row.id: cluster_of(row, given) for row in rows}
    return [replace(item, cluster=clusters[item.id]) for item in items]


def _questions(harness: HarnessTask) -> list[Question]:
    task, found = harness.task, []
    for key, document in _documents(harness).items():
        with at_work(harness.place):
            options = [str(option) for option in task.doc_to_choice(document.doc)]
            gold = (task.doc_to_text if task.multiple_input else task.doc_to_target)(document.doc)
        if isinstance(gold, list):
            raise InputError(
                f"{harness.place}: document {key} has {len(gold)} right answers {gold!r}; one is wanted:"
                " let doc_to_target give the number of one option, from 0"
            )
        if isinstance(gold, str) and gold in options:
            gold = options.index(gold)
        if not isinstance(gold, int) or not 0 <= gold < len(options):
            raise InputError(
                f"{harness.place}: document {key}: {gold!r} is none of its {len(options)} options; let"
                " doc_to_target give the number of one, from 0, or its text"
            )
        contexts = dict.fromkeys(context for context, _ in document.pairs[: len(options)])
        found.append(Question(key, "\n".join(contexts), tuple(options), gold))
    return found


def _open_questions(harness: HarnessTask) -> list[OpenQuestion]:
    task, found = harness.task, []
    for key, document in _documents(harness).items():
        with at_work(harness.place):
            gold = task.doc_to_target(document.doc)
            if task.config.doc_to_choice is not None:
                gold = task.doc_to_choice(document.doc)[gold]
        answers = tuple(map(str, gold)) if isinstance(gold, list) else (str(gold),)
        found.append(OpenQuestion(key, document.instances[0].args[0], answers))
    return found


@cache
def _documents(harness: HarnessTask) -> dict[str, Document]:
    return harness.documents()


@cache
def _requests(harness: HarnessTask, source: ModelSource, *, chat: bool, multiturn: bool) -> HarnessRequest:
    made = harness.documents(source.load_tokenizer(), multiturn=multiturn) if chat else _documents(harness)
    if harness.task.OUTPUT_TYPE == "generate_until":
        pairs: dict[str, Pairs] = {
            key: ((document.instances[0].args[0], ""),) for key, document in made.items()
        }
    else:
        pairs = {key: document.pairs for key, document in made.items()}
    written = json.dumps(pairs, sort_keys=True).encode()
    identity = {
        "scoring": "lm-eval",
        "chat": chat,
        "requests": hashlib.sha256(written).hexdigest(),
        **harness.identity,
    }
    return HarnessRequest(identity, pairs)


def _judged(harness: HarnessTask, key: str, answer: str) -> dict[str, Any]:
    document = _documents(harness)[key]
    instance = copy.copy(document.instances[0])
    instance.resps, instance.filtered_resps = [answer], {}
    with at_work(harness.place):
        harness.task._filters[0].apply([instance])
        (filtered,) = instance.filtered_resps.values()
        scores: dict[str, Any] = harness.task.process_results(document.doc, [filtered])
    return scores


def _aggregated(
    task: Any, results: Sequence[Mapping[str, Any]], *, without: Sequence[str] = ()
) -> dict[str, float]:
    functions = task.aggregation()
    found: dict[str, float] = {}
    for name in results[0]:
        if name in functions and name not in without:
            found[name] = float(functions[name]([result[name] for result in results]))
    return found


def _arguments(spec: Spec) -> dict[str, Any]:
    kinds: dict[str, Callable[[str], Any]] = {
        "n_shots": int,
        "n_quantization": int,
        "cluster": str,
        "chat": lambda text: {"true": True, "false": False}[text],
        "multiturn": lambda text: {"true": True, "false": False}[text],
        "rule": str,
        "confidence": str,
    }
    given: dict[str, Any] = {}
    for key, text in spec.arguments:
        if key not in kinds:
            raise InputError(f"{spec.id}: {unknown('argument of a harness task', key, kinds)}")
        try:
            given[key] = kinds[key](text)
        except (ValueError, KeyError):
            raise InputError(f"{spec.id}: {key} is {text!r}; give a number, or true or false") from None
    return given


def _check_causal(name: str, source: ModelSource) -> None:
    if source.architecture != "causal-lm":
        raise UnanswerableError(
            f"task {name!r} is one of lm-eval, which {source.id!r} (a classifier with a head of its own)"
            " cannot answer; choose a causal LM"
        )
