"""Tiny random models, one encoder and one decoder: what a backend can be tried on within a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from calbench.models import ARCHITECTURES, Architecture, ModelSource, quiet
from calbench.quantizers._samples import QuantizationSamples

VOCABULARY = 96
_SIZES: dict[str, Any] = {"vocab_size": VOCABULARY, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDTH = 64
# Formats that store their weights in blocks of 256 need rows that these divide.
WIDE = 256
# The usual 0.02 gives a model whose layers hardly do anything.
_SCALE = 0.2


def write_tiny(architecture: Architecture, folder: Path, *, seed: int = 0, width: int = WIDTH) -> ModelSource:
    """Write a two-layer BERT classifier or Llama with a tokenizer of words, and return its source."""
    sizes = _SIZES | {"hidden_size": width, "intermediate_size": 2 * width}
    with quiet():
        import torch
        import transformers

        kind, config = {
            "sequence-classification": (
                transformers.BertForSequenceClassification,
                transformers.BertConfig(**sizes, num_labels=3),
            ),
            "causal-lm": (
                transformers.LlamaForCausalLM,
                transformers.LlamaConfig(**sizes, num_key_value_heads=2, tie_word_embeddings=True),
            ),
        }[architecture]
        with torch.random.fork_rng():  # transformers draws weights from the global generator
            model = kind(config)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.normal_(0, _SCALE * (WIDTH / width) ** 0.5, generator=generator)
        model.save_pretrained(folder)
        _write_tokenizer(folder)
    return ModelSource(f"tiny-{architecture}", architecture, str(folder))


def _write_tokenizer(folder: Path) -> None:
    # Some backends read the tokenizer, though they are given token ids.
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    unknown = "w0"
    words = {f"w{i}": i for i in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=unknown))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=unknown,
        pad_token=unknown,
        eos_token=unknown,
    ).save_pretrained(folder)


def write_all(folder: Path, *, seed: int = 0, width: int = WIDTH) -> list[ModelSource]:
    """Write one tiny model of each architecture below ``folder``."""
    return [write_tiny(kind, folder / f"{kind}-{width}", seed=seed, width=width) for kind in ARCHITECTURES]


def random_samples(n_samples: int, *, seed: int = 0) -> QuantizationSamples:
    """Draw token ids for the tiny models: texts of 4 to 19 tokens."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(4, 20, (n_samples,), generator=generator).tolist()
    rows = [torch.randint(1, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
    return QuantizationSamples(tuple(map(tuple, rows)))
