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
from calbench.quantizers._checkpoints import folder_of as checkpoint_folder
from calbench.quantizers._checkpoints import verify as verify_checkpoint
from calbench.quantizers._checkpoints import write as write_checkpoint
from calbench.quantizers._compatibility import check_fits
from calbench.quantizers._diagnosis import diagnose, packages
from calbench.quantizers._probe import probe_logits
from calbench.quantizers._protocol import Quantizer, RunsElsewhere, SavesCheckpoints, WeightFormat
from calbench.quantizers._report import Proof, QuantizationReport
from calbench.quantizers._samples import QuantizationSamples
from calbench.quantizers._selection import block_linears, module_groups, select
from calbench.quantizers._sizes import model_tensors, tensors_hash
from calbench.quantizers._tiny import WIDTH as TINY_WIDTH
from calbench.quantizers._tiny import random_samples, write_tiny

__all__ = [
    "TINY_WIDTH",
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
    "checkpoint_folder",
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
    "random_samples",
    "registry",
    "select",
    "tensors_hash",
    "verify_checkpoint",
    "versions",
    "write_checkpoint",
    "write_tiny",
]
