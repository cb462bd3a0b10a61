"""Build or reload a quantized model, and prove it before anyone gets to see it."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from calbench import __version__, devices
from calbench.cache import lock
from calbench.errors import CalbenchError, QuantizationError
from calbench.models import ModelSource
from calbench.quantizers import _checkpoints as checkpoints
from calbench.quantizers._cache_key import chosen_samples, identity, versions
from calbench.quantizers._cast import LOSSLESS
from calbench.quantizers._probe import check_probe
from calbench.quantizers._proof import prove
from calbench.quantizers._protocol import Quantizer, SavesCheckpoints
from calbench.quantizers._reference import Reference, opened_reference
from calbench.quantizers._report import Proof, QuantizationReport
from calbench.quantizers._samples import QuantizationSamples
from calbench.quantizers._selection import outside_text
from calbench.quantizers._sizes import model_tensors, size_bytes, tensors_hash

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """A loaded model in evaluation mode, and the report on it."""

    module: nn.Module
    report: QuantizationReport


@dataclass(frozen=True, eq=False)
class _Built:
    module: nn.Module
    seconds: dict[str, float]
    checkpoint_bytes: int | None = None
    reloaded: bool = False


def quantize(
    quantizer: Quantizer,
    source: ModelSource,
    *,
    samples: QuantizationSamples | None = None,
    probe: Sequence[Sequence[int]],
    checkpoint_dir: Path | None = None,
    seed: int = 0,
) -> QuantizedModel:
    """Quantize a model and prove that it took effect.

    Parameters
    ----------
    quantizer
        From :func:`calbench.quantizers.get`.
    source
        The model at full precision.
    samples
        What a quantizer with ``n_samples > 0`` reads; its first ``n_samples`` are used.
    probe
        Token ids of about a dozen texts. They only show that the logits changed and by how much;
        they are neither fitted on nor part of the model's identity.
    checkpoint_dir
        Where expensive results are kept, in one folder per identity; None keeps nothing.
        Processes that want the same one wait for the first to make it.
    seed
        For quantizers that draw at random.

    Raises
    ------
    BackendUnavailableError
        A package or the device is missing; the message names the remedy.
    InputError
        An argument, the samples or the probe cannot be used.
    QuantizationError
        The model is not quantized as claimed, and the message names the layers; or whatever else a
        backend raised.
    CorruptRecordError
        A checkpoint does not match its manifest.
    """
    devices.device()
    quantizer.check_available()
    check_probe(probe)
    if not source.folder.is_dir():
        source = source.resolve()
    source.check_full_precision()
    samples = chosen_samples(quantizer, samples)
    try:
        return _quantized(quantizer, source, samples, probe, checkpoint_dir, seed)
    except (CalbenchError, OSError):  # a full disk is no quantizer's
        raise
    except Exception as error:  # of a backend or an architecture: it ends this cell, and no other
        raise QuantizationError(
            f"{quantizer.id} cannot quantize {source.id}: {type(error).__name__}: {shorten(str(error), 300)}"
        ) from error


def _quantized(
    quantizer: Quantizer,
    source: ModelSource,
    samples: QuantizationSamples | None,
    probe: Sequence[Sequence[int]],
    checkpoint_dir: Path | None,
    seed: int,
) -> QuantizedModel:
    start = time.perf_counter()
    reference, opened = None, source
    if quantizer.id not in LOSSLESS:  # loaded once: it is asked, and then handed to the quantizer
        reference, opened = opened_reference(quantizer, source, probe)
    loading = time.perf_counter() - start
    if checkpoint_dir is not None and isinstance(quantizer, SavesCheckpoints):
        built = _build_or_reload(quantizer, opened, samples, checkpoint_dir, seed)
    else:
        start = time.perf_counter()
        module = quantizer.build(opened, samples=samples, seed=seed)
        built = _Built(module, {"build": time.perf_counter() - start})
    del opened
    built.module.eval()
    proof = None
    if reference is not None:
        built.seconds["load"] = loading
        proof = _proved(quantizer, built, reference, source, probe)
    del reference
    gc.collect()  # modules hold themselves in cycles
    return QuantizedModel(built.module, _report(quantizer, source, built, proof))


def _build_or_reload(
    quantizer: SavesCheckpoints,
    source: ModelSource,
    samples: QuantizationSamples | None,
    checkpoint_dir: Path,
    seed: int,
) -> _Built:
    facts = identity(quantizer, source, samples=samples, seed=seed)
    folder = checkpoints.folder_of(checkpoint_dir, quantizer.id, facts)
    with lock(folder):
        if folder.exists():
            return _reload(quantizer, source, folder, facts)
        start = time.perf_counter()
        module = quantizer.build(source, samples=samples, seed=seed)
        seconds = time.perf_counter() - start
        digest = tensors_hash(model_tensors(module, quantizer, quantizer.describe(module)))
        manifest = checkpoints.write(
            folder,
            lambda place: quantizer.save(module, place),
            facts=facts,
            tensors_hash=digest,
            seconds=seconds,
        )
    return _Built(module, {"build": seconds}, manifest.size_bytes)


def _reload(
    quantizer: SavesCheckpoints, source: ModelSource, folder: Path, facts: dict[str, object]
) -> _Built:
    start = time.perf_counter()
    manifest = checkpoints.verify(folder, facts=facts)
    module = quantizer.load(source, folder)
    seconds = {"build": manifest.seconds, "reload": time.perf_counter() - start}
    checkpoints.check_tensors(
        folder, manifest, tensors_hash(model_tensors(module, quantizer, quantizer.describe(module)))
    )
    return _Built(module, seconds, manifest.size_bytes, reloaded=True)


def _proved(
    quantizer: Quantizer,
    built: _Built,
    reference: Reference,
    source: ModelSource,
    probe: Sequence[Sequence[int]],
) -> Proof:
    start = time.perf_counter()
    if not reference.untouched:  # it wrote into the weights that it was given
        reference = Reference.of(quantizer, source.load(), probe)
    proof = prove(quantizer, built.module, reference, formats=quantizer.describe(built.module), probe=probe)
    built.seconds["proof"] = time.perf_counter() - start
    return proof


def _report(
    quantizer: Quantizer, source: ModelSource, built: _Built, proof: Proof | None
) -> QuantizationReport:
    formats = quantizer.describe(built.module)
    tensors = model_tensors(built.module, quantizer, formats)
    resident = size_bytes(tensors.values())
    return QuantizationReport(
        quantizer=quantizer.id,
        model=source.id,
        modules={name: format_.name for name, format_ in formats.items()},
        **_effective_bits(quantizer, built.module, list(formats), resident, proof),
        resident_bytes=resident,
        working_bytes=resident + _kept_copies(built.module),
        checkpoint_bytes=built.checkpoint_bytes,
        tensors_hash=tensors_hash(tensors),
        seconds={name: round(value, 3) for name, value in built.seconds.items()},
        versions={"calbench": __version__, **versions(quantizer)},
        kernel=quantizer.kernel,
        epsilon=quantizer.epsilon,
        batch_dependent=quantizer.batch_dependent,
        from_checkpoint=built.reloaded,
        proof=proof,
    )


def _effective_bits(
    quantizer: Quantizer, model: nn.Module, quantized: list[str], resident: int, proof: Proof | None
) -> dict[str, float]:
    """Count stored bits per weight: of the quantized layers, and of the model."""
    modules = [model.get_submodule(name) for name in quantized]
    n_weights = proof.n_weights if proof else 0
    stored = sum(size_bytes(quantizer.weight_tensors(m).values()) for m in modules)
    inside = {id(p) for m in modules for p in m.parameters(recurse=False) if p is getattr(m, "weight", None)}
    # What does not run on text, such as a vision tower, is no part of the model that is measured.
    elsewhere = [p for name in outside_text(model) for p in model.get_submodule(name).parameters()]
    apart = inside | {id(p) for p in elsewhere}
    others = sum(p.numel() for p in model.parameters() if id(p) not in apart)
    return {
        "effective_bits": 8 * stored / n_weights if n_weights else 32.0,
        "model_effective_bits": 8 * (resident - size_bytes(elsewhere)) / (n_weights + others),
    }


def _kept_copies(model: nn.Module) -> int:
    copies = (getattr(module, "dequantized_copy", None) for module in model.modules())
    return sum(copy.nbytes for copy in copies if copy is not None)
