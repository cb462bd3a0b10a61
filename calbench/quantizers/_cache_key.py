"""What a quantized model's outputs depend on, besides the input."""

from __future__ import annotations

from typing import Any

from calbench import devices
from calbench.errors import InputError
from calbench.models import ModelSource
from calbench.quantizers._availability import installed_versions
from calbench.quantizers._catalogue import arguments
from calbench.quantizers._protocol import Quantizer, ReadsFiles
from calbench.quantizers._samples import QuantizationSamples
from calbench.registry import Spec

# Raised when a quantizer of calbench's own makes other weights than before: a release alone remakes none.
FORMAT = 1


def versions(quantizer: Quantizer) -> dict[str, str]:
    """Versions of torch, transformers and the quantizer's own packages."""
    return installed_versions(("torch", "transformers", *quantizer.packages))


def identity(
    quantizer: Quantizer, source: ModelSource, *, samples: QuantizationSamples | None, seed: int
) -> dict[str, Any]:
    """Return, as plain JSON, all that could change the quantized model.

    It is known before anything is loaded, and holds no time, path or name. Where the quantizer
    reads no samples, or no seed, these are ``None``: one model serves every seed.

    A checkpoint serves the kind of device that it was made on. Sums are rounded otherwise on another,
    so that GPTQ may choose other codes there; were they shared, what a record holds would depend on
    which device came first. The CPU goes without saying.

    Parameters
    ----------
    quantizer, source, samples, seed
        As for :func:`calbench.quantizers.quantize`; the source must be resolved.

    Raises
    ------
    InputError
        The quantizer reads samples and too few were given.
    UnknownNameError
        The quantizer is not registered, so that its arguments cannot be told.
    """
    wanted = chosen_samples(quantizer, samples)
    device = devices.kind()
    return {
        "format": FORMAT,
        **_method(quantizer),
        **({} if device == "cpu" else {"device": device}),
        "architecture": source.architecture,
        "weights": source.weights_hash,
        "samples": wanted.hash if wanted else None,
        "seed": seed if quantizer.stochastic else None,
        "versions": versions(quantizer),
    }


def _method(quantizer: Quantizer) -> dict[str, Any]:
    if isinstance(quantizer, ReadsFiles):
        # Where the files are does not matter, and may differ from machine to machine.
        return {"quantizer": Spec.parse(quantizer.id).name, "files": quantizer.files_hash}
    # The id leaves defaults out, and a later version may have others.
    return {"quantizer": quantizer.id, "arguments": arguments(quantizer.id)}


def chosen_samples(quantizer: Quantizer, samples: QuantizationSamples | None) -> QuantizationSamples | None:
    """Return the samples that a quantizer reads out of those on offer: its first ``n_samples``."""
    if not quantizer.n_samples:
        return None
    if samples is None:
        raise InputError(
            f"{quantizer.id} reads {quantizer.n_samples} quantization samples; pass samples="
            "QuantizationSamples.from_texts(tokenizer, texts, max_length=...)"
        )
    return samples.take(quantizer.n_samples)
