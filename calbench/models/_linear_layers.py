"""A model whose every matrix is a linear layer, whatever its architecture keeps them in.

GPT-2 and its kin hold transposed matrices in ``Conv1D``, Falcon writes out what a linear layer computes;
mixtures of experts hold the matrices of all experts in one tensor. Here each becomes an ``nn.Linear`` of
its own, so that one rule says what is quantized, proven and counted. The arithmetic stays the
architecture's: its forward pass finds the layers where it looks for the tensor. What is saved has the
architecture's own names and shapes again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

# Where the layers of a fused tensor lie: ``gate_up_proj`` in ``gate_up_proj_experts``.
_SUFFIX = "_experts"
# Experts whose forward pass cannot be chosen and takes a matrix at a time or all of them by ``bmm``: whether
# those are transposed.
_FIXED = {
    "InklingSharedExperts": False,
    "JetMoeParallelExperts": False,
    "Llama4TextExperts": True,
    "LongcatFlashExperts": False,
    "Step3p7Experts": False,
}


class TransposedLinear(nn.Linear):
    """What a ``Conv1D`` computes; saved as one."""

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:  # noqa: FBT001
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = destination[f"{prefix}weight"].T.contiguous()


def unfold(model: nn.Module) -> nn.Module:
    """Give a model linear layers in place of ``Conv1D``, its like and fused experts, in place."""
    from transformers.pytorch_utils import Conv1D

    for name, module in list(model.named_modules()):
        if isinstance(module, Conv1D):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, _transposed(module))
        elif type(module).__name__ == "FalconLinear":
            module.__class__ = nn.Linear
        elif fused := _fused(module):
            _unfuse(module, fused)
        if isinstance(getattr(module, "dt_proj", None), nn.Linear) and hasattr(module, "config"):
            # Jamba and FalconMamba then call the layer, and do not multiply by its weight themselves.
            module.config._is_quantized = True
    return model


def _transposed(module: Any) -> nn.Linear:
    layer = TransposedLinear(module.nx, module.nf, device="meta")
    layer.weight = nn.Parameter(module.weight.detach().T.contiguous())
    layer.bias = module.bias
    return layer.train(module.training)


def _fused(module: nn.Module) -> dict[str, bool]:
    """Names of the parameters that hold a matrix an expert, and whether those are transposed."""
    # Set by transformers on experts whose forward pass can be chosen; the plain one takes a matrix at a time.
    transposed = getattr(module, "is_transposed", None) if hasattr(module, "has_gate") else None
    transposed = _FIXED.get(type(module).__name__) if transposed is None else transposed
    if transposed is None:
        return {}
    own = module.named_parameters(recurse=False)
    return {name: bool(transposed) for name, p in own if p.ndim == 3 and p.is_floating_point()}


def _unfuse(module: Any, fused: Mapping[str, bool]) -> None:
    if hasattr(module, "config"):
        module.config._experts_implementation = "eager"
    for name, transposed in fused.items():
        whole = module.get_parameter(name).detach()
        delattr(module, name)
        layers = nn.ModuleList(_expert(matrix.T if transposed else matrix) for matrix in whole)
        setattr(module, name + _SUFFIX, layers.train(module.training))
    kind = type(module)
    found = {name: property(_looked_up(name)) for name in fused}
    module.__class__ = type(kind.__name__, (kind,), {**found, "__module__": kind.__module__})
    module.register_state_dict_post_hook(_fusing(dict(fused)))


def _expert(matrix: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(matrix.clone(memory_format=torch.contiguous_format))
    return layer


def _looked_up(name: str) -> Callable[[nn.Module], Experts]:
    def experts(module: nn.Module) -> Experts:
        return Experts(list(module.get_submodule(name + _SUFFIX).children()))

    return experts


def _fusing(fused: Mapping[str, bool]) -> Callable[..., None]:
    def fuse(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        for name, transposed in fused.items():
            n_experts = len(list(module.get_submodule(name + _SUFFIX).children()))
            keys = [f"{prefix}{name}{_SUFFIX}.{index}.weight" for index in range(n_experts)]
            if all(key in state for key in keys):
                matrices = [state.pop(key) for key in keys]
                state[prefix + name] = torch.stack([m.T if transposed else m for m in matrices])

    return fuse


class Experts:
    """What a forward pass sees of the layers in place of their tensor: it may look one up, or ask all."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = layers

    def __getitem__(self, index: Any) -> _Matrix:
        return _Matrix(self._layers[int(index)])

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[_Matrix]:
        return map(_Matrix, self._layers)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the tensor: experts, outputs, inputs."""
        layer: Any = self._layers[0]
        return len(self), layer.out_features, layer.in_features

    def transpose(self, *_: int) -> Experts:
        """Return the same: a product with them is what the layers compute, however they are stored."""
        return self

    @classmethod
    def __torch_function__(
        cls, function: Any, _: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is not torch.bmm or kwargs:
            return NotImplemented
        inputs, experts = args
        return torch.stack([layer(own) for layer, own in zip(experts._layers, inputs, strict=True)])


class _Matrix:
    """An expert's matrix: a product with it is what its layer computes."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    @classmethod
    def __torch_function__(
        cls, function: Any, _: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        products = (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.mm, torch.Tensor.mm)
        if function is nn.functional.linear:
            bias = args[2] if len(args) > 2 else (kwargs or {}).get("bias")
        elif function in products:
            bias = None
        else:
            return NotImplemented
        inputs, matrix = args[:2]
        # bitsandbytes cannot take an expert that no token went to.
        if inputs.numel() == 0:
            weight = getattr(matrix.layer, "out_features", 0)
            product = inputs.new_zeros((*inputs.shape[:-1], weight))
        else:
            product = matrix.layer(inputs)
        return product if bias is None else product + bias
