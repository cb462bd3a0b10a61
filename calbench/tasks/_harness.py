"""The task code of lm-evaluation-harness: its index, its tasks, and the requests made of documents."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from calbench.errors import BackendUnavailableError, InputError, UnknownNameError
from calbench.registry import unknown
from calbench.tasks._data import datasets_cache
from calbench.tasks._harness_yaml import TRUST_LM_EVAL_CODE, check_named, check_yaml
from calbench.tasks._unreadable import reading

PREFIX = "lm-eval:"
LM_EVAL_INCLUDE = "CALBENCH_LM_EVAL_INCLUDE"
# What the harness itself seeds the choice of examples with.
_SHOTS_SEED = 1234
_OUTPUTS = ("multiple_choice", "generate_until")

Pairs = tuple[tuple[str, str], ...]


def use_harness(include: Path | None, *, trust: bool = False) -> None:
    """Take tasks of the user's own from a folder, and say whether code that they name may run.

    Child processes inherit both.
    """
    if include is not None:
        os.environ[LM_EVAL_INCLUDE] = str(include)
    if trust:
        os.environ[TRUST_LM_EVAL_CODE] = "1"


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

    @property
    def place(self) -> str:
        """What messages call it whose remedy is in its file."""
        index = _manager(_include(), alone=_knows_itself(self.name)).task_index
        return f"{self.spelled} ({index[self.name].yaml_path})"

    @cached_property
    def task(self) -> Any:
        """The harness's own object; its data are loaded.

        Raises
        ------
        InputError
            The file could run code that was not trusted, its data or templates cannot be used, or it asks
            for what is not asked here; the task is named.
        """
        manager = _manager(_include(), alone=_knows_itself(self.name))
        entry = manager.task_index[self.name]
        if entry.kind.name != "TASK":
            raise InputError(f"{self.spelled} is written in Python; only tasks of YAML are asked here")
        with at_work(self.place):
            check_yaml(entry.yaml_path, Path(_include() or entry.yaml_path.parent))
            found = manager._factory.build(
                entry, overrides={"task": self.name, **self.overrides}, registry=manager.task_index
            )
            if self.n_shots is not None:
                found.set_config(key="num_fewshot", value=self.n_shots)
        _check_kind(found, self.spelled)
        return found

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The task's version, all that its configuration says, and who read it."""
        with at_work(self.spelled):
            said = self.task.dump_config()
        said.get("metadata", {}).pop("config_source", None)
        written = json.dumps(said, sort_keys=True, default=str)
        return {
            "task": self.name,
            "version": str(self.task.VERSION),
            "configuration": hashlib.sha256(written.encode()).hexdigest(),
            "lm_eval": metadata.version("lm_eval"),
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
        with at_work(self.place):
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


def members(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tasks of a group or tag, each with what the group says of it; a task is its own."""
    index = _manager(_include(), alone=_knows_itself(name)).task_index
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
            for leaf, more in members(inner):
                yield leaf, {**said, **more}
    else:
        yield name, {}


def _include() -> str | None:
    return os.environ.get(LM_EVAL_INCLUDE) or None


def _knows_itself(name: str) -> bool:
    """Whether the folder that was included holds a name, and the harness's own index need not be read."""
    include = _include()
    if include:
        manager = _manager(include, alone=True)
        check_named(name, Path(include))
        if name in manager.task_index:
            return True
    known = _manager(include, alone=False).task_index
    if name not in known:
        raise UnknownNameError(unknown("task of lm-eval", name, known))
    return False


@cache
def _manager(include: str | None, *, alone: bool) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise BackendUnavailableError(
            "harness tasks need lm-eval; pip install 'calbench[lm-eval]'"
        ) from error
    if include and not Path(include).is_dir():
        raise InputError(f"{include}: there is no such folder of harness tasks")
    with at_work("lm-eval"):
        return TaskManager(include_path=include, include_defaults=not alone)


@contextmanager
def at_work(spelled: str) -> Iterator[None]:
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
        with reading(spelled), _answers_in_words(spelled):
            yield
    finally:
        datasets.config.HF_DATASETS_CACHE = folder
        log.setLevel(level)


@contextmanager
def _answers_in_words(place: str) -> Iterator[None]:
    """Say what is wrong where the harness looks for options and for the right one, and finds none."""
    try:
        yield
    except IndexError as error:
        raise InputError(
            f"{place}: doc_to_target gives a number that no option has; mend it: they count from 0"
        ) from error
    except ValueError as error:
        if "malformed node" not in str(error):
            raise
        raise InputError(
            f"{place}: doc_to_choice is neither a column of its documents nor a list; write one of these"
        ) from error


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
            f" {' and '.join(_OUTPUTS)} only: choose a task of these"
        )
    if getattr(task, "MULTIMODAL", False):
        raise InputError(f"{spelled} shows images or sounds; only texts are asked here: choose another task")
    said = task.config.generation_kwargs or {}
    if said.get("do_sample") or float(said.get("temperature") or 0) > 0 or task.config.repeats > 1:
        raise InputError(
            f"{spelled} draws its answers at random; only greedy ones are asked here: set do_sample to"
            " false and repeats to 1 in a copy of its YAML"
        )
