import pytest

pytest.importorskip("torch", reason="GPTQ needs torch")

import torch
from torch import nn

from calbench.quantizers.gptq._packed import PackedLinear, pack, unpack
from calbench.quantizers.gptq._solver import Grid, round_to_nearest


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("n", [32, 64, 33, 5])
def test_packing_loses_nothing(bits, n):
    codes = torch.randint(0, 2**bits, (n, 7), generator=torch.Generator().manual_seed(n))
    words = pack(codes, bits)
    assert words.dtype == torch.int32
    assert words.shape == (-(-n // 32) * bits, 7)
    assert torch.equal(unpack(words, bits, n).long(), codes)


def test_four_bit_words_have_the_usual_layout():
    words = pack(torch.arange(8)[:, None], 4)
    assert hex(int(words[0, 0])) == "0x76543210"


def test_three_bit_codes_cross_words_low_bits_first():
    codes = torch.zeros(32, 1, dtype=torch.int64)
    codes[10] = 0b101  # bits 30 to 32 of the stream
    first, second, third = (int(w) & 0xFFFFFFFF for w in pack(codes, 3)[:, 0])
    assert (first, second, third) == (0b01 << 30, 0b1, 0)


@pytest.fixture(params=[(3, True), (4, True), (4, False), (8, False)], ids=str)
def layer(request):
    bits, symmetric = request.param
    generator = torch.Generator().manual_seed(0)
    codes = round_to_nearest(torch.randn(10, 96, generator=generator), Grid(bits, 32, symmetric))
    bias = nn.Parameter(torch.randn(10, generator=generator))
    return codes, PackedLinear.from_codes(codes, bits=bits, bias=bias)


def test_the_weight_is_that_of_the_codes(layer):
    codes, packed = layer
    assert torch.equal(packed.dequantize(), codes.dequantize())


def test_a_forward_is_the_float_product_with_the_dequantized_weight(layer):
    codes, packed = layer
    x = torch.randn(2, 5, 96, generator=torch.Generator().manual_seed(1))
    assert torch.equal(packed(x), nn.functional.linear(x, codes.dequantize(), packed.bias))


def test_dropping_the_copy_changes_no_output(layer):
    _, packed = layer
    x = torch.ones(1, 96)
    first = packed(x)
    assert packed.dequantized_copy is not None
    packed.dequantized_copy = None
    assert torch.equal(packed(x), first)
    assert packed.dequantized_copy is not None


def test_the_copy_is_not_part_of_the_state(layer):
    _, packed = layer
    packed(torch.ones(1, 96))
    assert set(packed.state_dict()) == {"qweight", "qzeros", "scales", "g_idx", "bias"}


def test_gradients_flow_through_after_an_evaluation_in_inference_mode(layer):
    codes, packed = layer
    x = torch.ones(1, 96, requires_grad=True)
    with torch.inference_mode():
        packed(x)
    packed(x)[0, 0].backward()
    assert torch.equal(x.grad[0], codes.dequantize()[0])
