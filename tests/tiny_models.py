"""Tiny random models in the hub's layout: real architectures that load in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = [f"w{i}" for i in range(60)] + ["Text:", "Sentiment:", "negative", "positive", "no", "yes"]


def write_tokenizer(folder: Path, *, more_words: tuple[str, ...] = ()) -> int:
    """Write a word-level tokenizer; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *WORDS, *more_words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        folder
    )
    return len(vocabulary)


def write_encoder(folder: Path, *, seed: int = 0, n_classes: int = 2) -> Path:
    """Write a two-layer BERT classifier."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder.mkdir(parents=True, exist_ok=True)
    config = BertConfig(
        vocab_size=write_tokenizer(folder),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
        num_labels=n_classes,
        initializer_range=0.3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def write_decoder(folder: Path, *, seed: int = 0, more_words: tuple[str, ...] = ()) -> Path:
    """Write a two-layer Llama with tied embeddings."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    config = LlamaConfig(
        vocab_size=write_tokenizer(folder, more_words=more_words),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        eos_token_id=None,
        initializer_range=0.3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def decoder_like(model: Any, kind: str, **options: Any) -> Any:
    """A decoder of another kind in a model's sizes and with its vocabulary, not written anywhere."""
    import torch
    import transformers

    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    given = {name: getattr(model.config, name) for name in sizes} | options
    config = getattr(transformers, f"{kind}Config")(**given)
    config._attn_implementation = "eager"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config).eval()
