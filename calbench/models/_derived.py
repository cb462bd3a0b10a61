"""Model folders that are made once from something else: a GGUF file, or an adapter and its base."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calbench.cache import cache_dir, lock, publishing, sha256_of
from calbench.errors import BackendUnavailableError, InputError
from calbench.models._gguf import decode, read_header
from calbench.models._quiet import quiet

if TYPE_CHECKING:
    import torch

    from calbench.models._sources import ModelSource

_WEIGHTS = "adapter_model.safetensors"
_HEADS = ("classifier.weight", "score.weight", "classifier.out_proj.weight")


def decoded(path: Path) -> Path:
    """Return a folder with a GGUF file's weights in float32; it is named after the file's content."""
    read_header(path)
    folder = _folder(f"{path.stem}-{sha256_of(path)[:16]}")
    with lock(folder):
        if not folder.is_dir():
            with publishing(folder) as temporary:
                decode(path, temporary)
    return folder


def merged(source: ModelSource, adapter: Path) -> Path:
    """Return a folder with a peft adapter merged into its base's float32 weights.

    Raises
    ------
    InputError
        The adapter has no safetensors weights, names no base, or does not fit it.
    """
    weights = adapter / _WEIGHTS
    if not weights.is_file():
        raise InputError(f"model {source.id!r}: {adapter} holds no {_WEIGHTS}; save the adapter with it")
    if source.base is None:
        raise InputError(
            f"model {source.id!r}: {adapter} holds a peft adapter; name the folder where a model is named,"
            " so that its base is found, or merge it into its base and save that"
        )
    base = source.base.resolve()
    name = f"{adapter.name}-{sha256_of(weights)[:12]}-{base.weights_hash[:12]}"
    folder = _folder(name)
    with lock(folder):
        if not folder.is_dir():
            with publishing(folder) as temporary, quiet(), warnings.catch_warnings():
                _merge(base, adapter, temporary)
    return folder


def _merge(base: ModelSource, adapter: Path, folder: Path) -> None:
    try:
        from peft import PeftModel
    except ImportError:
        raise BackendUnavailableError("adapters need peft; pip install 'calbench[embedded]'") from None
    module = _with_head(base, adapter)
    # It warns of weights that are tied, which are untied below.
    warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings")
    try:
        tuned = PeftModel.from_pretrained(module, str(adapter)).eval()
        _check_has_weights(tuned)
        unmerged = _answer(tuned)
        _untie(tuned)
        tuned.merge_and_unload().save_pretrained(folder)
    except (ValueError, RuntimeError, KeyError) as error:
        raise InputError(
            f"the adapter in {adapter} does not fit its base {base.location}: {error}"
        ) from error
    kind = type(module)
    del module, tuned
    moved = float((_answer(kind.from_pretrained(folder).eval()) - unmerged).abs().max())
    if not moved <= 1e-3 * max(1.0, float(unmerged.abs().max())):
        raise InputError(
            f"the adapter in {adapter} answers otherwise once it is merged into {base.location} (logits move"
            f" by {moved:.3g}); merge it where it was trained, and name that folder"
        )
    for file in base.folder.iterdir():
        own = file.name.startswith(("config.", "model", "pytorch_model", "adapter_"))
        if file.is_file() and not own and not (folder / file.name).exists():
            shutil.copy2(file, folder / file.name)


def _check_has_weights(tuned: Any) -> None:
    if not hasattr(tuned.base_model, "merge_and_unload"):
        kind = tuned.active_peft_config.peft_type.value
        raise ValueError(f"{kind} learns no weights that could be merged; train LoRA, or another such kind")


def _answer(module: Any) -> torch.Tensor:
    """Ask a model a few tokens, of which the last one ends a text."""
    import torch

    config = module.config.get_text_config()
    end = config.eos_token_id if isinstance(config.eos_token_id, int) else 1
    with torch.inference_mode():
        ids = torch.tensor([[*(n % config.vocab_size for n in range(3, 11)), end]], device=module.device)
        logits: torch.Tensor = module(input_ids=ids).logits
    return logits.float().cpu()


def _untie(tuned: Any) -> None:
    """Give the head weights of its own where an adapter changes it, or the embeddings that share them."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from torch import nn

    body, head = tuned.get_input_embeddings(), tuned.get_output_embeddings()
    if head is None or head.weight is not body.weight:
        return
    if isinstance(body, BaseTunerLayer) or isinstance(head, BaseTunerLayer):
        plain = head.get_base_layer() if isinstance(head, BaseTunerLayer) else head
        plain.weight = nn.Parameter(plain.weight.detach().clone())
        tuned.config.get_text_config().tie_word_embeddings = tuned.config.tie_word_embeddings = False


def head_size(adapter: Path) -> int | None:
    """Return how many outputs the classification head has that an adapter brings; None if it brings none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(adapter / _WEIGHTS), "np") as tensors:
            heads = [key for key in tensors.keys() if key.endswith(_HEADS)]  # noqa: SIM118 (not a dict)
            return int(tensors.get_slice(heads[0]).get_shape()[0]) if heads else None
    except (OSError, SafetensorError) as error:
        raise InputError(f"{adapter / _WEIGHTS} cannot be read ({error}); save the adapter again") from None


def _with_head(base: ModelSource, adapter: Path) -> Any:
    """Load the base; a head that the adapter brings is made in its size and then comes whole from it."""
    n_outputs = head_size(adapter) if base.architecture == "sequence-classification" else None
    if n_outputs is None:
        return base.load()
    import torch
    import transformers

    return transformers.AutoModelForSequenceClassification.from_pretrained(
        base.location,
        num_labels=n_outputs,
        ignore_mismatched_sizes=True,
        dtype=torch.float32,
        local_files_only=True,
    ).eval()


def _folder(name: str) -> Path:
    return cache_dir() / "models" / name
