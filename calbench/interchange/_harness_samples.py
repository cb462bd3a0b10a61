"""One logged sample of lm-evaluation-harness: its options' log-probabilities and which are right."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calbench.errors import InputError


class NotOneChoiceError(InputError):
    """A sample that has no score for each of several options, of which one is picked."""


@dataclass(frozen=True)
class Sample:
    """One item.

    Attributes
    ----------
    id
        ``task/doc_id``.
    scores
        Summed log-probability of each option.
    options
        What was scored after the context, delimiter included; all alike where options stand in contexts.
    right
        The right options; None where the log does not say.
    logged
        The harness's own ``acc`` and ``acc_norm``, where they are there.
    question, prompt
        Hashes of the item, and of how it was asked.
    """

    id: str
    scores: tuple[float, ...]
    options: tuple[str, ...]
    right: tuple[int, ...] | None
    logged: Mapping[str, float]
    question: str
    prompt: str

    @property
    def in_contexts(self) -> bool:
        """Whether the options differ before what is scored, as winogrande's do."""
        return len(self.options) > 1 and len(set(self.options)) == 1

    def per_character(self, delimiter: str) -> tuple[float, ...]:
        """Return the scores divided by the options' lengths, as ``acc_norm`` compares them."""
        if self.in_contexts:
            raise InputError(
                "its options stand in the contexts, whose lengths are not logged; leave out scoring="
            )
        pairs = zip(self.scores, self.options, strict=True)
        return tuple(score / max(len(option.removeprefix(delimiter)), 1) for score, option in pairs)


def read_sample(sample: Mapping[str, Any], task: str, *, mapped: bool = False) -> Sample:
    """Read one row; ``mapped`` says that its right answer is read elsewhere.

    Raises
    ------
    NotOneChoiceError
        It is of a task that generates text, or whose accuracy is no right or wrong.
    InputError
        It cannot be read.
    """
    scores = _scores(sample)
    requests = _requests(sample)
    # With acc_mutual_info, every option is asked again without its context.
    asked = [request for request in requests if request[0] != ""] or requests
    if len(asked) == 2 * len(scores) or len(scores) == 2 * len(asked):
        scores = scores[: len(asked)]
    options = [str(request[1]) for request in asked] or [""] * len(scores)
    if len(options) != len(scores):
        raise InputError(
            f"there are {len(scores)} scores for {len(options)} options; write the log again: run"
            " lm_eval with --log_samples"
        )
    logged = {name: float(sample[name]) for name in ("acc", "acc_norm") if _is_number(sample.get(name))}
    if any(value not in (0, 1) for value in logged.values()):
        raise NotOneChoiceError(
            f"acc = {sample.get('acc')} is neither right nor wrong; leave the task out with tasks="
        )
    in_contexts = bool(asked) and len(set(options)) == 1 and len({str(r[0]) for r in asked}) > 1
    right = None if mapped else _right(sample, options, scores, logged, in_contexts=in_contexts)
    return Sample(
        f"{task}/{sample['doc_id']}",
        tuple(scores),
        tuple(options),
        right,
        logged,
        _hash(sample, "doc_hash", sample.get("doc")),
        _hash(sample, "prompt_hash", [str(request[0]) for request in asked]),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _hash(sample: Mapping[str, Any], name: str, content: Any) -> str:
    """Return the harness's own hash, or one of the content (which is then marked), shortened."""
    if isinstance(sample.get(name), str):
        return str(sample[name])[:16]
    if not content:
        return ""
    text = json.dumps(content, sort_keys=True, default=str)
    return "~" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _requests(sample: Mapping[str, Any]) -> list[Sequence[Any]]:
    """Return context and continuation of each request, which the harness logs in two spellings."""
    requests = sample.get("arguments") or []
    if isinstance(requests, dict):
        return [[request["arg_0"], request["arg_1"]] for request in requests.values()]
    return list(requests)


def _scores(sample: Mapping[str, Any]) -> list[float]:
    responses = sample["filtered_resps"]
    if not isinstance(responses, list) or len(responses) < 2:
        raise NotOneChoiceError(
            "filtered_resps has no score per option; a task that generates text has no class vector:"
            " import its answers and confidences by ColumnNames(predicted=..., confidence=...) instead, with"
            " format_='table'"
        )
    scores = []
    for response in responses:
        value = response[0] if isinstance(response, list) else response
        if isinstance(value, list):  # unfiltered: one more level
            value = value[0]
        if isinstance(value, bool):
            raise InputError(
                f"filtered_resps holds {value!r} where a log-probability belongs; leave tasks that generate"
                " out with tasks="
            )
        score = float(value)
        if math.isnan(score) or score == math.inf:
            raise InputError(
                f"filtered_resps holds {value!r}, which is no log-probability; run the task again"
            )
        scores.append(score)
    return scores


def _right(
    sample: Mapping[str, Any],
    options: Sequence[str],
    scores: Sequence[float],
    logged: Mapping[str, float],
    *,
    in_contexts: bool,
) -> tuple[int, ...] | None:
    """Return the right options; the harness logs them as numbers or as the options' texts."""
    target = sample["target"]
    if in_contexts:  # where the target is the text that all options share
        if "acc" not in logged:
            return None
        best = int(np.argmax(scores))
        if logged["acc"] == 1:
            return (best,)
        return (1 - best,) if len(scores) == 2 else None
    targets = target if isinstance(target, list) else _listed(target)
    return tuple(dict.fromkeys(_place(one, options) for one in targets))


def _listed(target: Any) -> list[Any]:
    text = str(target).strip()
    if re.fullmatch(r"\[\s*\d+(\s*,\s*\d+)*\s*\]", text):
        return list(json.loads(text))
    return [target]


def _place(target: Any, options: Sequence[str]) -> int:
    text = str(target).strip()
    stripped = [option.strip() for option in options]
    if text.isdecimal():
        label = int(text)
    elif text in stripped:
        label = stripped.index(text)
    else:
        raise InputError(
            f"the target {target!r} is neither an index nor one of the options; say where the right one"
            " stands"
            " with ColumnNames(label='doc.NAME')"
        )
    if label >= len(options):
        raise InputError(
            f"the target {target!r} is not among the {len(options)} options; say where the right one stands"
            " with ColumnNames(label='doc.NAME')"
        )
    return label
