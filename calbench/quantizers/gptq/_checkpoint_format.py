"""Whole GPTQ checkpoints, as AutoGPTQ, gptqmodel and transformers save them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from calbench.errors import QuantizationError
from calbench.models import ModelSource
from calbench.quantizers._layers import put
from calbench.quantizers._protocol import WeightFormat
from calbench.quantizers.gptq import Gptq
from calbench.quantizers.gptq._gptqmodel import PARTS, gptq_settings, read_gptq_checkpoint
from calbench.quantizers.gptq._packed import PackedLinear


@dataclass(frozen=True)
class GptqFolder:
    """A folder in GPTQ's format, read into the packed layers of this package.

    Parameters
    ----------
    id
        The quantizer's, for messages.
    folder
        With ``*.safetensors``, and ``config.json`` or ``quantize_config.json``.
    """

    id: str
    folder: Path

    @cached_property
    def _settings(self) -> dict[str, Any]:
        return gptq_settings(self.folder)

    @cached_property
    def _layers(self) -> dict[str, dict[str, torch.Tensor]]:
        return read_gptq_checkpoint(self.folder)

    @property
    def method(self) -> Gptq:
        """The quantizer with the checkpoint's settings."""
        settings = self._settings
        return Gptq(
            self.id,
            bits=settings["bits"],
            group_size=int(settings.get("group_size", -1)),
            sym=bool(settings.get("sym", True)),
            act_order=bool(settings.get("desc_act", False)),
        )

    def layers(self) -> tuple[str, ...]:
        """Layers with packed codes."""
        return tuple(self._layers)

    def load(self, source: ModelSource) -> nn.Module:
        """Load the source, and take every tensor from the checkpoint: codes, and what is not quantized."""
        model: nn.Module = source.load()
        plain = self._plain_tensors()
        for name, tensors in self._layers.items():
            old: Any = model.get_submodule(name)
            shape = len(tensors["g_idx"]), tensors["scales"].shape[1]
            if shape != (old.in_features, old.out_features):
                raise QuantizationError(
                    f"{self.folder}: {name} is {shape[1]} x {shape[0]}, and {old.out_features} x"
                    f" {old.in_features} in {source.id}; was the checkpoint made from this model?"
                )
            bias = plain.pop(f"{name}.bias", None)
            if bias is None and old.bias is not None:
                raise QuantizationError(f"{self.folder} has no bias for {name}, which {source.id} has")
            packed = PackedLinear(
                old.in_features,
                old.out_features,
                bits=self._settings["bits"],
                tensors=tensors,
                bias=None if bias is None else nn.Parameter(bias),
            )
            put(model, name, packed.eval())
        self._fill(model, plain, source)
        return model

    def describe(self, model: nn.Module) -> dict[str, WeightFormat]:
        """Formats by layer; with ``desc_act`` a group's columns lie apart."""
        format_ = self.method.format
        return {
            name: WeightFormat(
                format_.name, format_.bits, format_.group_size, column_order=_order(layer.g_idx)
            )
            for name, layer in model.named_modules()
            if isinstance(layer, PackedLinear)
        }

    def _plain_tensors(self) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        for file in sorted(self.folder.glob("*.safetensors")):
            with safe_open(file, "pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118 (no mapping)
                    layer, _, part = key.rpartition(".")
                    if part not in PARTS or layer not in self._layers:
                        found[key] = tensors.get_tensor(key).float()
        return found

    def _fill(self, model: nn.Module, plain: Mapping[str, torch.Tensor], source: ModelSource) -> None:
        """Overwrite what is not quantized; nothing may be left over or left out."""
        own = dict(model.named_parameters())  # a tied weight appears once
        every = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
        strange = [key for key in plain if key not in every or plain[key].shape != every[key].shape]
        done = {id(every[key]) for key in plain if key in every}
        absent = [
            key
            for key, parameter in own.items()
            if id(parameter) not in done and key.rpartition(".")[0] not in self._layers
        ]
        if strange or absent:
            listed = ", ".join([*strange[:3], *absent[:3]])
            raise QuantizationError(
                f"{self.folder} does not fit {source.id}: {len(strange)} of its tensors have no place in the"
                f" model or another shape, and {len(absent)} of the model's are missing ({listed})"
            )
        with torch.no_grad():
            for key, tensor in plain.items():
                every[key].copy_(tensor)


def _order(g_idx: torch.Tensor) -> tuple[int, ...] | None:
    if bool((g_idx[1:] >= g_idx[:-1]).all()):
        return None
    return tuple(torch.argsort(g_idx, stable=True).tolist())
