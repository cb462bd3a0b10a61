"""The rules that a quantizer keeps."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from calbench import quantizers
from calbench.errors import CalbenchError, QuantizationError
from calbench.models import ARCHITECTURES, Architecture, ModelSource
from calbench.quantizers import (
    TINY_WIDTH,
    QuantizationSamples,
    QuantizedModel,
    Quantizer,
    SavesCheckpoints,
    model_tensors,
    probe_logits,
    random_samples,
    tensors_hash,
    write_tiny,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

_N_PROBE = 8
# A batch is summed in another order than its rows are one by one.
_SUMMATION = 1e-3
# Of the largest logit: bfloat16 arithmetic and 8-bit activations stay below 0.012 on the tiny models.
_COMPUTE = 0.02
_AS_SAID = 8


def check_quantizer(
    quantizer: str | Quantizer,
    *,
    architectures: Sequence[Architecture] = ARCHITECTURES,
    seed: int = 0,
    width: int = TINY_WIDTH,
) -> None:
    """Check that a quantizer keeps the rules that calbench relies on.

    On a tiny random encoder and a tiny random decoder: it proves itself (every layer that it means to
    quantize is on the grid that it claims and differs from the reference, and so do the logits); the
    weights that it says it has are what the model computes with; they lie as far from the reference's
    as ``epsilon`` says, within a factor of eight; every tensor of a quantized layer but its bias is among
    those that it says it is kept in, and their bytes are at least its bits; building twice gives the
    same tensors; running the model leaves them alone; an item's logits do not depend on its batch unless
    that is declared; the source's files are left alone; and a checkpoint that is saved after the model
    ran comes back bit for bit.

    Parameters
    ----------
    quantizer
        A registered id, with arguments if it has any, or an object with the members of
        :class:`calbench.quantizers.Quantizer`.
    architectures
        Those that the backend supports.
    seed
        Of the tiny models, of the quantization samples, and given to ``build``.
    width
        Hidden size of the tiny models, for formats whose blocks want longer rows than 64.

    Raises
    ------
    AssertionError
        A rule is broken; the message says which.
    BackendUnavailableError
        A package that it needs is not installed here.

    Examples
    --------
    >>> check_quantizer("bf16", architectures=("sequence-classification",))
    """
    method = quantizers.get(quantizer) if isinstance(quantizer, str) else quantizer
    method.check_available()
    _check_declarations(method, registered=isinstance(quantizer, str))
    for architecture in architectures:
        with tempfile.TemporaryDirectory(prefix="calbench-check-") as place:
            folder = Path(place)
            source = write_tiny(architecture, folder / "model", seed=seed, width=width)
            _check_on(method, source, folder, seed)


def _check_on(method: Quantizer, source: ModelSource, folder: Path, seed: int) -> None:
    name = f"{method.id} on a tiny {source.architecture} model"
    files = source.weights_hash
    samples = random_samples(method.n_samples, seed=seed) if method.n_samples else None
    probe = random_samples(_N_PROBE, seed=seed + 1).token_ids
    quantized = _quantized(method, source, samples, probe, seed, name)
    module, report = quantized.module, quantized.report
    bits = min((format_.bits for format_ in method.describe(module).values()), default=32)
    _require(
        report.effective_bits >= bits,
        name,
        f"weight_tensors() holds {report.effective_bits:.2f} bits per weight, fewer than the {bits} of the"
        " format; list every tensor that the weight is kept in",
    )
    _check_tensors(method, module, name)
    _check_epsilon(method, source, module, name)
    _check_oracle(method, source, module, probe, name)
    _check_batch(method, module, probe, name)
    after = _hash(method, module)
    _require(
        after == report.tensors_hash,
        name,
        "running the model changed its tensors; what is saved after an evaluation would be something else",
    )
    again = method.build(source, samples=samples, seed=seed).eval()
    _require(
        _hash(method, again) == report.tensors_hash,
        name,
        "building twice from one source, samples and seed gives different tensors; fix the order of work"
        " and draw random numbers from the seed",
    )
    fresh = ModelSource(source.id, source.architecture, source.location)
    _require(fresh.weights_hash == files, name, "build wrote into the source's folder")
    if isinstance(method, SavesCheckpoints):
        _check_round_trip(method, source, module, folder / "saved", name)


def _check_declarations(method: Quantizer, *, registered: bool) -> None:
    name = method.id
    if registered:
        canonical = quantizers.get(name).id
        _require(
            canonical == name, name, f"its id is {name!r} but reads back as {canonical!r}; keep the id given"
        )
    _require(
        isinstance(method.epsilon, float) and 0 <= method.epsilon < 1,
        name,
        f"epsilon is {method.epsilon!r}; give the rounding error of a weight as a share in [0, 1)",
    )
    good = isinstance(method.n_samples, int) and method.n_samples >= 0
    _require(good, name, f"n_samples is {method.n_samples!r}; give a number from 0 up")
    for attribute in ("stochastic", "batch_dependent"):
        value = getattr(method, attribute)
        _require(isinstance(value, bool), name, f"{attribute} is {value!r}; declare True or False")
    good = isinstance(method.packages, tuple) and all(isinstance(p, str) for p in method.packages)
    _require(good, name, f"packages is {method.packages!r}; give a tuple of distribution names")
    _require(isinstance(method.kernel, str) and method.kernel, name, "kernel is empty; say what computes")


def _quantized(
    method: Quantizer,
    source: ModelSource,
    samples: QuantizationSamples | None,
    probe: Sequence[Sequence[int]],
    seed: int,
    name: str,
) -> QuantizedModel:
    try:
        return quantizers.quantize(method, source, samples=samples, probe=probe, seed=seed)
    except QuantizationError as error:
        raise AssertionError(f"{name}: it does not prove itself: {error}") from error
    except CalbenchError as error:
        fits = "; arguments must fit a tiny encoder and a tiny decoder" if "[" in method.id else ""
        raise AssertionError(f"{name}: an ordinary model is refused{fits}: {error}") from error


def _check_tensors(method: Quantizer, module: nn.Module, name: str) -> None:
    """Every tensor of a quantized layer is counted, hashed and saved; its bias was there before."""
    for layer in method.describe(module):
        quantized = module.get_submodule(layer)
        listed = {tensor.data_ptr() for tensor in method.weight_tensors(quantized).values()}
        for tensor, values in (*quantized.named_parameters(), *quantized.named_buffers()):
            _require(
                values.data_ptr() in listed or tensor.rpartition(".")[2] == "bias",
                name,
                f"weight_tensors() leaves out the tensor {tensor!r} of {layer}; list every tensor that the"
                " weight is kept in, itself and no copy of it",
            )


def _check_epsilon(method: Quantizer, source: ModelSource, module: nn.Module, name: str) -> None:
    """Errors that are compensated for (GPTQ's) are up to four times as large as what one rounding makes."""
    reference, share = source.load(), 0.0
    for layer in method.describe(module):
        before = reference.get_submodule(layer).weight.detach()
        after = method.dequantize(module.get_submodule(layer))
        share = max(share, float((before - after).abs().max() / before.abs().max()))
    _require(
        share / _AS_SAID <= method.epsilon <= share * _AS_SAID,
        name,
        f"epsilon is {method.epsilon:.2g}, and weights moved by {share:.2g} of the largest; give the largest"
        " rounding error of a weight as a share of its group's largest magnitude",
    )


def _check_oracle(
    method: Quantizer, source: ModelSource, module: nn.Module, probe: Sequence[Sequence[int]], name: str
) -> None:
    """Compare the model with a float32 one that has the weights that ``dequantize`` gives."""
    import torch

    before, oracle = probe_logits(source.load(), probe), source.load()
    with torch.no_grad():
        for layer in method.describe(module):
            weight = method.dequantize(module.get_submodule(layer))
            oracle.get_submodule(layer).weight.copy_(weight)
    expected, found = probe_logits(oracle, probe), probe_logits(module, probe)
    # A kernel that computes in few bits, or quantizes activations too, adds an error of its own.
    allowed = max(0.5 * _distance(before, found), _COMPUTE * float(before.abs().max()))
    _require(
        _distance(found, expected) <= allowed,
        name,
        "the weights that dequantize() gives do not explain the model's logits; return what the kernel"
        " computes with",
    )


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).pow(2).mean().sqrt())


def _check_batch(method: Quantizer, module: nn.Module, probe: Sequence[Sequence[int]], name: str) -> None:
    import torch

    if method.batch_dependent:
        return
    rows = [list(ids)[: min(map(len, probe))] for ids in probe]
    alone = probe_logits(module, rows)
    batch = torch.tensor(rows)
    with torch.inference_mode():
        logits = module(input_ids=batch, attention_mask=torch.ones_like(batch)).logits
    together = (logits[:, -1] if logits.ndim == 3 else logits).double()
    scale = float(alone.abs().max())
    coarse = next(module.parameters()).dtype in (torch.float16, torch.bfloat16)
    _require(
        float((together - alone).abs().max()) <= scale * (0.05 if coarse else _SUMMATION),
        name,
        "an item's logits depend on the other items of its batch; declare batch_dependent = True",
    )


def _check_round_trip(
    method: SavesCheckpoints, source: ModelSource, module: nn.Module, folder: Path, name: str
) -> None:
    expected = _hash(method, module)
    folder.mkdir()
    method.save(module, folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    _require(files, name, "save() wrote nothing")
    pickled = [path.name for path in files if path.suffix in {".bin", ".pt", ".pth", ".pkl", ".pickle"}]
    _require(not pickled, name, f"save() wrote {', '.join(pickled)}; use safetensors, pickles are never read")
    restored = method.load(source, folder)
    _require(not restored.training, name, "load() returns a model in training mode; call .eval()")
    _require(
        _hash(method, restored) == expected,
        name,
        "the model that load() returns is not bit-identical to the one that save() wrote",
    )


def _hash(method: Quantizer, module: nn.Module) -> str:
    return tensors_hash(model_tensors(module, method, method.describe(module)))


def _require(holds: object, name: str, message: str) -> None:
    if not holds:
        raise AssertionError(f"{name}: {message}")
