"""A training that was interrupted: its state on disk, from which it goes on as if nothing had happened.

The order of the items, dropout and the learning rate are functions of the step, so that the state
is the adapter, the optimizer's two moments per weight, and what early stopping remembers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calbench.quantizers import verify_checkpoint, write_checkpoint

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_TENSORS, _STATE = "state.safetensors", "state.json"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class TrainingState:
    """How far a training is.

    Attributes
    ----------
    step
        Steps done.
    losses
        Of each step.
    looks
        Steps at which the calibration split was looked at, and its negative log-likelihood there.
    best
        The adapter at the look with the smallest one.
    seconds
        Spent so far, interruptions left out.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    looks: list[tuple[int, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def best_look(self) -> tuple[int, float]:
        """Step and value of the best look; the earliest of equals."""
        return min(self.looks, key=lambda look: (look[1], look[0]))

    def stale(self, patience: int) -> bool:
        """Whether the last ``patience`` looks brought nothing better."""
        if not self.looks:
            return False
        since = [step for step, _ in self.looks if step > self.best_look[0]]
        return len(since) >= patience


def save_state(
    folder: Path,
    state: TrainingState,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    identity: Mapping[str, Any],
) -> None:
    """Write a checkpoint in one step, then remove the ones before it."""
    from safetensors.torch import save_file

    tensors = {f"adapter/{name}": p.detach() for name, p in parameters.items()}
    tensors |= {f"best/{name}": tensor for name, tensor in state.best.items()}
    for name, parameter in parameters.items():
        tensors |= {f"{moment}/{name}": optimizer.state[parameter][moment] for moment in _MOMENTS}
    plain = {
        "step": state.step,
        "losses": state.losses,
        "looks": state.looks,
        "seconds": state.seconds,
    }

    def save(place: Path) -> None:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, place / _TENSORS)
        (place / _STATE).write_text(json.dumps(plain), encoding="utf-8")

    folder.mkdir(parents=True, exist_ok=True)
    earlier = _steps(folder)
    write_checkpoint(
        folder / f"step-{state.step:06}", save, facts=identity, tensors_hash="", seconds=state.seconds
    )
    for _, old in earlier:
        shutil.rmtree(old)


def load_state(
    folder: Path,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    identity: Mapping[str, Any],
) -> TrainingState:
    """Read the last checkpoint into the parameters and the optimizer; without one, start at step 0.

    Raises
    ------
    CorruptRecordError
        The checkpoint differs from what was written.
    """
    import torch
    from safetensors.torch import load_file

    found = _steps(folder)
    if not found:
        return TrainingState()
    _, place = found[-1]
    verify_checkpoint(place, facts=identity)
    tensors = load_file(place / _TENSORS)
    plain = json.loads((place / _STATE).read_text(encoding="utf-8"))
    for name, parameter in parameters.items():
        parameter.data.copy_(tensors[f"adapter/{name}"])
        optimizer.state[parameter] = {
            "step": torch.tensor(float(plain["step"]), device="cpu"),  # where AdamW keeps it
            **{moment: tensors[f"{moment}/{name}"].to(parameter.device, copy=True) for moment in _MOMENTS},
        }
    best = {
        name.removeprefix("best/"): tensor for name, tensor in tensors.items() if name.startswith("best/")
    }
    looks = [(int(step), float(value)) for step, value in plain["looks"]]
    return TrainingState(plain["step"], plain["losses"], looks, best, plain["seconds"])


def forget(folder: Path) -> None:
    """Remove the checkpoints of a training that is done."""
    shutil.rmtree(folder, ignore_errors=True)


def _steps(folder: Path) -> list[tuple[int, Path]]:
    return sorted((int(path.name.removeprefix("step-")), path) for path in folder.glob("step-*"))
