"""One model type examined: what calbench says of a few items against transformers, one text at a time."""

from __future__ import annotations

import gc
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from calbench.inference import score
from calbench.models import ModelSource
from calbench.tasks import ClassificationRequest, Item, MultipleChoice, Question
from tests.architectures import zoo

LABEL_WORDS = ClassificationRequest("label-words", "{text} was", (" good", " bad", " the"))
HEAD = ClassificationRequest("head", columns=tuple(range(zoo.N_CLASSES)))
EXACT = 1e-4  # of the largest number compared, where that is above 1

TEXTS = [Item(f"t{i}", t, 0) for i, t in enumerate(zoo.texts(12, shortest=1, longest=25, seed=8))]
QUESTIONS = [
    Question(f"q{i}", context, tuple(zoo.texts(3, shortest=1, longest=4, seed=1000 + i)), 0)
    for i, context in enumerate(zoo.texts(10, shortest=3, longest=25, seed=5))
]
CHOICES = MultipleChoice("zoo", lambda: QUESTIONS, "{question}", rule="sum")


@dataclass
class Examined:
    """What came of one type.

    Parameters
    ----------
    model_type, kind
        What was examined.
    absent
        Why there is nothing to examine: it cannot be built this small, or does not read text alone.
    differences
        For each way to ask: the largest difference to transformers, as a share of the largest
        number where that is above 1.
    refusals
        For each way to ask that calbench refuses: why.
    engines
        How each was read.
    """

    model_type: str
    kind: zoo.Kind
    absent: str = ""
    differences: dict[str, float] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    engines: dict[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> dict[str, float]:
        """Ways to ask that gave other numbers than transformers."""
        return {way: value for way, value in self.differences.items() if not value <= EXACT}


def examine(model_type: str, kind: zoo.Kind, folder: Path | None = None, **given: Any) -> Examined:
    """Build a type and ask it in every way that its head allows."""
    found = Examined(model_type, kind)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as place:
        warnings.simplefilter("ignore")
        try:
            folder = zoo.build(model_type, kind, folder or Path(place), **given)
        except Exception as error:  # noqa: BLE001 (a type that cannot be built is no finding)
            found.absent = f"cannot be built this small: {_line(error)}"
            return found
        _examine(found, folder)
    gc.collect()
    return found


def source_of(model_type: str, kind: zoo.Kind, folder: Path) -> ModelSource:
    """The folder as a model."""
    architecture = "causal-lm" if kind == "causal" else "sequence-classification"
    return ModelSource(model_type, architecture, str(folder), max_length=200)


def _examine(found: Examined, folder: Path) -> None:
    source = source_of(found.model_type, found.kind, folder)
    try:
        module, tokenizer = source.resolve().load(), source.load_tokenizer()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is a refused row of a run)
        found.refusals["load"] = _line(error)
        return
    plain: dict[str, tuple[Any, Any, Callable[..., Any]]] = (
        {"head": (HEAD, TEXTS, lone_heads)}
        if found.kind == "head"
        else {
            "label words": (LABEL_WORDS, TEXTS, lone_label_words),
            "choices": (CHOICES.request(source), QUESTIONS, lone_choices),
        }
    )
    for way, (request, items, lone) in plain.items():
        try:
            expected = lone(plain_model(source), tokenizer)
        except Exception as error:  # noqa: BLE001 (what transformers cannot do is no finding)
            found.absent = f"does not read text alone: {_line(error)}"
            return
        try:
            scored = score(module, tokenizer, source, request, items)
        except Exception as error:  # noqa: BLE001
            found.refusals[way] = _line(error)
            continue
        largest = max(1.0, float(np.abs(expected).max()))
        found.differences[way] = float(np.abs(scored.logits - expected).max()) / largest
        found.engines[way] = scored.engine


def plain_model(source: ModelSource) -> Any:
    """The model as transformers loads it, and nothing else."""
    import torch
    import transformers

    causal = source.architecture == "causal-lm"
    kind = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForSequenceClassification
    return kind.from_pretrained(source.location, dtype=torch.float32).eval()


def lone_heads(module: Any, tokenizer: Any) -> Any:
    """A head's answers to texts that are asked one at a time, with all that the tokenizer gives."""
    import inspect

    import torch

    taken = inspect.signature(module.forward).parameters
    rows = []
    with torch.inference_mode():
        for item in TEXTS:
            inputs = tokenizer(item.text, return_tensors="pt")
            rows.append(module(**{k: v for k, v in inputs.items() if k in taken}).logits[0].numpy())
    return np.stack(rows)


def lone_label_words(module: Any, tokenizer: Any) -> Any:
    """Logits of the label words after texts that are asked one at a time."""
    import torch

    words = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in LABEL_WORDS.label_words]
    rows = []
    with torch.inference_mode():
        for item in TEXTS:
            ids = tokenizer(LABEL_WORDS.text(item), return_tensors="pt")["input_ids"]
            rows.append(module(input_ids=ids, use_cache=False).logits[0, -1, words].numpy())
    return np.stack(rows)


def lone_choices(module: Any, tokenizer: Any) -> Any:
    """Log-likelihoods of options that are asked one at a time."""
    import torch

    rows = []
    with torch.inference_mode():
        for question in QUESTIONS:
            context = tokenizer(question.text)["input_ids"]
            row = []
            for option in question.options:
                ids = tokenizer(f"{question.text} {option}")["input_ids"]
                # As lm-evaluation-harness asks: the last token is predicted, never read.
                read = torch.tensor([ids[:-1]])
                logits = module(input_ids=read, use_cache=False).logits[0].log_softmax(-1)
                steps = range(len(context), len(ids))
                row.append(sum(float(logits[at - 1, ids[at]]) for at in steps))
            rows.append(row)
    return np.array(rows)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
