"""Tiny models of any type that transformers knows, and tokenizers that are trained in place."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Literal

Kind = Literal["causal", "head"]

VOCABULARY = 512
LARGEST = 12_000_000  # parameters
N_CLASSES = 3

_WORDS = """
the cat sat on a mat and dog ran to town good bad fine great poor awful movie film was is very not really
story plot actor scene music love hate liked boring dull bright dark long short happy sad new old
""".split()  # noqa: SIM905 (as a text they take two lines)

# Whatever a configuration calls its sizes; a name that it does not have is left out.
_SIZES: dict[str, Any] = (
    dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "word_embed_proj_dim", "embedding_size"), 64)
    | dict.fromkeys(("emb_dim", "lru_width", "attention_hidden_size", "moe_intermediate_size"), 64)
    | dict.fromkeys(("shared_expert_intermediate_size",), 64)
    | dict.fromkeys(("intermediate_size", "n_inner", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff"), 128)
    | dict.fromkeys(("hidden_dim", "ffn_dim", "ffn_hidden_size", "mamba_d_ssm"), 128)
    | dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers"), 2)
    | dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), 2)
    | dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads", "linear_num_value_heads"), 4)
    | dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4)
    | dict.fromkeys(("num_key_value_heads", "linear_num_key_heads"), 2)
    | dict.fromkeys(("head_dim", "d_kv", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 16)
    | dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "mamba_d_head", "mamba_headdim"), 16)
    | dict.fromkeys(("state_size", "mamba_d_state", "chunk_size", "sliding_window"), 16)
    | dict.fromkeys(("time_step_rank", "mamba_dt_rank"), 16)
    | dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 256)
    | dict.fromkeys(("max_source_positions", "max_target_positions"), 256)
    | dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4)
    | dict.fromkeys(("num_experts_per_tok", "moe_topk", "mamba_expand", "expand", "type_vocab_size"), 2)
    | dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "first_k_dense_replace", "n_groups"), 1)
    | dict.fromkeys(("mamba_n_groups", "mamba_ngroups"), 1)
    | dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 32)
    | dict.fromkeys(("mamba_n_heads", "laurel_rank", "rotary_dim"), 8)
    | dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY)
    | {"conv_kernel": 4, "multi_query": False, "rotary_pct": 0.5, "hidden_size_per_layer_input": 16}
    | {"num_kv_shared_layers": 0, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
)
_VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
    "vision_use_head": False,
}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_SCALED = {"llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 128}
_ZAMBA = {
    "num_hidden_layers": 4,
    "layers_block_type": ["mamba", "hybrid"] * 2,
    "attention_hidden_size": 128,
    "attention_head_dim": 32,
}
# What some types need besides.
_OWN: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "blt": {"encoder_hash_byte_group_vocab": VOCABULARY, "encoder_hash_byte_group_size": [3, 4]},
    "cohere_compass_text": {
        "rope_parameters": dict.fromkeys(("full_attention", "sliding_attention"), _ROPE),
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "dots3_note_text": {"per_layer_config": {}, "shared_experts_intermediate_size": 64, "head_dim": 32},
    "esmc": {"num_key_value_heads": 4},
    "funnel": {"block_sizes": [2], "block_repeats": [1], "d_head": 16, "d_inner": 128},
    "gemma3": {"vision_config": _VISION, "mm_tokens_per_image": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
    },
    "layoutlmv3": {"coordinate_size": 12, "shape_size": 8, "visual_embed": False},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "lilt": {"channel_shrink_ratio": 4, "hidden_size": 96},
    "luke": {"entity_vocab_size": VOCABULARY, "entity_emb_size": 64},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "mistral4": {"qk_head_dim": 32, "head_dim": 16, "rope_parameters": _ROPE | _SCALED},
    "perceiver": {
        "num_latents": 8,
        "d_latents": 64,
        "num_self_attends_per_block": 1,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
    },
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 16,
        "indexer_compress_ratio": 4,
    },
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "reformer": {"axial_pos_embds": False, "is_decoder": True},
    "roc_bert": {"pronunciation_embed_dim": 64, "shape_embed_dim": 64, "shape_vocab_size": VOCABULARY},
    "t5": {"decoder_start_token_id": 0},
    "xlstm": {"qk_dim_factor": 0.5},
    "xmod": {"default_language": "en_XX"},
    "zamba": _ZAMBA,
    "zamba2": _ZAMBA | {"n_mamba_heads": 8},
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}
# Whose other parts are too large as they come.
_SHRUNK = {"blt", "git", "got_ocr2", "modernvbert", "moss_transcribe_diarize", "phi4_multimodal"} | {
    "qwen3_5",
    "t5gemma",
    "ultravbert",
}


def texts(n: int, *, shortest: int, longest: int, seed: int) -> list[str]:
    """Random words, ``shortest`` to ``longest`` of them a text."""
    drawn = random.Random(seed)
    lengths = [drawn.randint(shortest, longest) for _ in range(n)]
    return [" ".join(drawn.choice(_WORDS) for _ in range(length)) for length in lengths]


def types(kind: Kind) -> list[str]:
    """Every model type that transformers has such a head for."""
    from transformers.models.auto import modeling_auto

    mapping = {
        "causal": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "head": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    }
    return sorted(mapping[kind])


def write_tokenizer(folder: Path, kind: Kind) -> None:
    """Write a byte-level tokenizer; one for heads closes a text with tokens of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(400, shortest=4, longest=18, seed=99), trainer)
    if kind == "head":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)


def configuration(model_type: str, **given: Any) -> Any:
    """The type's configuration at about a million parameters."""
    from transformers import PretrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = CONFIG_MAPPING[model_type]
    default = kind()
    known = default.to_dict() | dict.fromkeys(getattr(kind, "attribute_map", None) or {})
    chosen: dict[str, Any] = {name: value for name, value in _SIZES.items() if name in known}
    if {"qk_rope_head_dim", "kv_lora_rank"} & known.keys() and "num_key_value_heads" in chosen:
        chosen["num_key_value_heads"] = 4
    if isinstance(known.get("layer_types"), list):
        kinds = list(dict.fromkeys(known["layer_types"]))
        n_layers = max(2, len(kinds))
        chosen["layer_types"] = (kinds * 2)[:n_layers]
        chosen |= dict.fromkeys({"num_hidden_layers", "n_layer", "num_layers"} & chosen.keys(), n_layers)
    parts = known if model_type in _SHRUNK else ("text_config", "decoder")
    for name in parts:
        part = getattr(default, name, None)
        if isinstance(part, PretrainedConfig) and part.model_type in CONFIG_MAPPING:
            chosen[name] = configuration(part.model_type).to_dict()
    return kind(**(chosen | _OWN.get(model_type, {}) | given))


def _asked(model_type: str, kind: Kind) -> dict[str, Any]:
    """What a configuration must say of how the model is asked: BERT is causal where it is a decoder."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if kind == "head":
        return {"num_labels": N_CLASSES}
    known = CONFIG_MAPPING[model_type]().to_dict()
    return {} if known.get("is_encoder_decoder") or "is_decoder" not in known else {"is_decoder": True}


def build(model_type: str, kind: Kind, folder: Path, **given: Any) -> Path:
    """Write a tiny model with a tokenizer.

    Raises
    ------
    Exception
        Whatever transformers raises over a type that these sizes do not suit.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    auto = AutoModelForCausalLM if kind == "causal" else AutoModelForSequenceClassification
    config = configuration(model_type, **(_asked(model_type, kind) | given))
    with torch.device("meta"):
        n_parameters = sum(p.numel() for p in auto.from_config(config).parameters())
    if n_parameters > LARGEST:
        raise ValueError(f"{n_parameters / 1e6:.0f} million parameters at these sizes")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = auto.from_config(config).float().eval()
    spread(model)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    write_tokenizer(folder, kind)
    return folder


def spread(model: Any) -> None:
    """Draw weights that let differences show: the usual 0.02 gives layers that hardly do anything."""
    import torch

    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.is_floating_point():
                continue
            noise = torch.randn(parameter.shape, generator=drawn)
            if parameter.ndim < 2:
                parameter.add_(0.05 * noise)
            else:
                embeds = "emb" in name or "wte" in name
                parameter.copy_(noise * (0.5 if embeds else 1.6 / parameter.shape[-1] ** 0.5))
