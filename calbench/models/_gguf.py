"""GGUF files: their header checked before anything else reads them, and their weights decoded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from calbench.errors import BackendUnavailableError, InputError
from calbench.models._quiet import quiet

_MAGIC = b"GGUF"


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of itself.

    Attributes
    ----------
    architecture
        llama.cpp's name of it, such as ``"llama"``.
    types
        The types of its weights, the commonest first, such as ``"Q4_K, Q6_K, F32"``.
    context_length
        In tokens; None if it does not say.
    n_bytes
        Of all tensors.
    """

    architecture: str
    types: str
    context_length: int | None
    n_bytes: int


def read_header(path: Path) -> GgufHeader:
    """Read and check a GGUF file's header; native code that trusts it would crash on a damaged one.

    Raises
    ------
    InputError
        It is no GGUF file, is cut off, one of several parts, no model, or lacks a tokenizer.
    BackendUnavailableError
        The package gguf is not installed.
    """
    if find_spec("gguf") is None:
        raise BackendUnavailableError("GGUF files need the package gguf; pip install 'calbench[embedded]'")
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise InputError(f"{path} is no GGUF file: it does not begin with {_MAGIC.decode()}")
    # Three seconds for the vocabulary of 49,152 tokens, and several readers of one file ask for it.
    stat = path.stat()
    return _checked_header(path, stat.st_mtime_ns, stat.st_size)


@lru_cache
def _checked_header(path: Path, _mtime: int, size: int) -> GgufHeader:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items() if "tokens" not in name}
    except (ValueError, KeyError, IndexError, OverflowError, TypeError, MemoryError) as error:
        raise InputError(f"{path} is cut off or damaged: {error}; download or convert it again") from None
    if (kind := fields.get("general.type", "model")) != "model":
        raise InputError(f"{path} holds no model, but its {kind}; name the GGUF file of the model itself")
    if (parts := fields.get("split.count", 1)) > 1:
        raise InputError(
            f"{path} is one of {parts} parts; put them together with llama.cpp's"
            " 'llama-gguf-split --merge FIRST_PART whole.gguf', and name that file"
        )
    ends = [int(tensor.data_offset) + int(tensor.n_bytes) for tensor in reader.tensors]
    if not ends:
        raise InputError(f"{path} holds no weights; name the GGUF file of the model itself")
    if max(ends) > size:
        raise InputError(
            f"{path} is cut off: it has {size} bytes and its tensors end at {max(ends)};"
            " download or convert it again"
        )
    if "tokenizer.ggml.tokens" not in reader.fields:
        raise InputError(f"{path} has no tokenizer in it; convert the model again, with its tokenizer")
    architecture = str(fields.get("general.architecture", ""))
    types = Counter(tensor.tensor_type.name for tensor in reader.tensors)
    return GgufHeader(
        architecture,
        ", ".join(name for name, _ in types.most_common()),
        fields.get(f"{architecture}.context_length"),
        sum(int(tensor.n_bytes) for tensor in reader.tensors),
    )


def decode(path: Path, folder: Path) -> None:
    """Write a GGUF file's model as a float32 folder in the hub's layout, weights decoded exactly.

    Raises
    ------
    InputError
        transformers does not know how to read its architecture, or it lacks weights.
    """
    import torch

    with quiet():
        import transformers

        where: dict[str, Any] = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
            loaded, info = transformers.AutoModelForCausalLM.from_pretrained(
                **where, dtype=torch.float32, output_loading_info=True
            )
        # What transformers raises of architectures and tokenizers that it does not know.
        except (ValueError, KeyError, NotImplementedError) as error:
            raise InputError(
                f"{path}: its architecture cannot be decoded by transformers ({error}); name the model that"
                " it was made from, or answer from it with [runtime=llama.cpp]"
            ) from error
        # transformers would draw these at random.
        if absent := sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}):
            raise InputError(
                f"{path} has no weights for {', '.join(absent[:4])} ({len(absent)} in all), so it is no whole"
                " model; download or convert it again"
            )
        # A model loaded from GGUF refuses to be saved: rebuild it as a plain one with the same weights.
        config = loaded.config
        del config.quantization_config
        config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        plain = type(loaded)(config)
        plain.load_state_dict(loaded.state_dict())
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
