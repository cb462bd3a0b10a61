"""Checkpoints that others quantized: a folder or hub id whose configuration says how.

The model stays the one that the checkpoint was made from: it is the reference, and its tokenizer is
used, since a quantized checkpoint's own can move the scores by more than quantization does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from calbench.errors import InputError, QuantizationError
from calbench.models import ModelSource, quantization_settings
from calbench.quantizers._availability import require
from calbench.quantizers._bnb import FourBit, Int8
from calbench.quantizers._catalogue import quantizer
from calbench.quantizers._protocol import Quantizer, WeightFormat
from calbench.quantizers._vllm_folders import AwqFolder, CompressedTensors, FineGrainedFp8, TorchaoFolder

if TYPE_CHECKING:
    import torch
    from torch import nn

    from calbench.quantizers._samples import QuantizationSamples

METHODS = ("bitsandbytes", "gptq", "awq", "compressed-tensors", "fp8", "torchao")
# What is known of the others, for those who have such a folder.
_ELSEWHERE = {
    "mxfp4": "its experts want a GPU's kernels: take the bfloat16 weights and the quantizer mxfp4",
    "modelopt": "TensorRT-LLM reads it: take the weights that it was made from and fp8-e4m3 or nvfp4",
    "quanto": "optimum-quanto reads it: take the weights that it was made from and int8",
    "auto-round": "its AutoGPTQ and AutoAWQ exports are read here: export it as one of these",
}


class _Reader(Protocol):
    """Reads one kind of checkpoint."""

    @property
    def method(self) -> Quantizer:
        """The quantizer that knows these layers."""
        ...

    def layers(self) -> tuple[str, ...]:
        """Names of the layers that are quantized in the checkpoint."""
        ...

    def load(self, source: ModelSource) -> nn.Module:
        """Return the checkpoint's model, with the architecture of the source."""
        ...

    def describe(self, model: nn.Module) -> dict[str, WeightFormat]:
        """Formats by layer."""
        ...


@dataclass(frozen=True)
class Existing:
    """A checkpoint that was quantized elsewhere.

    Parameters
    ----------
    id
        Canonical.
    folder
        A local folder, or a hub id.
    revision
        Branch, tag or commit on the hub; empty for a folder.
    """

    id: str
    folder: str
    revision: str = ""

    n_samples = 0
    stochastic = False

    def __post_init__(self) -> None:
        if not self.folder:
            raise InputError(f"{self.id!r} does not say which checkpoint; write checkpoint[folder=PATH]")

    @cached_property
    def _checkpoint(self) -> ModelSource:
        # Which kind of model it is does not matter before it is loaded.
        return ModelSource(self.id, "causal-lm", self.folder, revision=self.revision or None).fetch()

    @cached_property
    def _reader(self) -> _Reader:
        settings = quantization_settings(self._checkpoint.folder)
        if settings is None:
            raise InputError(
                f"{self._checkpoint.folder} is not quantized: its config.json has no quantization_config;"
                " register it as a model"
            )
        method = settings.get("quant_method")
        if method == "gptq":
            from calbench.quantizers.gptq._checkpoint_format import GptqFolder

            return GptqFolder(self.id, self._checkpoint.folder)
        if method == "bitsandbytes":
            return _BitsandbytesFolder(self.id, self._checkpoint, settings)
        readers: dict[Any, type[CompressedTensors | FineGrainedFp8 | AwqFolder | TorchaoFolder]] = {
            "compressed-tensors": CompressedTensors,
            "fp8": FineGrainedFp8,
            "awq": AwqFolder,
            "torchao": TorchaoFolder,
        }
        if method in readers:
            return readers[method](self.id, (), (), "none", self._checkpoint.folder, settings)
        what = f"; {_ELSEWHERE[method]}" if method in _ELSEWHERE else ""
        raise InputError(
            f"{self._checkpoint.folder} was quantized with {method!r}, which cannot be read here;"
            f" calbench reads {', '.join(METHODS)}{what}"
        )

    @property
    def files_hash(self) -> str:
        """SHA-256 over the checkpoint's weights and configuration."""
        return self._checkpoint.weights_hash

    @property
    def epsilon(self) -> float:
        """That of the format."""
        return self._reader.method.epsilon

    @property
    def batch_dependent(self) -> bool:
        """That of the format, with the checkpoint's threshold."""
        return self._reader.method.batch_dependent

    @property
    def packages(self) -> tuple[str, ...]:
        """Those of the format."""
        return self._reader.method.packages

    @property
    def kernel(self) -> str:
        """That of the format."""
        return self._reader.method.kernel

    def check_available(self) -> None:
        """Need what the format needs."""
        require(self.id, ("torch", "transformers"), extra="torch")
        self._reader.method.check_available()

    def targets(self, model: nn.Module) -> tuple[str, ...]:
        """Return the layers that the checkpoint quantized; the model must have them all."""
        names = self._reader.layers()
        known = dict(model.named_modules())
        strange = [name for name in names if name not in known]
        if not names:
            raise QuantizationError(
                f"{self.folder} holds no quantized layers, though its config.json says that it was quantized;"
                " save or download it again, or take quantization_config out and name it as a model"
            )
        if strange:
            raise QuantizationError(
                f"{self.folder} does not fit {type(model).__name__}: of the {len(names)} layers that it"
                f" quantizes {len(strange)} are not in the model ({', '.join(strange[:3])}); was it made from"
                " this model?"
            )
        return tuple(name for name in known if name in set(names))

    def build(self, source: ModelSource, *, samples: QuantizationSamples | None, seed: int) -> nn.Module:
        """Load the checkpoint."""
        del samples, seed
        self.check_available()
        self.targets(source.skeleton())
        return self._reader.load(source).eval()

    def describe(self, model: nn.Module) -> dict[str, WeightFormat]:
        """Formats by layer."""
        return self._reader.describe(model)

    def dequantize(self, module: nn.Module) -> torch.Tensor:
        """Decode, as the format does."""
        return self._reader.method.dequantize(module)

    def weight_tensors(self, module: nn.Module) -> Mapping[str, torch.Tensor]:
        """All tensors of a weight."""
        return self._reader.method.weight_tensors(module)


@dataclass(frozen=True)
class _BitsandbytesFolder:
    """What transformers saves of a model that was loaded with a ``BitsAndBytesConfig``."""

    id: str
    checkpoint: ModelSource
    settings: Mapping[str, Any]

    @property
    def method(self) -> Int8 | FourBit:
        """The quantizer with the checkpoint's settings."""
        if self.settings.get("load_in_8bit"):
            return Int8(self.id, (), (), threshold=float(self.settings.get("llm_int8_threshold", 6.0)))
        return FourBit(
            self.id,
            (),
            (),
            self.settings.get("bnb_4bit_quant_type", "fp4"),
            self.settings.get("bnb_4bit_compute_dtype", "float32"),
            bool(self.settings.get("bnb_4bit_use_double_quant")),
        )

    def layers(self) -> tuple[str, ...]:
        """Layers that have a scale in the files."""
        from safetensors import safe_open

        keys: list[str] = []
        for file in sorted(self.checkpoint.folder.glob("*.safetensors")):
            with safe_open(file, "pt") as tensors:
                keys.extend(tensors.keys())
        scales = ".SCB", ".weight.absmax"
        return tuple(key.removesuffix(s) for key in keys for s in scales if key.endswith(s))

    def load(self, source: ModelSource) -> nn.Module:
        """Load by transformers, and switch the layers' in-place repacking off."""
        checkpoint = ModelSource(self.id, source.architecture, self.checkpoint.location)
        model: nn.Module = checkpoint.load()
        if isinstance(method := self.method, FourBit):
            method.settle(model)
        return model

    def describe(self, model: nn.Module) -> dict[str, WeightFormat]:
        """Formats by layer."""
        return self.method.describe(model)


@quantizer("checkpoint")
def checkpoint(id: str, *, folder: str = "", revision: str = "") -> Existing:  # noqa: A002 (the argument is an id)
    """Take a checkpoint that was quantized elsewhere, and compare it with the model it was made from."""
    return Existing(id, folder, revision)
