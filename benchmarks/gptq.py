"""What GPTQ costs, and what it gains over rounding to nearest and against gptqmodel.

    python benchmarks/gptq.py speed          # seconds and peak memory, SmolLM2-135M, 128 samples x 256 tokens
    python benchmarks/gptq.py layers minilm  # every layer's output error against rounding to nearest
    python benchmarks/gptq.py peer           # against gptqmodel, on the first block of SmolLM2-135M

Needs the embedded models (``calbench setup``); ``peer`` also ``pip install 'calbench[gptq]'``.
Output errors are ``tr((W - Q) H (W - Q)^T) / tr(W H W^T)`` with H from the full-precision model.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from functools import partial

import torch

from calbench import models, quantizers, tasks
from calbench.models import ModelSource
from calbench.quantizers import QuantizationSamples
from calbench.quantizers.gptq._driver import _batches, _run_model, _watch
from calbench.quantizers.gptq._solver import Grid, round_to_nearest, solve

N_SAMPLES, N_TOKENS, GROUP = 128, 256, 64


def long_samples(source: ModelSource) -> QuantizationSamples:
    """128 texts of exactly 256 tokens: sentences of the movie reviews, one after the other."""
    tokenizer = source.load_tokenizer()
    texts = [item.text for item in tasks.get("movie").dataset.items]
    stream = [token for row in tokenizer(texts, add_special_tokens=False)["input_ids"] for token in row]
    rows = [stream[i : i + N_TOKENS] for i in range(0, N_SAMPLES * N_TOKENS, N_TOKENS)]
    return QuantizationSamples(tuple(map(tuple, rows)))


def task_samples(source: ModelSource) -> QuantizationSamples:
    """The sentences that suites let a quantizer read."""
    task = tasks.get("movie")
    request = task.request(source)
    texts = [request.text(item) for item in task.partition.quantization]
    return QuantizationSamples.from_texts(source.load_tokenizer(), texts, max_length=N_TOKENS)


def output_error(weight: torch.Tensor, changed: torch.Tensor, hessian: torch.Tensor) -> float:
    weight, difference, hessian = weight.double(), (weight - changed).double(), hessian.double()
    return float(((difference @ hessian) * difference).sum() / ((weight @ hessian) * weight).sum())


def hessians(
    model: torch.nn.Module, names: list[str], samples: QuantizationSamples
) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        collector = _watch(model, names, _batches(model, samples), partial(_run_model, model.base_model))
    return {name: hessian.mean() for hessian in collector.hessians() for name in hessian.layers}


def speed() -> None:
    source = models.get("smollm2").resolve()
    samples = long_samples(source)
    method = quantizers.get("gptq-int4")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    started, cpu = time.perf_counter(), time.process_time()
    module = method.build(source, samples=samples, seed=0)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"gptq-int4 of SmolLM2-135M, {len(samples)} samples x {N_TOKENS} tokens,", end=" ")
    print(f"{torch.get_num_threads()} threads: {seconds:.0f} s ({cpu:.0f} s of CPU),", end=" ")
    print(f"peak {peak:.2f} GiB (of which {before:.2f} before), {len(method.describe(module))} layers")


def layers(name: str) -> None:
    source = models.get(name).resolve()
    model = source.load()
    found = {}
    names = list(quantizers.get("gptq-int4").targets(model))
    seen = hessians(model, names, task_samples(source))
    for bits in (8, 4, 3):
        ratios = {}
        for layer in names:
            weight = model.get_submodule(layer).weight.detach()
            grid = Grid(bits, GROUP, symmetric=True)
            chosen = solve(weight, seen[layer], grid, act_order=True).dequantize()
            nearest = round_to_nearest(weight, grid).dequantize()
            ratios[layer] = output_error(weight, chosen, seen[layer]) / output_error(
                weight, nearest, seen[layer]
            )
        worst = max(ratios, key=ratios.__getitem__)
        found[bits] = sum(ratio < 1 for ratio in ratios.values())
        mean = sum(ratios.values()) / len(ratios)
        print(
            f"{name}, {bits} bits: GPTQ beats rounding to nearest on {found[bits]} of {len(names)} layers;",
            end=" ",
        )
        print(f"its error is {mean:.2f} of it on average, {ratios[worst]:.2f} at most ({worst})", flush=True)


def peer() -> None:
    source = models.get("smollm2").resolve()
    samples = task_samples(source)
    reference = source.load()
    for bits in (4, 3, 8):
        dequantized = []
        for extra in ("", ",backend=gptqmodel"):
            method = quantizers.get(f"gptq-int{bits}[skip=last:29{extra}]")
            started = time.perf_counter()
            module = method.build(source, samples=samples.take(method.n_samples), seed=0)
            print(f"{method.id}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
            dequantized.append(
                {n: method.dequantize(module.get_submodule(n)) for n in method.describe(module)}
            )
        seen = hessians(reference, list(dequantized[0]), samples)
        for layer in dequantized[0]:
            weight = reference.get_submodule(layer).weight.detach()
            ours, theirs = (output_error(weight, found[layer], seen[layer]) for found in dequantized)
            print(
                f"{bits} bits {layer:<34} ours {ours:.4e}  gptqmodel {theirs:.4e}  {ours / theirs - 1:+.2%}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "layers", "peer"))
    parser.add_argument("model", nargs="?", default="minilm", choices=("minilm", "smollm2"))
    arguments = parser.parse_args()
    if arguments.what == "layers":
        layers(arguments.model)
    else:
        {"speed": speed, "peer": peer}[arguments.what]()


if __name__ == "__main__":
    main()
