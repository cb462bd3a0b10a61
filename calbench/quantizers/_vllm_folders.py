"""Checkpoints as vLLM serves them: compressed-tensors, fine-grained FP8, AWQ, torchao.

Each quantized layer of the source is replaced by one that keeps the folder's tensors as they are
stored and decodes them: compressed-tensors and torchao by the packages of those names, the others as their
formats say.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calbench.errors import InputError
from calbench.quantizers._availability import backend, require
from calbench.quantizers._swapped_layers import SwapsLayers

if TYPE_CHECKING:
    import torch
    from torch import nn

    from calbench.models import ModelSource


@dataclass(frozen=True, kw_only=True)
class _StoredLayers(SwapsLayers):
    """Reads a folder: what quantizes the layers, and which they are, in one.

    Parameters
    ----------
    folder
        With ``*.safetensors``.
    settings
        Its ``quantization_config``.
    """

    folder: Path
    settings: Mapping[str, Any]

    @property
    def packages(self) -> tuple[str, ...]:
        """None but torch."""
        return ()

    @property
    def method(self) -> _StoredLayers:
        """Itself."""
        return self

    @property
    @abstractmethod
    def marker(self) -> str:
        """Name of a tensor that every quantized layer has, and no other."""

    @cached_property
    def _tensors(self) -> dict[str, dict[str, torch.Tensor]]:
        from calbench.quantizers._folder_tensors import tensors_of_layers

        return tensors_of_layers(self.folder, self.marker)

    def layers(self) -> tuple[str, ...]:
        """Layers whose tensors are quantized."""
        return tuple(self._tensors)

    def load(self, source: ModelSource) -> nn.Module:
        """Load the source, and take every tensor from the folder."""
        from torch.nn import Parameter

        from calbench.quantizers._folder_tensors import fill_the_rest
        from calbench.quantizers._layers import put

        model: nn.Module = source.load()
        for name, how in self._ways(source).items():
            layer: Any = model.get_submodule(name)
            tensors = dict(self._tensors[name])
            bias = tensors.pop("bias", None)
            if (bias is None) != (layer.bias is None):
                raise InputError(
                    f"{self.folder}: {name} has {'no' if bias is None else 'a'} bias, unlike {source.id}'s"
                )
            if bias is not None:
                layer.bias = Parameter(bias.float())
            put(model, name, self.swapped(layer, (tensors, how)))
        fill_the_rest(model, self.folder, source, self._tensors)
        return model

    def _ways(self, source: ModelSource) -> Mapping[str, Any]:
        del source
        return dict.fromkeys(self._tensors)


@dataclass(frozen=True)
class CompressedTensors(_StoredLayers):
    """What llm-compressor and compressed-tensors write: ``W4A16``, ``W8A8``, ``FP8`` and more."""

    @property
    def marker(self) -> str:
        """The scales, in every format."""
        return "weight_scale"

    @property
    def packages(self) -> tuple[str, ...]:
        """The package of the format."""
        return ("compressed-tensors",)

    @property
    def epsilon(self) -> float:
        """Half a step of the coarsest group of layers."""
        return max(_half_step(group["weights"]) for group in self.settings["config_groups"].values())

    @property
    def kernel(self) -> str:
        """Torch's, with inputs rounded where the folder says so."""
        groups = self.settings["config_groups"].values()
        inputs = "inputs rounded, " if any(group.get("input_activations") for group in groups) else ""
        return f"{inputs}decoded once by compressed-tensors to float32, torch linear"

    def check_available(self) -> None:
        """Need compressed-tensors."""
        super().check_available()
        require(self.id, ("compressed_tensors",), extra="compressed-tensors")

    def _ways(self, source: ModelSource) -> Mapping[str, Any]:
        library = backend(self.id, "compressed_tensors.quantization", extra="compressed-tensors")
        skeleton = source.skeleton()
        library.apply_quantization_config(
            skeleton, library.QuantizationConfig.model_validate(dict(self.settings))
        )
        return {name: skeleton.get_submodule(name).quantization_scheme for name in self._tensors}

    def swapped(self, layer: Any, how: Any) -> nn.Module:
        """Return the layer with the folder's tensors."""
        from calbench.quantizers._stored_layers import CompressedLinear

        tensors, scheme = how
        kind = scheme.format or self.settings["format"]
        return CompressedLinear(layer, tensors, scheme, getattr(kind, "value", kind))


@dataclass(frozen=True)
class FineGrainedFp8(_StoredLayers):
    """E4M3 weights with a scale for each square of 128 by 128, as DeepSeek and Qwen publish them."""

    @property
    def marker(self) -> str:
        """The squares' scales."""
        return "weight_scale_inv"

    @property
    def epsilon(self) -> float:
        """Unit roundoff of E4M3."""
        return 2.0**-4

    def swapped(self, layer: Any, how: Any) -> nn.Module:
        """Return the layer with the folder's tensors."""
        from calbench.quantizers._stored_layers import SquareFp8Linear

        return SquareFp8Linear(layer, how[0], tuple(self.settings.get("weight_block_size") or (128, 128)))


@dataclass(frozen=True)
class AwqFolder(_StoredLayers):
    """4-bit codes as AutoAWQ's GEMM kernels read them."""

    @property
    def marker(self) -> str:
        """Packed codes."""
        return "qweight"

    @property
    def epsilon(self) -> float:
        """Half a step of 15."""
        return 1 / 15

    def check_available(self) -> None:
        """Need torch, and the layout that is read here."""
        super().check_available()
        version, bits = self.settings.get("version", "gemm"), self.settings.get("bits", 4)
        if str(version).lower() != "gemm" or bits != 4:
            raise InputError(
                f"{self.folder} is AWQ's {bits}-bit {version!r} layout; 4-bit 'gemm', which most are, is read"
                " here: convert it with AutoAWQ or gptqmodel"
            )

    def swapped(self, layer: Any, how: Any) -> nn.Module:
        """Return the layer with the folder's tensors."""
        from calbench.quantizers._stored_layers import AwqGemmLinear

        return AwqGemmLinear(layer, how[0])


@dataclass(frozen=True)
class TorchaoFolder(_StoredLayers):
    """What transformers saves of a model that torchao quantized."""

    @property
    def marker(self) -> str:
        """Codes, as transformers flattens a tensor of torchao's."""
        return "_weight_qdata"

    @property
    def packages(self) -> tuple[str, ...]:
        """The package of the format."""
        return ("torchao",)

    @cached_property
    def _described(self) -> Mapping[str, Mapping[str, Any]]:
        from calbench.quantizers._torchao_layer import described_layers

        return described_layers(self.folder)

    @property
    def epsilon(self) -> float:
        """Half a step of the coarsest layer."""
        from calbench.quantizers._torchao_layer import half_step

        return max(map(half_step, self._described.values()))

    @property
    def kernel(self) -> str:
        """Torch's, with inputs rounded where the folder says so."""
        return "decoded once by torchao to float32, inputs rounded where the folder says so, torch linear"

    def check_available(self) -> None:
        """Need torchao."""
        super().check_available()
        require(self.id, ("torchao",), extra="torchao")

    def _ways(self, source: ModelSource) -> Mapping[str, Any]:
        del source
        return {name: self._described[name] for name in self._tensors}

    def swapped(self, layer: Any, how: Any) -> nn.Module:
        """Return the layer with the folder's tensors."""
        from calbench.quantizers._torchao_layer import TorchaoLinear

        return TorchaoLinear(layer, *how)


def _half_step(weights: Mapping[str, Any]) -> float:
    bits = int(weights["num_bits"])
    if weights["type"] == "float":
        return 2.0**-4 if bits == 8 else 1 / 4
    levels = 2 * (2 ** (bits - 1) - 1) if weights.get("symmetric", True) else 2**bits - 1
    return float(1 / levels)
