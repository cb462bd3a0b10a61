"""The proof that a model was quantized as claimed; nothing is taken on a backend's word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from calbench.errors import QuantizationError
from calbench.quantizers._probe import kl_divergence, probe_logits
from calbench.quantizers._protocol import Quantizer, ScalesColumns, WeightFormat
from calbench.quantizers._reference import Reference
from calbench.quantizers._report import Proof

if TYPE_CHECKING:
    import torch
    from torch import nn

# The grid is checked on evenly spaced rows of each layer: sorting every weight of an LLM takes long.
_ROWS_CHECKED = 128


def prove(
    quantizer: Quantizer,
    model: nn.Module,
    reference: Reference,
    *,
    formats: Mapping[str, WeightFormat],
    probe: Sequence[Sequence[int]],
) -> Proof:
    """Compare a quantized model with its reference, layer by layer and on a probe.

    Parameters
    ----------
    quantizer
        The one that built ``model``.
    model, reference
        Quantized and at full precision; the names of their modules agree. They may lie on other devices:
        layers are compared one by one.
    formats
        What ``quantizer.describe(model)`` claims.
    probe
        Token ids of a few texts: those that the reference was asked.

    Raises
    ------
    QuantizationError
        A layer that was meant to be quantized is still float, is bit-identical to the reference or
        off its grid (the message names the layers), or the logits do not differ or are not finite.
    """
    targets, originals = list(reference.weights), reference.weights
    quantized = dict(model.named_modules())
    still_float = [
        name for name in targets if name not in formats or _is_float(quantized.get(name), originals[name])
    ]
    _refuse(quantizer, still_float, "are still float", len(targets))
    errors: dict[str, float] = {}
    n_weights = 0
    off_grid = []
    for name in targets:
        weight = quantizer.dequantize(quantized[name])
        n_weights += weight.numel()
        errors[name] = _relative_error(name, weight, originals[name])
        stored = quantizer.stored_weight(quantized[name]) if isinstance(quantizer, ScalesColumns) else weight
        if not _on_grid(stored, formats[name]):
            off_grid.append(f"{name} ({formats[name].name})")
    # Weights that were published in a floating type are not changed by a cast to it; the logits are.
    unchanged = [name for name, error in errors.items() if error == 0 and formats[name].dtype is None]
    _refuse(quantizer, unchanged, "have weights that are bit-identical to the reference's", len(targets))
    _refuse(quantizer, off_grid, "have weights that do not lie on the claimed grid", len(targets))
    after = probe_logits(model, probe)
    change = _logit_change(quantizer, reference.logits, after)
    return Proof(
        n_modules=len(targets),
        n_weights=n_weights,
        min_weight_error=min(errors.values(), default=0.0),
        max_weight_error=max(errors.values(), default=0.0),
        n_probe=len(probe),
        mean_logit_change=float(change.mean()),
        max_logit_change=float(change.max()),
        kl_divergence=kl_divergence(reference.logits, after),
        coverage=reference.coverage,
    )


def _refuse(quantizer: Quantizer, names: list[str], what: str, total: int) -> None:
    if names:
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise QuantizationError(f"{quantizer.id}: {len(names)} of {total} layers {what}: {listed}")


def _is_float(module: nn.Module | None, original: torch.Tensor) -> bool:
    """Whether a module still keeps a plain weight of the reference's type."""
    import torch
    from torch import nn

    weight = getattr(module, "weight", None)
    if module is None:
        return True
    if not isinstance(module, nn.Linear) or type(weight) not in (torch.Tensor, nn.Parameter):
        return False
    return weight is not None and weight.dtype == original.dtype


def _relative_error(name: str, weight: torch.Tensor, original: torch.Tensor) -> float:
    expected = original.to(weight.device)
    if weight.shape != expected.shape:
        raise QuantizationError(
            f"{name}: the dequantized weight is {tuple(weight.shape)}, expected {tuple(expected.shape)}"
        )
    norm = float(expected.norm()) or 1.0
    error = float((weight - expected).norm()) / norm
    if not error < 1:  # also catches NaN
        raise QuantizationError(f"{name}: the dequantized weight is off by {error:.3g} of its norm")
    return error


def _on_grid(weight: torch.Tensor, format_: WeightFormat) -> bool:
    """Whether no group holds more distinct values than its bits can tell apart."""
    import torch

    rows, columns = weight.shape
    if format_.dtype is not None:
        return bool((weight.to(getattr(torch, format_.dtype)).to(weight.dtype) == weight).all())
    if format_.column_order is not None:
        weight = weight[:, list(format_.column_order)]
    size = min(format_.group_size or columns, weight.numel())
    if columns % size:
        # Groups straddle rows: they are counted over the flattened weight.
        flat = weight.reshape(-1)
        groups = flat[: len(flat) // size * size].reshape(-1, size)
    else:
        groups = weight[:: max(1, rows // _ROWS_CHECKED)].reshape(-1, size)
    ordered = groups.sort(dim=1).values
    distinct = (ordered[:, 1:] != ordered[:, :-1]).sum(dim=1) + 1
    most = int(distinct.max())
    return most <= 1 << format_.bits


def _logit_change(quantizer: Quantizer, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    if before.shape != after.shape:
        raise QuantizationError(
            f"{quantizer.id}: logits are {tuple(after.shape)}, the reference's {tuple(before.shape)}"
        )
    if not bool(after.isfinite().all()):
        raise QuantizationError(f"{quantizer.id}: the quantized model's logits are not finite")
    change = (after - before).abs()
    if float(change.max()) == 0:
        raise QuantizationError(
            f"{quantizer.id}: the probe's logits equal the reference's; quantization had no effect"
        )
    return change
