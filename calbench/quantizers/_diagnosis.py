"""What works on this machine: every quantizer is tried on tiny models, and has to prove itself."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from calbench.errors import BackendUnavailableError, CalbenchError, InputError
from calbench.models import ModelSource
from calbench.quantizers import _tiny as tiny
from calbench.quantizers._availability import installed_versions
from calbench.quantizers._build import quantize
from calbench.quantizers._catalogue import get
from calbench.quantizers._protocol import Quantizer

# What calbench can use, and the extra that brings it.
PACKAGES = {
    "torch": "torch",
    "transformers": "torch",
    "bitsandbytes": "bitsandbytes",
    "gptqmodel": "gptq",
    "hqq": "hqq",
    "compressed-tensors": "compressed-tensors",
    "libgguf": "gguf",
    "peft": "embedded",
    "gguf": "embedded",
}

Status = Literal["works", "unavailable", "broken"]


@dataclass(frozen=True)
class Diagnosis:
    """Whether a quantizer works here.

    Parameters
    ----------
    quantizer
        Its canonical id.
    status
        ``"works"``: it quantized a tiny encoder and a tiny decoder and proved it. ``"unavailable"``:
        a package or device is missing; suites skip its cells with the same reason. ``"broken"``: it
        ran and could not prove itself; suites fail.
    reason
        What is wrong, and the remedy; where it works, which kind of model it refuses, if any.
    kernel
        What computes a quantized layer.
    versions
        Of the packages whose version may change its outcome.
    seconds
        Spent trying.
    """

    quantizer: str
    status: Status
    reason: str
    kernel: str
    versions: dict[str, str]
    seconds: float


def diagnose(quantizer_ids: Sequence[str]) -> Iterator[Diagnosis]:
    """Try quantizers one after the other, and yield what was found out about each.

    Raises
    ------
    UnknownNameError, InputError
        An id is unknown or has arguments that cannot be used; nothing is tried then.
    """
    quantizers = [get(quantizer_id) for quantizer_id in quantizer_ids]
    with tempfile.TemporaryDirectory(prefix="calbench-doctor-") as place:
        sources: dict[int, list[ModelSource]] = {}
        for quantizer in quantizers:
            started = time.perf_counter()
            try:
                quantizer.check_available()
                reason = _try(quantizer, Path(place), sources)
                status: Status = "works"
            except BackendUnavailableError as error:
                status, reason = "unavailable", str(error)
            except CalbenchError as error:
                status, reason = "broken", str(error)
            except Exception as error:  # noqa: BLE001 (whatever a backend raises is the finding)
                status, reason = "broken", f"{type(error).__name__}: {error}"
            yield Diagnosis(
                quantizer.id,
                status,
                reason,
                quantizer.kernel,
                installed_versions(quantizer.packages),
                round(time.perf_counter() - started, 2),
            )


def _try(quantizer: Quantizer, place: Path, sources: dict[int, list[ModelSource]]) -> str:
    """Quantize and prove each tiny model; returns why some were refused, if others were not.

    Where both are, as by blocks that do not fit into their rows, wider ones are tried.
    """
    for width in (tiny.WIDTH, tiny.WIDE):
        if width not in sources:
            sources[width] = tiny.write_all(place, width=width)
        refusals = list(filter(None, (_refusal(quantizer, source) for source in sources[width])))
        if len(refusals) < len(sources[width]):
            return "; ".join(map(str, refusals))
    raise refusals[0]


def _refusal(quantizer: Quantizer, source: ModelSource) -> InputError | None:
    samples = tiny.random_samples(quantizer.n_samples) if quantizer.n_samples else None
    try:
        quantize(quantizer, source, samples=samples, probe=tiny.random_samples(8, seed=1).token_ids)
    except InputError as error:
        return error
    return None


def packages() -> dict[str, str]:
    """Version of every package that calbench can use, or what would install it."""
    found = installed_versions(tuple(PACKAGES))
    return {
        name: found.get(name) or f"not installed; pip install 'calbench[{extra}]'"
        for name, extra in PACKAGES.items()
    }
