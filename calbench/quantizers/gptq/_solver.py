"""GPTQ for one weight matrix: tensors in, codes out.

Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", ICLR 2023, algorithm 1. Columns are rounded one by one; the error of each is spread
over the columns still to come, in proportion to the inverse Hessian of the layer's squared output
error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from calbench.errors import QuantizationError

_BLOCK = 128


@dataclass(frozen=True)
class Grid:
    """The integer grid that weights are rounded to.

    Parameters
    ----------
    bits
        Width of a code.
    group_size
        Consecutive columns of one row that share a scale and a zero point.
    symmetric
        Whether the zero point is the middle of the codes, or fitted to each group's range.
    """

    bits: int
    group_size: int
    symmetric: bool

    @property
    def max_code(self) -> int:
        """Largest code."""
        return (1 << self.bits) - 1


@dataclass(frozen=True, eq=False)
class Codes:
    """A weight on its grid: ``(codes - zeros) * scales``, group by group.

    Parameters
    ----------
    codes : (out_features, in_features) uint8
    scales : (out_features, n_groups) float16
    zeros : (out_features, n_groups) uint8
    """

    codes: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor

    def dequantize(self) -> torch.Tensor:
        """Return the weight, ``(out_features, in_features)`` float32."""
        rows, columns = self.codes.shape
        grouped = self.codes.reshape(rows, self.scales.shape[1], -1).float()
        grouped -= self.zeros.float().unsqueeze(2)
        grouped *= self.scales.float().unsqueeze(2)
        return grouped.reshape(rows, columns)

    def rows(self, start: int, stop: int) -> Codes:
        """Return some output rows, for layers that were solved together."""
        return Codes(self.codes[start:stop], self.scales[start:stop], self.zeros[start:stop])


def scales_and_zeros(weight: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit scale and zero point to the last dimension of ``weight`` ``(..., group_size)``.

    The range always contains 0, so that 0 is on the grid. Scales are rounded to float16, as they
    are stored, before anything is rounded with them.

    Returns
    -------
    scales, zeros : (...) float32
    """
    low, high = weight.amin(dim=-1).clamp(max=0), weight.amax(dim=-1).clamp(min=0)
    if grid.symmetric:
        high = torch.maximum(high, -low)
        low = -high
    scales = ((high - low) / grid.max_code).half().float()
    # An all-zero group, or one below float16's range, keeps code = zero point: it stays 0.
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    if grid.symmetric:
        return scales, torch.full_like(scales, float((grid.max_code + 1) // 2))
    return scales, (-low / scales).round().clamp(0, grid.max_code)


def round_to_nearest(weight: torch.Tensor, grid: Grid) -> Codes:
    """Round each weight by itself: what GPTQ must beat."""
    rows, columns = weight.shape
    grouped = weight.reshape(rows, columns // grid.group_size, grid.group_size)
    scales, zeros = scales_and_zeros(grouped, grid)
    codes = (grouped / scales.unsqueeze(2)).round().add(zeros.unsqueeze(2)).clamp(0, grid.max_code)
    return _codes(codes.reshape(rows, columns), scales, zeros)


def solve(
    weight: torch.Tensor, hessian: torch.Tensor, grid: Grid, *, act_order: bool = False, damp: float = 0.01
) -> Codes:
    """Round a weight so that the layer's output changes least on the inputs behind ``hessian``.

    Minimises ``tr((W - Q) H (W - Q)^T)`` greedily, column by column.

    Parameters
    ----------
    weight : (out_features, in_features) float32
        ``in_features`` is a multiple of the group size.
    hessian : (in_features, in_features)
        Any positive multiple of ``X^T X`` over the layer's inputs.
    grid
        Where to round to.
    act_order
        Round groups with large inputs first, and in each group the columns with large inputs first.
        Groups stay consecutive columns, so that the layer costs the same to compute.
    damp
        Added to the diagonal, as a share of its mean.

    Raises
    ------
    QuantizationError
        The damped Hessian is not positive definite.
    """
    order = (
        _importance(hessian, grid.group_size)
        if act_order
        else torch.arange(len(hessian), device=hessian.device)
    )
    upper = _inverse_factor(hessian, damp, order)
    remaining = weight.float().T[order].contiguous()  # a column of the weight is a contiguous row
    columns, rows = remaining.shape
    groups = columns // grid.group_size
    scales, zeros = torch.empty(2, groups, rows, device=remaining.device)
    codes = torch.empty_like(remaining)
    block = grid.group_size if grid.group_size <= 2 * _BLOCK else math.gcd(grid.group_size, _BLOCK)
    for start in range(0, columns, block):
        stop = start + block
        group = int(order[start]) // grid.group_size
        if start % grid.group_size == 0:
            scales[group], zeros[group] = scales_and_zeros(remaining[start : start + grid.group_size].T, grid)
        with _one_thread():
            codes[start:stop], errors = _solve_block(
                remaining[start:stop], upper[start:stop, start:stop], scales[group], zeros[group], grid
            )
        remaining[stop:] -= upper[start:stop, stop:].T @ errors
    return _codes(codes[torch.argsort(order)].T, scales.T, zeros.T)


@contextmanager
def _one_thread() -> Iterator[None]:
    # Thousands of tiny steps: waiting for a second thread takes longer than they do, and many times
    # longer on a busy machine.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _importance(hessian: torch.Tensor, group_size: int) -> torch.Tensor:
    """Order columns by the size of their inputs, largest first, without tearing groups apart."""
    sizes = hessian.diagonal().reshape(-1, group_size)
    groups = torch.argsort(sizes.amax(dim=1), descending=True, stable=True)
    inside = torch.argsort(sizes, dim=1, descending=True, stable=True)
    return (groups[:, None] * group_size + inside[groups]).reshape(-1)


def _solve_block(
    block: torch.Tensor, upper: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor, grid: Grid
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round the columns of one group, or of a part of it, in turn; ``block`` is ``(columns, rows)``."""
    codes, errors = torch.empty_like(block), torch.empty_like(block)
    inverse = scales.reciprocal()
    for i in range(len(block)):
        column = block[i]
        codes[i] = (column * inverse).round_().add_(zeros).clamp_(0, grid.max_code)
        errors[i] = column.sub((codes[i] - zeros).mul_(scales)).div_(upper[i, i])
        block[i + 1 :].addr_(upper[i, i + 1 :], errors[i], alpha=-1)
    return codes, errors


def _inverse_factor(hessian: torch.Tensor, damp: float, order: torch.Tensor) -> torch.Tensor:
    """Upper triangular ``U`` with ``U^T U`` the inverse of the damped Hessian, float32.

    With ``J`` reversing the order of the columns and ``J H J = L L^T``, ``U = (J L J)^-1``: one
    factorisation, and no explicit inverse.
    """
    damped = hessian.double().clone()
    diagonal = damped.diagonal()
    # An input that never fired has no influence on the output: its weights are rounded to nearest.
    diagonal[diagonal == 0] = 1.0
    diagonal += damp * diagonal.mean()
    damped = damped[order][:, order]
    lower, failed = torch.linalg.cholesky_ex(damped.flip(0, 1))
    if int(failed):
        raise QuantizationError(
            f"the Hessian is not positive definite with damp={damp:g};"
            " raise damp in the quantizer's id, or give more quantization samples"
        )
    identity = torch.eye(len(damped), dtype=torch.float64, device=damped.device)
    upper: torch.Tensor = torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True)
    return upper.float()


def _codes(codes: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor) -> Codes:
    narrow = (codes.to(torch.uint8), scales.half(), zeros.to(torch.uint8))
    return Codes(*(part.contiguous() for part in narrow))
