"""Quantizers: a model source in, a quantized model and the proof of it out.

The model is written once as ``quantize(get("bnb-nf4"), source, samples=None, probe=ids)``; a third
party adds a backend with the decorator :func:`quantizer` and the few members of :class:`Quantizer`.
Importing this package imports no third-party package.
"""

from __future__ import annotations

from calbench.quantizers._availability import installed_versions
from calbench.quantizers._build import QuantizedModel, quantize
from calbench.quantizers._cache_key import identity, versions
from calbench.quantizers._catalogue import arguments, get, names, quantizer, registry
from calbench.quantizers._compatibility import check_fits
from calbench.quantizers._diagnosis import diagnose, packages
from calbench.quantizers._probe import probe_logits
from calbench.quantizers._protocol import Quantizer, RunsElsewhere, SavesCheckpoints, WeightFormat
from calbench.quantizers._report import Proof, QuantizationReport
from calbench.quantizers._samples import QuantizationSamples
from calbench.quantizers._selection import block_linears, module_groups, select
from calbench.quantizers._sizes import model_tensors, tensors_hash

__all__ = [
    "Proof",
    "QuantizationReport",
    "QuantizationSamples",
    "QuantizedModel",
    "Quantizer",
    "RunsElsewhere",
    "SavesCheckpoints",
    "WeightFormat",
    "arguments",
    "block_linears",
    "check_fits",
    "diagnose",
    "get",
    "identity",
    "installed_versions",
    "model_tensors",
    "module_groups",
    "names",
    "packages",
    "probe_logits",
    "quantize",
    "quantizer",
    "registry",
    "select",
    "tensors_hash",
    "versions",
]
