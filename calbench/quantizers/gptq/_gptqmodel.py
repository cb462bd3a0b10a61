"""GPTQ by gptqmodel, the successor of AutoGPTQ, for decoders; its codes are read back into packed layers.

gptqmodel runs in a process of its own: importing it patches transformers, it prints a megabyte of
progress, and its thread pools outlive the work. Its kernels are not used for inference: which one
runs depends on what is installed, the 4-bit one on CPUs computes in bfloat16, and the first calls
compile for many seconds. The codes are the same, and here they are computed with in float32.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from calbench import devices
from calbench.errors import CorruptRecordError, InputError, QuantizationError
from calbench.models import ModelSource, quantization_settings
from calbench.quantizers._layers import put
from calbench.quantizers._samples import QuantizationSamples
from calbench.quantizers._selection import check_group_size, linears
from calbench.quantizers.gptq._driver import Settings
from calbench.quantizers.gptq._packed import PackedLinear, pack, unpack

PARTS = ("qweight", "qzeros", "scales", "g_idx")
_WORKER = "calbench.quantizers.gptq._gptqmodel_worker"


def quantize_with_gptqmodel(
    model: nn.Module,
    source: ModelSource,
    samples: QuantizationSamples,
    settings: Settings,
) -> None:
    """Let gptqmodel choose the codes, and replace the layers of ``model`` by packed ones, in place.

    Raises
    ------
    InputError
        The model is no causal LM, or ``group_size`` does not divide a layer's inputs.
    QuantizationError
        gptqmodel failed (the end of its output is quoted), or quantized other layers.
    """
    if source.architecture != "causal-lm":
        raise InputError(
            f"gptqmodel quantizes causal language models only, {source.id} is a {source.architecture} model;"
            " leave backend=gptqmodel out of the quantizer's id"
        )
    targets = list(settings.bits)
    (bits,) = set(settings.bits.values())
    check_group_size(model, targets, settings.group_size)
    with tempfile.TemporaryDirectory(prefix="calbench-gptqmodel-") as place:
        folder = Path(place) / "quantized"
        job = {
            "source": source.location,
            "folder": str(folder),
            "samples": samples.token_ids,
            "bits": bits,
            "group_size": settings.group_size,
            "sym": settings.symmetric,
            "damp": settings.damp,
            "skip": [name for name in linears(model) if name not in targets],
        }
        _run(job, Path(place))
        layers = read_gptq_checkpoint(folder)
    if set(layers) != set(targets):
        differing = sorted(set(layers) ^ set(targets))
        raise QuantizationError(
            f"gptqmodel quantized other layers than were meant: {', '.join(differing[:5])}"
        )
    for name in targets:
        old: Any = model.get_submodule(name)
        packed = PackedLinear(
            old.in_features, old.out_features, bits=bits, tensors=layers[name], bias=old.bias
        )
        put(model, name, packed.eval())


def read_gptq_checkpoint(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Read the quantized layers of a folder that gptqmodel or AutoGPTQ wrote.

    Returns
    -------
    dict
        For each layer ``qweight``, ``qzeros``, ``scales`` and ``g_idx``, with zero points as they
        are (the first format stores them less one).

    Raises
    ------
    CorruptRecordError
        There is no readable configuration, or a layer lacks a part.
    """
    config = gptq_settings(folder)
    bits = int(config["bits"])
    layers: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 (no mapping)
                layer, _, part = key.rpartition(".")
                if part in PARTS:
                    layers[layer][part] = tensors.get_tensor(key)
    for name, parts in layers.items():
        if set(parts) != set(PARTS):
            raise CorruptRecordError(
                f"{folder}: the layer {name} has {', '.join(sorted(parts))}, not {', '.join(PARTS)}"
            )
        parts["scales"] = parts["scales"].half()
        if config.get("checkpoint_format", "gptq") == "gptq":
            parts["qzeros"] = _plus_one(parts["qzeros"], bits, parts["scales"].shape[1])
    return dict(layers)


def gptq_settings(folder: Path) -> dict[str, Any]:
    """Read how the GPTQ weights of a folder are stored.

    Raises
    ------
    CorruptRecordError
        Its configuration is missing or describes something else.
    """
    config = quantization_settings(folder)
    if config is None:
        raise CorruptRecordError(
            f"neither config.json nor {folder / 'quantize_config.json'} says how the weights were quantized"
        )
    if config.get("quant_method", "gptq") != "gptq" or not isinstance(config.get("bits"), int):
        raise CorruptRecordError(f"the configuration in {folder} does not describe GPTQ weights")
    return config


def _plus_one(qzeros: torch.Tensor, bits: int, out_features: int) -> torch.Tensor:
    # A zero point of 0 is stored as -1, which wraps around to the largest code.
    zeros = unpack(qzeros.T.contiguous(), bits, out_features).T.long()
    return pack(((zeros + 1) & ((1 << bits) - 1)).T, bits).T.contiguous()


def _visible_cards() -> dict[str, str]:
    """Show gptqmodel no other GPUs than those that models run on: it takes what it sees."""
    name = "CUDA_VISIBLE_DEVICES"
    device, _, index = devices.device().partition(":")
    if device == "cpu":
        return {name: "-1"}
    seen = os.environ.get(name, "").split(",")
    return {name: seen[int(index)] if seen != [""] else index} if index else {}


def _run(job: dict[str, Any], place: Path) -> None:
    description, log = place / "job.json", place / "log.txt"
    description.write_text(json.dumps(job), encoding="utf-8")
    environment = {
        # Without it gptqmodel asks for more workers than a machine with two cores grants.
        "GPTQMODEL_CPU_WORKERS": str(min(2, os.cpu_count() or 1)),
        **os.environ,
        **_visible_cards(),
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("wb") as output:
        done = subprocess.run(  # noqa: S603 (this interpreter and this package)
            [sys.executable, "-m", _WORKER, str(description)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            check=False,
        )
    if done.returncode:
        text = log.read_text(encoding="utf-8", errors="replace")
        lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
        raise QuantizationError(
            f"gptqmodel failed with exit status {done.returncode}; it said last:\n" + "\n".join(lines[-8:])
        )
