"""Where models run: what ``$CALBENCH_DEVICE`` says, in this process and those that it starts.

The options of both surfaces set it. Torch is imported only where a GPU has to be looked for.
"""

from __future__ import annotations

import os
import re
import runpy
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from calbench.errors import BackendUnavailableError, InputError

ENVIRONMENT_VARIABLE = "CALBENCH_DEVICE"
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def wanted() -> str:
    """Return what was asked for: ``"auto"`` (the default), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Raises
    ------
    InputError
        The variable holds something else.
    """
    return _checked(os.environ.get(ENVIRONMENT_VARIABLE) or "auto", f"${ENVIRONMENT_VARIABLE}")


def choose(device: str) -> None:
    """Ask for a device, here and in every process that is started from here.

    Raises
    ------
    InputError
        There is no device of that name.
    """
    os.environ[ENVIRONMENT_VARIABLE] = _checked(device, "device")


def kind() -> str:
    """Return the kind of device that models run on: ``"cpu"`` or ``"cuda"``.

    It is part of the identity of each record and adapter, for another kind rounds otherwise. A device
    that was named is taken at its word, so that records of a GPU can be replayed without one.
    """
    asked = wanted()
    if asked == "auto":
        return "cuda" if _sees_cuda() else "cpu"
    return asked.partition(":")[0]


def device() -> str:
    """Return the device that models are loaded on, as torch names it.

    Raises
    ------
    BackendUnavailableError
        A GPU was asked for and is not here.
    """
    asked = wanted()
    if asked == "auto":
        return kind()
    if asked != "cpu":
        _check_cuda(asked)
    return asked


def describe() -> str:
    """Say which device would be used, and why."""
    asked = wanted()
    try:
        found = device()
    except BackendUnavailableError as error:
        return f"none: {error}"
    chosen = f"{ENVIRONMENT_VARIABLE}={asked}"
    if found == "cpu":
        return f"cpu ({chosen})" if asked == "cpu" else f"cpu ({chosen}: torch sees no CUDA device)"
    import torch

    return f"{found} ({chosen}: {torch.cuda.get_device_name(torch.device(found))})"


def card_names(module: Any) -> list[str]:
    """Return the names of the GPUs that hold a model's weights; none for a model on the CPU."""
    import torch

    cards = {parameter.device for parameter in module.parameters() if parameter.device.type == "cuda"}
    return [torch.cuda.get_device_name(card) for card in sorted(cards, key=str)]


def seeded_cards() -> list[int]:
    """Return the GPUs whose generators ``torch.manual_seed`` would change: what ``fork_rng`` has to keep."""
    import torch

    started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return list(range(torch.cuda.device_count())) if started else []


def _checked(text: str, where: str) -> str:
    if not _DEVICE.fullmatch(text):
        raise InputError(f"{where} is {text!r}; use auto, cpu, cuda, or cuda:N for one of several GPUs")
    return text


def _check_cuda(asked: str) -> None:
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailableError("models need torch; pip install 'calbench[torch]'") from error
    if not torch.cuda.is_available():
        raise BackendUnavailableError(
            f"the device {asked!r} is not here: torch {torch.__version__} sees no CUDA device; install a"
            " torch that was built for CUDA and the GPU's driver, or choose cpu or auto where the device was"
            f" named (or in {ENVIRONMENT_VARIABLE})"
        )
    n_cards = torch.cuda.device_count()
    if int(asked.partition(":")[2] or 0) >= n_cards:
        raise BackendUnavailableError(
            f"the device {asked!r} is not here: torch sees {n_cards}, cuda:0 to cuda:{n_cards - 1}"
        )


def _sees_cuda() -> bool:
    if "torch" not in sys.modules and not _built_for_gpus():
        return False  # replaying stored records need not import torch
    import torch

    return torch.cuda.is_available()


@cache
def _built_for_gpus() -> bool:
    """Whether the installed torch, which is not imported, was built with CUDA or ROCm."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return False
    built = runpy.run_path(str(Path(found.origin).with_name("version.py")))
    return any(built.get(name) is not None for name in ("cuda", "hip"))
