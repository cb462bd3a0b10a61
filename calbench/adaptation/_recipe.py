"""How an adapter is trained: all of it is part of the adapter's identity."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from calbench.errors import InputError
from calbench.seeds import SEED

Level = Literal["answer", "sequence"]


@dataclass(frozen=True)
class Distillation:
    """What a student learns from a teacher besides the labels.

    The loss is ``alpha · T² · KL(teacher ‖ student) + (1 − alpha) · CE(labels, student)``, both
    distributions softened by the temperature ``T`` in the first term (Hinton et al. 2015).

    Parameters
    ----------
    alpha
        Share of the teacher, from 0 (labels alone) to 1 (teacher alone).
    temperature
        ``T``, above 0.
    level
        ``"answer"``: the distribution over the task's classes. ``"sequence"``: the distribution over
        the whole vocabulary at every token of the prompt, and the label word at its end; for causal
        language models.
    """

    alpha: float = 0.5
    temperature: float = 2.0
    level: Level = "answer"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha={self.alpha}; the teacher's share lies in [0, 1]")
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise InputError(f"temperature={self.temperature}; use a finite number above 0")
        if self.level not in ("answer", "sequence"):
            raise InputError(f"level={self.level!r}; use 'answer' or 'sequence'")


@dataclass(frozen=True)
class Recipe:
    """A LoRA adapter's shape, and the budget it is trained with.

    Parameters
    ----------
    seed
        Of the adapter's first weights, the order of the items and dropout.
    rank, alpha, dropout
        LoRA's; the update is ``alpha / rank · B A`` (Hu et al. 2022).
    targets
        Layers that get an adapter, as runs of whole components of the dotted name (``q_proj``,
        ``layer.0``); empty for every linear layer that the quantizers would quantize.
    epochs, batch_size
        How often each item is seen, and how many at a time; the last batch of an epoch may be smaller.
    learning_rate, warmup, weight_decay, max_grad_norm
        AdamW with a linear warm-up over a share ``warmup`` of the steps and a linear decay to 0.
    evaluations, patience
        The negative log-likelihood on the calibration split is looked at so often, evenly spaced;
        after ``patience`` looks without a new best, training stops. The best adapter is kept.
    distillation
        None for labels alone.
    checkpoint_every
        Steps between two checkpoints; changes no result, and is no part of the identity.
    """

    seed: int = SEED
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    epochs: int = 1
    batch_size: int = 8
    learning_rate: float = 5e-4
    warmup: float = 0.1
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    evaluations: int = 3
    patience: int = 2
    distillation: Distillation | None = None
    checkpoint_every: int = field(default=10, compare=False)

    def __post_init__(self) -> None:
        for name in ("rank", "epochs", "batch_size", "evaluations", "patience", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}; use 1 or more")
        for name in ("alpha", "learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}={getattr(self, name)}; use a number above 0")
        for name in ("dropout", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}; use a share in [0, 1)")

    def identity(self) -> dict[str, Any]:
        """Return all of it that can change the adapter, as plain JSON."""
        values = asdict(self)
        del values["checkpoint_every"]
        return {**values, "targets": list(self.targets)}

    def n_steps(self, n_items: int) -> int:
        """Return how many steps the training takes if it is not stopped early."""
        return self.epochs * math.ceil(n_items / self.batch_size)

    def rate(self, step: int, n_steps: int) -> float:
        """Return the learning rate of a step, counted from 0.

        >>> [round(Recipe(learning_rate=1.0, warmup=0.5).rate(step, 4), 3) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
        """
        n_warmup = max(1, round(self.warmup * n_steps))
        if step < n_warmup:
            return self.learning_rate * (step + 1) / n_warmup
        return self.learning_rate * (n_steps - step) / (n_steps - n_warmup)

    def evaluation_steps(self, n_steps: int) -> tuple[int, ...]:
        """Return after how many steps the calibration split is looked at; the last is always one.

        >>> Recipe(evaluations=3).evaluation_steps(10)
        (3, 7, 10)
        """
        looks = (round(n_steps * (look + 1) / self.evaluations) for look in range(self.evaluations))
        return tuple(sorted({step for step in looks if step > 0}))
