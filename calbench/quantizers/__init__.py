"""Quantizers: a model source in, a quantized model and the proof of it out.

The model is written once as ``quantize(get("bnb-nf4"), source, samples=None, probe=ids)``; a third
party adds a backend with the decorator :func:`quantizer` and the few members of :class:`Quantizer`.
Importing this package imports no third-party package.
"""

from __future__ import annotations

from calbench.quantizers.catalogue import get, names, quantizer, registry
from calbench.quantizers.fit import check_fits
from calbench.quantizers.identity import identity, versions
from calbench.quantizers.protocol import Quantizer, SavesCheckpoints, WeightFormat
from calbench.quantizers.quantization import QuantizedModel, quantize
from calbench.quantizers.report import Proof, QuantizationReport
from calbench.quantizers.samples import QuantizationSamples

__all__ = [
    "Proof",
    "QuantizationReport",
    "QuantizationSamples",
    "QuantizedModel",
    "Quantizer",
    "SavesCheckpoints",
    "WeightFormat",
    "check_fits",
    "get",
    "identity",
    "names",
    "quantize",
    "quantizer",
    "registry",
    "versions",
]
