"""Variants: how a model came to be, and the contrasts between arms that answer a question.

All adapters of one comparison are trained on the same items with the same budget, and all arms are
measured on the same items, so that two arms differ in one thing only. The comparison of a tuned and
quantized model with an untuned one mixes two effects; it is among the contrasts, and named for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from calbench.errors import UnknownNameError
from calbench.gates import Contrast
from calbench.registry import unknown

Adapter = Literal["none", "full", "quantized", "distilled", "distilled-base"]
Weights = Literal["full", "quantized", "merged-quantized"]


@dataclass(frozen=True)
class Variant:
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


VARIANTS = {
    arm.id: arm
    for arm in (
        Variant("base", "none", "full", "untuned, full precision"),
        Variant("base-ptq", "none", "quantized", "untuned, quantized"),
        Variant("base-distilled", "distilled-base", "quantized", "quantized, distilled from base"),
        Variant("tuned", "full", "full", "LoRA at full precision, unmerged"),
        Variant("tuned-ptq", "full", "merged-quantized", "LoRA merged at full precision, then quantized"),
        Variant("ptq-lora", "full", "quantized", "the same LoRA beside quantized weights"),
        Variant("qlora", "quantized", "quantized", "LoRA trained over the quantized weights"),
        Variant("tuned-distilled", "distilled", "quantized", "quantized, distilled from tuned"),
    )
}


def _interaction(arm: str, name: str, question: str) -> Contrast:
    return Contrast(name, {arm: 1, "tuned": -1, "base-ptq": -1, "base": 1}, question)


_CONTRASTS = (
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


CONTRASTS = {contrast.id: contrast for contrast in _CONTRASTS}


def variants(names: Iterable[str]) -> tuple[Variant, ...]:
    """Return variants by their ids, in the order of :data:`VARIANTS`.

    Raises
    ------
    UnknownNameError
        There is no such variant.
    """
    wanted = list(names)
    for name in wanted:
        if name not in VARIANTS:
            raise UnknownNameError(unknown("arm", name, VARIANTS))
    return tuple(arm for arm in VARIANTS.values() if arm.id in wanted)


def contrasts_of(names: Iterable[str]) -> tuple[Contrast, ...]:
    """Return the contrasts that these arms can answer."""
    present = set(names)
    return tuple(contrast for contrast in CONTRASTS.values() if set(contrast.weights) <= present)
