"""Models on the hub that the studies of calibration under quantization used, by their ids there."""

from __future__ import annotations

from calbench.models._registry import model
from calbench.models._sources import ModelSource


def _financial(name: str, hub_id: str, classes: tuple[str, ...]) -> ModelSource:
    return ModelSource(
        name,
        "sequence-classification",
        hub_id,
        classes=classes,
        default_tasks=("financial-sentiment",),
        quantization_task="financial-sentiment",
    )


def _decoder(name: str, hub_id: str) -> ModelSource:
    return ModelSource(
        name,
        "causal-lm",
        hub_id,
        max_length=4096,
        default_tasks=("arc-challenge", "mmlu-full"),
        quantization_task="arc-challenge",
    )


@model("finbert")
def finbert() -> ModelSource:
    """FinBERT; its head's order is its own."""
    return _financial("finbert", "ProsusAI/finbert", ("positive", "negative", "neutral"))


@model("financialbert")
def financialbert() -> ModelSource:
    """FinancialBERT; its head's order is its own."""
    hub_id = "ahmedrachid/FinancialBERT-Sentiment-Analysis"
    return _financial("financialbert", hub_id, ("negative", "neutral", "positive"))


@model("gemma-2-2b-it")
def gemma() -> ModelSource:
    """Gemma 2, 2B, instruction-tuned."""
    return _decoder("gemma-2-2b-it", "google/gemma-2-2b-it")


@model("qwen2.5-1.5b-instruct")
def qwen() -> ModelSource:
    """Qwen 2.5, 1.5B, instruction-tuned."""
    return _decoder("qwen2.5-1.5b-instruct", "Qwen/Qwen2.5-1.5B-Instruct")


@model("llama-3.2-3b-instruct")
def llama() -> ModelSource:
    """Llama 3.2, 3B, instruction-tuned."""
    return _decoder("llama-3.2-3b-instruct", "meta-llama/Llama-3.2-3B-Instruct")


@model("mistral-7b-instruct-v0.3")
def mistral() -> ModelSource:
    """Mistral 7B v0.3, instruction-tuned."""
    return _decoder("mistral-7b-instruct-v0.3", "mistralai/Mistral-7B-Instruct-v0.3")
