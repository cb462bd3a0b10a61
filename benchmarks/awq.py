"""What AWQ gains over rounding to nearest, beside GPTQ, layer by layer.

    python benchmarks/awq.py smollm2

Every linear layer of the embedded model's blocks is quantized to 4 bits in groups of 64 by each method, on
128 sentences. Printed are output errors ``tr((W - Q) H (W - Q)^T) / tr(W H W^T)`` on sentences that none of
them read, H being the second moment of the full-precision model's inputs there. Needs the embedded models
(``calbench setup``).
"""

from __future__ import annotations

import argparse
import statistics

import torch
from gptq import N_TOKENS, output_error

from calbench import models, quantizers, tasks
from calbench.models import ModelSource
from calbench.quantizers import QuantizationSamples
from calbench.quantizers._awq_layer import searched
from calbench.quantizers._layer_inputs import measured
from calbench.quantizers.gptq._solver import Grid, round_to_nearest, solve

N_READ, N_HELD_OUT, GROUP = 128, 128, 64


def sentences(source: ModelSource) -> tuple[QuantizationSamples, QuantizationSamples]:
    """Sentences to choose the rounding by, and as many others to judge it."""
    texts = [item.text for item in tasks.get("movie").dataset.items]
    tokenizer = source.load_tokenizer()
    read, held_out = texts[:N_READ], texts[N_READ : N_READ + N_HELD_OUT]
    return tuple(
        QuantizationSamples.from_texts(tokenizer, part, max_length=N_TOKENS) for part in (read, held_out)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="smollm2")
    source = models.get(parser.parse_args().model).resolve()
    model = source.load()
    names = list(quantizers.get("awq-int4").targets(model))
    read, held_out = (measured(model, names, part, moments=True) for part in sentences(source))
    for symmetric in (True, False):
        grid = Grid(4, GROUP, symmetric)
        errors: dict[str, list[float]] = {"nearest": [], "awq": [], "gptq": []}
        for name in names:
            weight = model.get_submodule(name).weight.detach().float()
            scale = searched(weight, read[name], grid).float()
            moment = read[name].moment / read[name].n_tokens
            changed = {
                "nearest": round_to_nearest(weight, grid).dequantize(),
                "awq": round_to_nearest(weight * scale, grid).dequantize() / scale,
                "gptq": solve(weight, moment, grid, act_order=True).dequantize(),
            }
            for method, other in changed.items():
                errors[method].append(output_error(weight, other, held_out[name].moment))
        report(symmetric, errors)


def report(symmetric: bool, errors: dict[str, list[float]]) -> None:  # noqa: FBT001 (a fact to print)
    nearest = errors["nearest"]
    print(f"{'symmetric' if symmetric else 'asymmetric'} 4 bits in groups of {GROUP}, {len(nearest)} layers")
    for method, found in errors.items():
        better = sum(a < b for a, b in zip(found, nearest, strict=True))
        ratio = statistics.median(a / b for a, b in zip(found, nearest, strict=True))
        print(
            f"  {method:8} median error {statistics.median(found):.5f}, {ratio:.3f} of rounding to nearest,"
            f" which it beats on {better} layers ({better / len(nearest):.1%})"
        )


if __name__ == "__main__":
    with torch.no_grad():
        main()
