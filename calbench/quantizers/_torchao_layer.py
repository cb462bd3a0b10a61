"""Linear layers that keep the tensors of a folder that torchao wrote; torchao decodes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from calbench.errors import InputError
from calbench.quantizers._availability import backend
from calbench.quantizers._layers import RoundingLinear
from calbench.quantizers._protocol import WeightFormat

_PREFIX = "_weight_"
# Tensors whose codes lie one to a byte, which torchao decodes without a GPU's kernels.
_BITS = {"Int8Tensor": 8, "Float8Tensor": 8, "IntxUnpackedToInt8Tensor": 0}


def described_layers(folder: Path) -> dict[str, dict[str, Any]]:
    """Read what torchao says of each quantized layer: the kind of its tensor and how it was made.

    Raises
    ------
    InputError
        A kind cannot be decoded here.
    """
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            said = tensors.metadata() or {}
        for name in json.loads(said.get("tensor_names", "[]")):
            description = json.loads(said.get(name, '{"_type": "Tensor"}'))
            if description["_type"] != "Tensor" and name.endswith(".weight"):
                found[name.removesuffix(".weight")] = description
    strange = {description["_type"] for description in found.values()} - set(_BITS)
    if strange or not found:
        raise InputError(
            f"{folder} holds torchao's {', '.join(sorted(strange)) or 'weights in a layout of old'}, which"
            f" cannot be decoded here; {', '.join(_BITS)} can: take the weights that it was made from, and"
            " int8, fp8-e4m3 or awq-int4"
        )
    return found


def half_step(description: Mapping[str, Any]) -> float:
    """Return the largest rounding error of a weight, as a share of its group's largest magnitude."""
    if description["_type"] == "Float8Tensor":
        return 2.0**-4
    return float(1 / (2 ** _bits(description) - 1))


class TorchaoLinear(RoundingLinear):
    """A layer of torchao, decoded and its inputs rounded by that package.

    Parameters
    ----------
    layer
        The float layer whose shape and bias this one has.
    tensors
        As stored, without the bias.
    description
        What the file says of the weight.
    """

    def __init__(
        self, layer: Any, tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any]
    ) -> None:
        # Under the names that they have in the file, which are torchao's to read.
        stored = {name: tensor for name, tensor in tensors.items() if name.startswith(_PREFIX)}
        data = description["_data"]
        kind = data.get("act_quant_kwargs") or data.get("activation_quantization")
        size = int(data["block_size"][-1])
        bits = _bits(description)
        format_ = WeightFormat(
            f"torchao-{description['_type'].removesuffix('Tensor').lower()}-{bits}",
            bits,
            0 if size == layer.in_features else size,
        )
        self._description = dict(description)
        super().__init__(layer, format_, stored, rounds_inputs=bool(kind))

    def _tensor(self) -> Any:
        library = backend("checkpoint", "torchao.prototype.safetensors.safetensors_support", extra="torchao")
        said = {"x.weight": json.dumps(self._description), "tensor_names": json.dumps(["x.weight"])}
        stored = {f"x.{name}": tensor for name, tensor in self.named_buffers(recurse=False)}
        return library.unflatten_tensor_state_dict(stored, said)[0]["x.weight"]

    def decode(self) -> torch.Tensor:
        """Let the package decode."""
        weight: torch.Tensor = self._tensor().dequantize()
        return weight.float()

    def round_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Let the package round, each token by itself."""
        weight = self._tensor()
        if given := getattr(weight, "act_quant_kwargs", None):
            library = backend(
                "checkpoint", "torchao.quantization.quantize_.common.quantize_tensor_kwargs", extra="torchao"
            )
            rounded = library._choose_quant_func_and_quantize_tensor(x.float(), given).dequantize()
        else:
            library = backend(
                "checkpoint",
                "torchao.quantization.quantize_.workflows.intx.intx_unpacked_to_int8_tensor",
                extra="torchao",
            )
            rounded = library._apply_int8_act_asym_per_token_quant_dequant(x.float())
        return torch.as_tensor(rounded).to(x.dtype)


def _bits(description: Mapping[str, Any]) -> int:
    return _BITS[description["_type"]] or int(
        description["_data"]["target_dtype"]["_data"].removeprefix("int")
    )
