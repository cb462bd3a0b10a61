"""Arms: how a model came to be, and the contrasts between arms that answer a question.

All adapters of one comparison are trained on the same items with the same budget, and all arms are
measured on the same items, so that two arms differ in one thing only. The comparison of a tuned and
quantized model with an untuned one mixes two effects; it is among the contrasts, and named for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from calbench.errors import UnknownNameError
from calbench.registry import unknown

Adapter = Literal["none", "full", "quantized", "distilled", "distilled-base"]
Weights = Literal["full", "quantized", "merged-quantized"]


@dataclass(frozen=True)
class ArmDesign:
    """One way to a model that is measured.

    Parameters
    ----------
    id
        The name that tables and gates use.
    adapter
        ``"none"``; ``"full"``: trained over full-precision weights; ``"quantized"``: over quantized
        ones; ``"distilled"`` and ``"distilled-base"``: over quantized ones, from the tuned or the
        untuned full-precision model as teacher.
    weights
        What is measured: ``"full"``: full-precision weights with the adapter beside them;
        ``"quantized"``: quantized weights with the adapter beside them; ``"merged-quantized"``: the
        adapter merged at full precision, then quantized.
    description
        In words, for reports.
    """

    id: str
    adapter: Adapter
    weights: Weights
    description: str


@dataclass(frozen=True)
class Contrast:
    """A question to arms: a weighted sum of their metrics.

    Parameters
    ----------
    id
        Short name.
    weights
        By arm.
    question
        In words, for reports.
    """

    id: str
    weights: Mapping[str, float]
    question: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))


ARMS = {
    arm.id: arm
    for arm in (
        ArmDesign("base", "none", "full", "untuned, full precision"),
        ArmDesign("base-ptq", "none", "quantized", "untuned, quantized"),
        ArmDesign("base-distilled", "distilled-base", "quantized", "quantized, distilled from base"),
        ArmDesign("tuned", "full", "full", "LoRA at full precision, unmerged"),
        ArmDesign("tuned-ptq", "full", "merged-quantized", "LoRA merged at full precision, then quantized"),
        ArmDesign("ptq-lora", "full", "quantized", "the same LoRA beside quantized weights"),
        ArmDesign("qlora", "quantized", "quantized", "LoRA trained over the quantized weights"),
        ArmDesign("tuned-distilled", "distilled", "quantized", "quantized, distilled from tuned"),
    )
}


def _interaction(arm: str, name: str, question: str) -> Contrast:
    return Contrast(name, {arm: 1, "tuned": -1, "base-ptq": -1, "base": 1}, question)


CONTRASTS = (
    Contrast(
        "tuning",
        {"tuned": 0.5, "tuned-ptq": 0.5, "base": -0.5, "base-ptq": -0.5},
        "tuning, averaged over both precisions",
    ),
    Contrast(
        "quantization",
        {"base-ptq": 0.5, "tuned-ptq": 0.5, "base": -0.5, "tuned": -0.5},
        "quantization, averaged over untuned and tuned",
    ),
    _interaction(
        "tuned-ptq",
        "tuning × quantization",
        "does quantization do more to the tuned model than to the untuned?",
    ),
    Contrast("qlora - tuned-ptq", {"qlora": 1, "tuned-ptq": -1}, "tuned in the quantized space, or before?"),
    Contrast(
        "ptq-lora - tuned-ptq",
        {"ptq-lora": 1, "tuned-ptq": -1},
        "LoRA beside the quantized weights, or merged?",
    ),
    Contrast(
        "qlora - ptq-lora",
        {"qlora": 1, "ptq-lora": -1},
        "does the adapter profit from having seen the quantized weights?",
    ),
    Contrast(
        "tuned-distilled - tuned-ptq",
        {"tuned-distilled": 1, "tuned-ptq": -1},
        "distilled into the quantized space, or quantized after?",
    ),
    Contrast("tuned-distilled - qlora", {"tuned-distilled": 1, "qlora": -1}, "a teacher, or labels alone?"),
    Contrast(
        "base-distilled - base-ptq",
        {"base-distilled": 1, "base-ptq": -1},
        "what does distilling from the reference repair?",
    ),
    Contrast(
        "qlora - base-ptq",
        {"qlora": 1, "base-ptq": -1},
        "confounded: tuned and quantized against untuned and quantized",
    ),
)


def designs(names: Iterable[str]) -> tuple[ArmDesign, ...]:
    """Return arms by their ids, in the order of :data:`ARMS`.

    Raises
    ------
    UnknownNameError
        There is no such arm.
    """
    wanted = list(names)
    for name in wanted:
        if name not in ARMS:
            raise UnknownNameError(unknown("arm", name, ARMS))
    return tuple(arm for arm in ARMS.values() if arm.id in wanted)


def contrasts_of(names: Iterable[str]) -> tuple[Contrast, ...]:
    """Return the contrasts that these arms can answer."""
    present = set(names)
    return tuple(contrast for contrast in CONTRASTS if set(contrast.weights) <= present)
