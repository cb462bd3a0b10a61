"""Every format on a GPU, against the same on the CPU: ``make test-gpu``. Skipped where there is no GPU."""

import sys
import time

import pytest

pytest.importorskip("torch", reason="models need torch")

import torch

from calbench import models, tasks
from calbench.errors import BackendUnavailableError, InputError
from calbench.quantizers import QuantizationSamples, diagnose, get, names, probe_logits, quantize

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and torch sees none here"),
    pytest.mark.embedded,
]

MODELS = ("minilm", "smollm2")
CUDA_KERNELS = ("gptq-int4[backend=gptqmodel]",)
# Of the largest logit. Decoded float32 weights differ by the order of sums; kernels compute in fewer bits.
ROUNDING, KERNEL = 1e-3, 0.05
# What chooses its codes by sums over data may choose others: the two models may then be this far apart.
MAX_KL = 0.02
CHOOSES_CODES = ("gptq", "awq", "hqq")
# Of the float32 model's bytes: the model, its reference for the proof, the copies of the weights.
MAX_MEMORY = 6


def texts(name):
    source = models.get(name).resolve()
    task = tasks.get("tweets")
    request = task.request(source)
    tokenizer = source.load_tokenizer()

    def tokens(items):
        return QuantizationSamples.from_texts(tokenizer, map(request.text, items), max_length=128)

    partition = task.partition
    return source, tokens(partition.quantization), tokens(partition.evaluation[:16]).token_ids


def on(device, quantizer, name, monkeypatch):
    monkeypatch.setenv("CALBENCH_DEVICE", device)
    source, samples, probe = texts(name)
    made = quantize(quantizer, source, samples=samples if quantizer.n_samples else None, probe=probe)
    return made, probe_logits(made.module, probe), probe


@pytest.mark.parametrize("quantizer", names())
def test_the_doctor_finds_nothing_broken(quantizer, monkeypatch):
    monkeypatch.setenv("CALBENCH_DEVICE", "cuda")
    (found,) = diagnose([quantizer])
    if found.status == "unavailable":
        pytest.skip(found.reason)
    assert found.status == "works", found.reason


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("quantizer", [*names(), *CUDA_KERNELS])
def test_a_gpu_gives_what_the_cpu_gives(quantizer, model, monkeypatch, capsys):
    method = get(quantizer)
    try:
        method.check_available()
        _, expected, _ = on("cpu", method, model, monkeypatch)
        torch.cuda.reset_peak_memory_stats()
        made, found, probe = on("cuda", method, model, monkeypatch)
    except (BackendUnavailableError, InputError) as reason:
        pytest.skip(str(reason))
    peak, n_bytes = torch.cuda.max_memory_allocated(), made.report.resident_bytes
    started = time.perf_counter()
    for _ in range(10):
        probe_logits(made.module, probe)
    torch.cuda.synchronize()
    rate = 10 * sum(map(len, probe)) / (time.perf_counter() - started)
    p, q = expected.log_softmax(-1), found.log_softmax(-1)
    kl = float((p.exp() * (p - q)).sum(-1).mean())
    off = float((found - expected).abs().max() / expected.abs().max())
    with capsys.disabled():
        sys.stdout.write(
            f"\n{model} {quantizer}: {n_bytes / 2**20:.0f} MiB kept, {peak / 2**20:.0f} at most, {rate:,.0f}"
            f" tokens/s, logits off by {off:.2g} of the largest, KL {kl:.2g}"
        )
    n_weights = sum(parameter.numel() for parameter in models.get(model).resolve().skeleton().parameters())
    assert peak < MAX_MEMORY * 4 * n_weights
    assert kl < MAX_KL
    if not quantizer.startswith(CHOOSES_CODES):
        kernel = quantizer.startswith("bnb") or quantizer in ("bf16", "fp16")
        assert off < (KERNEL if kernel else ROUNDING)
