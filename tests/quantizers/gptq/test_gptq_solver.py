import pytest

pytest.importorskip("torch", reason="GPTQ needs torch")

import torch

from calbench.errors import QuantizationError
from calbench.quantizers.gptq._solver import Codes, Grid, round_to_nearest, scales_and_zeros, solve

GRIDS = [Grid(bits, 32, symmetric) for bits in (2, 3, 4, 8) for symmetric in (True, False)]


def problem(rows=24, columns=128, n=512, seed=0):
    """A weight, and correlated inputs of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5
    sizes = torch.logspace(-1, 1, columns)
    inputs = torch.randn(n, columns, generator=generator) @ mixing * sizes
    return torch.randn(rows, columns, generator=generator), inputs


def output_error(weight, codes, inputs):
    return float(((weight - codes.dequantize()) @ inputs.T).square().sum())


def textbook(weight, hessian, grid, damp):
    """Optimal brain quantization in natural order, updating the whole inverse: Frantar et al., eq. 2-3."""
    weight, size = weight.double().clone(), grid.group_size
    damped = hessian.double() + damp * hessian.diagonal().double().mean() * torch.eye(len(hessian))
    inverse = torch.linalg.inv(damped)
    codes = torch.zeros_like(weight)
    for i in range(weight.shape[1]):
        if i % size == 0:
            scale, zero = scales_and_zeros(weight[:, i : i + size].float(), grid)
        codes[:, i] = (weight[:, i] / scale + zero).round().clamp(0, grid.max_code)
        error = (weight[:, i] - (codes[:, i] - zero) * scale) / inverse[i, i]
        weight -= torch.outer(error, inverse[i])
        weight[:, : i + 1] = 0
        inverse -= torch.outer(inverse[:, i], inverse[i]) / inverse[i, i]
    return codes


@pytest.mark.parametrize("symmetric", [True, False])
def test_it_agrees_with_the_textbook_algorithm(symmetric):
    weight, inputs = problem()
    hessian, grid = inputs.T @ inputs, Grid(4, 32, symmetric)
    codes = solve(weight, hessian, grid, damp=0.01).codes
    same = (codes == textbook(weight, hessian, grid, 0.01)).float().mean()
    # A weight within float32 rounding of the middle of two codes may fall either way, and its
    # error then moves its successors.
    assert same > 0.99


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_it_beats_rounding_to_nearest(grid, act_order):
    weight, inputs = problem()
    codes = solve(weight, inputs.T @ inputs, grid, act_order=act_order)
    nearest = output_error(weight, round_to_nearest(weight, grid), inputs)
    # The largest inputs come last here, where natural order has nothing left to spread errors over.
    assert output_error(weight, codes, inputs) < (0.8 if act_order else 0.97) * nearest


@pytest.mark.parametrize("act_order", [False, True])
def test_uncorrelated_inputs_leave_nothing_to_gain(act_order):
    weight, grid = problem()[0], Grid(4, 32, symmetric=True)
    codes = solve(weight, torch.eye(128), grid, act_order=act_order)
    assert torch.equal(codes.codes, round_to_nearest(weight, grid).codes)


@pytest.mark.parametrize("grid", GRIDS)
def test_codes_stay_on_the_grid(grid):
    weight, inputs = problem()
    codes = solve(weight, inputs.T @ inputs, grid)
    assert int(codes.codes.max()) <= grid.max_code
    assert codes.codes.dtype == torch.uint8
    groups = codes.dequantize().reshape(-1, 32)
    assert max(len(group.unique()) for group in groups) <= 2**grid.bits


def test_eight_bits_lose_next_to_nothing():
    weight, inputs = problem()
    codes = solve(weight, inputs.T @ inputs, Grid(8, 32, symmetric=True))
    assert float((codes.dequantize() - weight).abs().max()) < 0.05


@pytest.mark.parametrize("act_order", [False, True])
def test_rows_do_not_depend_on_each_other(act_order):
    """So that layers with one input can be solved together."""
    weight, inputs = problem()
    hessian, grid = inputs.T @ inputs, Grid(4, 32, symmetric=True)
    together = solve(weight, hessian, grid, act_order=act_order)
    apart = [solve(part, hessian, grid, act_order=act_order) for part in weight.split(12)]
    # The product of the lazy update may sum in another order for another number of rows.
    same = (together.codes == torch.cat([part.codes for part in apart])).float().mean()
    assert same > 0.99


@pytest.mark.parametrize("columns", [128, 384, 96])
def test_whole_rows_are_one_group(columns):
    weight, inputs = problem(columns=columns)
    codes = solve(weight, inputs.T @ inputs, Grid(4, columns, symmetric=True))
    assert codes.scales.shape == (24, 1)
    expected, _ = scales_and_zeros(weight, Grid(4, columns, symmetric=True))
    assert torch.equal(codes.scales[:, 0].float(), expected)


def test_an_input_that_never_fires_is_rounded_to_nearest():
    weight, inputs = problem()
    inputs[:, 7] = 0
    grid = Grid(4, 128, symmetric=True)
    codes = solve(weight, inputs.T @ inputs, grid)
    assert torch.equal(codes.codes[:, 7], round_to_nearest(weight, grid).codes[:, 7])


def test_an_all_zero_group_stays_zero():
    weight, _ = problem()
    weight[:, :32] = 0
    for symmetric in (True, False):
        codes = solve(weight, torch.eye(128), Grid(4, 32, symmetric))
        assert not codes.dequantize()[:, :32].any()


def test_fewer_tokens_than_inputs_are_enough_with_damping():
    weight, inputs = problem(n=10)
    assert isinstance(solve(weight, inputs.T @ inputs, Grid(4, 32, symmetric=True)), Codes)


def test_a_hessian_that_cannot_be_factorised_names_the_remedy():
    weight, _ = problem()
    with pytest.raises(QuantizationError, match=r"not positive definite.*raise damp"):
        solve(weight, -torch.ones(128, 128) + 1.5 * torch.eye(128), Grid(4, 32, symmetric=True), damp=1e-6)


def test_arguments_are_left_alone():
    weight, inputs = problem()
    hessian = inputs.T @ inputs
    copies = weight.clone(), hessian.clone()
    solve(weight, hessian, Grid(4, 32, symmetric=True), act_order=True)
    assert torch.equal(weight, copies[0])
    assert torch.equal(hessian, copies[1])
