"""Tasks of lm-evaluation-harness: it makes the documents and contexts, calbench asks and measures."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from calbench.errors import BackendUnavailableError, InputError, UnanswerableError, UnknownNameError
from calbench.models import ModelSource
from calbench.registry import Spec, unknown
from calbench.tasks._data import datasets_cache, reading
from calbench.tasks._generation import Generation, GenerationRequest, OpenQuestion
from calbench.tasks._harness_yaml import check_yaml
from calbench.tasks._items import LabelledItem
from calbench.tasks._multiple_choice import MultipleChoice, Question

PREFIX = "lm-eval:"
INCLUDE = "CALBENCH_LM_EVAL_INCLUDE"
# What the harness itself seeds the choice of examples with.
_SHOTS_SEED = 1234
_OUTPUTS = ("multiple_choice", "generate_until")

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class HarnessTask:
    """One task as the harness has it, opened once.

    Parameters
    ----------
    name
        Its name there.
    n_shots
        How many answered examples; None for what the task says.
    overrides
        What a group says of this member.
    """

    name: str
    n_shots: int | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def spelled(self) -> str:
        """What messages call it."""
        return PREFIX + self.name

    @cached_property
    def task(self) -> Any:
        """The harness's own object; its data are loaded.

        Raises
        ------
        InputError
            The file could run code that was not trusted, its data or templates cannot be used, or it asks
            for what is not asked here; the task is named.
        """
        manager = _manager(_include(), _knows_itself(self.name))
        entry = manager.task_index[self.name]
        if entry.kind.name != "TASK":
            raise InputError(f"{self.spelled} is written in Python; only tasks of YAML are asked here")
        with _harness(self.spelled):
            check_yaml(entry.yaml_path, Path(_include() or entry.yaml_path.parent))
            found = manager.load([{"task": self.name, **self.overrides}])["tasks"][self.name]
            if self.n_shots is not None:
                found.set_config(key="num_fewshot", value=self.n_shots)
        _check_kind(found, self.spelled)
        return found

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The task's version, all that its configuration says, and who read it."""
        import lm_eval

        with _harness(self.spelled):
            said = self.task.dump_config()
        said.get("metadata", {}).pop("config_source", None)
        written = json.dumps(said, sort_keys=True, default=str)
        return {
            "task": self.name,
            "version": str(self.task.VERSION),
            "configuration": hashlib.sha256(written.encode()).hexdigest(),
            "lm_eval": lm_eval.__version__,
        }

    def documents(self, tokenizer: Any = None, *, multiturn: bool = True) -> dict[str, Document]:
        """Return every document with its requests, as the harness builds them; by id.

        Parameters
        ----------
        tokenizer
            Whose chat template the contexts are rendered with; None for plain text.
        multiturn
            Whether answered examples are turns of the conversation.
        """
        with _harness(self.spelled):
            self.task.set_fewshot_seed(_SHOTS_SEED)
            self.task.build_all_requests(
                limit=None,
                rank=0,
                world_size=1,
                apply_chat_template=tokenizer is not None,
                fewshot_as_multiturn=multiturn and tokenizer is not None,
                chat_template=None if tokenizer is None else _rendered_by(tokenizer),
            )
            made: dict[str, Document] = {}
            for instance in self.task.instances:
                key = f"{instance.doc_id:06}"
                document = made.setdefault(key, Document(key, instance.doc, []))
                document.instances.append(instance)
        return made


@dataclass(frozen=True)
class Document:
    """One document: its id (the number in its split), what it holds, and the requests made of it."""

    id: str
    doc: Mapping[str, Any]
    instances: list[Any]

    @property
    def pairs(self) -> Pairs:
        """Contexts and continuations, in the order of the requests."""
        return tuple((str(i.args[0]), str(i.args[1])) for i in self.instances)


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
        """Return the harness's own metrics of the log-likelihoods; those that ask what is greedy are left out."""
        task, documents = self.harness.task, self.harness.documents()
        results = []
        for row, item in zip(values, items, strict=True):
            document = documents[item.id]
            pairs = [(float(v), False) for v in row[: len(document.instances)]]
            results.append(task.process_results(document.doc, pairs))
        return _aggregated(task, results, without=("exact_match",))


@dataclass(frozen=True)
class HarnessGeneration(Generation):
    """A ``generate_until`` task of the harness: open questions, answered greedily, filtered and judged by it."""

    harness: HarnessTask = field(default_factory=lambda: HarnessTask(""), compare=False)
    chat: bool = False
    multiturn: bool = True

    @cached_property
    def partition(self) -> Any:
        """The questions' disjoint parts; examples come from the harness's own split."""
        return self.dataset.partition(n_training=0, n_quantization=self.n_quantization)

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

    def judge(self, answer: str, question: OpenQuestion) -> bool:
        """Whether the harness's filters and metric call an answer, as it was written, right."""
        return max(self.judged(answer, question).values()) > 0

    def judged(self, answer: str, question: OpenQuestion) -> dict[str, float]:
        """Return every metric of the answer, after the first of the task's filters."""
        task, document = self.harness.task, _documents(self.harness)[question.id]
        instance = copy.copy(document.instances[0])
        instance.resps, instance.filtered_resps = [answer], {}
        with _harness(self.harness.spelled):
            task._filters[0].apply([instance])
            filtered = next(iter(instance.filtered_resps.values()))
            scores = task.process_results(document.doc, [filtered])
        return {name: float(score) for name, score in scores.items() if isinstance(score, int | float)}

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
    return [_task(HarnessTask(member, given.get("n_shots"), said), given, spec) for member, said in _members(name)]


def _task(harness: HarnessTask, given: Mapping[str, Any], spec: Spec) -> MultipleChoice | Generation:
    kind = harness.task.OUTPUT_TYPE
    more = {key: given[key] for key in ("chat", "multiturn") if key in given}
    n_documents = len(harness.task.eval_docs)
    more["n_quantization"] = given.get("n_quantization", min(128, n_documents // 10))
    more |= {"n_shots": int(harness.task.config.num_fewshot or 0), "harness": harness}
    if kind == "multiple_choice":
        return HarnessChoice(harness.name, lambda: _questions(harness), rule=given.get("rule", "sum"), **more)
    said = harness.task.config.generation_kwargs or {}
    stop = said.get("until") or []
    return HarnessGeneration(
        harness.name,
        lambda: _open_questions(harness),
        confidence=given.get("confidence", "sequence"),
        max_new_tokens=int(said.get("max_gen_toks", 256)),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        **more,
    )


def _questions(harness: HarnessTask) -> list[Question]:
    task, found = harness.task, []
    for key, document in _documents(harness).items():
        with _harness(harness.spelled):
            options = [str(option) for option in task.doc_to_choice(document.doc)]
            gold = (task.doc_to_text if task.multiple_input else task.doc_to_target)(document.doc)
        if isinstance(gold, list):
            raise InputError(
                f"{harness.spelled}: document {key} has {len(gold)} right answers {gold!r}; one is wanted"
            )
        if isinstance(gold, str) and gold in options:
            gold = options.index(gold)
        if not isinstance(gold, int) or not 0 <= gold < len(options):
            raise InputError(f"{harness.spelled}: document {key}: {gold!r} is none of its {len(options)} options")
        contexts = dict.fromkeys(context for context, _ in document.pairs[: len(options)])
        found.append(Question(key, "\n".join(contexts), tuple(options), gold))
    return found


def _open_questions(harness: HarnessTask) -> list[OpenQuestion]:
    task, found = harness.task, []
    for key, document in _documents(harness).items():
        with _harness(harness.spelled):
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
        pairs: dict[str, Pairs] = {key: ((document.instances[0].args[0], ""),) for key, document in made.items()}
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


def _aggregated(task: Any, results: Sequence[Mapping[str, Any]], *, without: Sequence[str]) -> dict[str, float]:
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


def _members(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tasks of a group or tag, each with what the group says of it; a task is its own."""
    index = _manager(_include(), _knows_itself(name)).task_index
    entry = index[name]
    if entry.kind.name == "TAG":
        for member in sorted(entry.tags):
            yield member, {}
    elif entry.kind.name == "GROUP":
        for member in entry.cfg.get("task") or []:
            said = {"task": member} if isinstance(member, str) else dict(member)
            inner = said.pop("task", None) or said.pop("group", None)
            if inner not in index:
                raise InputError(f"{PREFIX}{name}: its member {inner!r} is no task of its own; name tasks")
            for leaf, more in _members(inner):
                yield leaf, {**said, **more}
    else:
        yield name, {}


def _include() -> str | None:
    return os.environ.get(INCLUDE) or None


def _knows_itself(name: str) -> bool:
    """Whether the folder that was included holds a name, and the harness's own index need not be read."""
    include = _include()
    if include and name in _manager(include, True).task_index:
        return True
    known = _manager(include, False).task_index
    if name not in known:
        raise UnknownNameError(unknown("task of lm-eval", name, known))
    return False


@cache
def _manager(include: str | None, alone: bool) -> Any:  # noqa: FBT001
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise BackendUnavailableError("harness tasks need lm-eval; pip install 'calbench[lm-eval]'") from error
    if include and not Path(include).is_dir():
        raise InputError(f"--lm-eval-include {include}: there is no such folder")
    with _harness("lm-eval"):
        return TaskManager(include_path=include, include_defaults=not alone)


@contextmanager
def _harness(spelled: str) -> Iterator[None]:
    """Run the harness: quietly, its templates in a sandbox, its data in calbench's cache, errors in words."""
    import datasets.config
    import lm_eval.utils
    from jinja2.sandbox import SandboxedEnvironment

    env, folder = lm_eval.utils.env, datasets.config.HF_DATASETS_CACHE
    if not isinstance(env, SandboxedEnvironment):
        sandboxed = SandboxedEnvironment(undefined=env.undefined, keep_trailing_newline=True)
        sandboxed.filters.update(env.filters)
        lm_eval.utils.env = sandboxed
    log = logging.getLogger("lm_eval")
    level = log.level
    log.setLevel(logging.ERROR)
    datasets.config.HF_DATASETS_CACHE = datasets_cache()
    try:
        with reading(spelled):
            yield
    finally:
        datasets.config.HF_DATASETS_CACHE = folder
        log.setLevel(level)


def _rendered_by(tokenizer: Any) -> Callable[..., str]:
    if not getattr(tokenizer, "chat_template", None):
        raise InputError("the tokenizer has no chat template; leave chat out")

    def render(history: list[dict[str, str]], *, add_generation_prompt: bool = True) -> str:
        return str(
            tokenizer.apply_chat_template(
                history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    return render


def _check_kind(task: Any, spelled: str) -> None:
    if task.OUTPUT_TYPE not in _OUTPUTS:
        raise InputError(
            f"{spelled} has the output_type {task.OUTPUT_TYPE!r}; there are answers to calibrate in"
            f" {' and '.join(_OUTPUTS)} only"
        )
    if getattr(task, "MULTIMODAL", False):
        raise InputError(f"{spelled} shows images or sounds; only texts are asked here")
    said = task.config.generation_kwargs or {}
    if said.get("do_sample") or float(said.get("temperature") or 0) > 0 or task.config.repeats > 1:
        raise InputError(f"{spelled} draws its answers at random; only greedy ones are asked here")


def _check_causal(name: str, source: ModelSource) -> None:
    if source.architecture != "causal-lm":
        raise UnanswerableError(
            f"task {name!r} is one of lm-eval, which {source.id!r} (a classifier with a head of its own) cannot"
            " answer; choose a causal LM"
        )


