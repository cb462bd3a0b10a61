"""Tiny random models in the hub's layout, one of each architecture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="quantizers need torch")
pytest.importorskip("transformers", reason="quantizers need transformers")

import torch
import transformers

from calbench.models import Architecture, ModelSource
from calbench.quantizers import QuantizationSamples
from calbench.quantizers._tiny import VOCABULARY, random_samples

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    # The usual 0.02 gives a model whose layers hardly do anything.
    "initializer_range": 0.2,
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads cost more than they bring on matrices this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    config = transformers.BertConfig(**_SIZES, num_labels=3)
    return _saved(transformers.BertForSequenceClassification, config, tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    config = transformers.LlamaConfig(**_SIZES, num_key_value_heads=2, tie_word_embeddings=True)
    return _saved(transformers.LlamaForCausalLM, config, tmp_path_factory.mktemp("decoder"))


@pytest.fixture(params=["encoder", "decoder"])
def source(request: pytest.FixtureRequest) -> ModelSource:
    found: ModelSource = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def samples() -> QuantizationSamples:
    return random_samples(128, seed=0)


@pytest.fixture(scope="session")
def probe() -> tuple[tuple[int, ...], ...]:
    return random_samples(8, seed=1).token_ids


def _saved(kind: type, config: object, folder: Path) -> ModelSource:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind(config).save_pretrained(folder)
    architecture: Architecture = "causal-lm" if "Causal" in kind.__name__ else "sequence-classification"
    return ModelSource(f"tiny-{folder.name}", architecture, str(folder))
