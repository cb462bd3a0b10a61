"""A probe: a few texts whose logits show that two models are not the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from calbench.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn


def probe_logits(model: nn.Module, probe: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits ``(n_probe, k)`` in float64: of the head, or of a causal LM after the last token.

    Each text runs alone, so that neither padding nor the batch's composition plays a part.
    """
    import torch

    device = next(model.parameters()).device
    rows = []
    with torch.inference_mode():
        for ids in probe:
            row = torch.tensor([list(ids)], device=device)
            logits = model(input_ids=row, attention_mask=torch.ones_like(row)).logits
            rows.append((logits[:, -1] if logits.ndim == 3 else logits)[0].cpu().double())
    return torch.stack(rows)


def check_probe(probe: Sequence[Sequence[int]]) -> None:
    """Raise :class:`InputError` unless there are texts and all have tokens."""
    if not len(probe) or not all(len(ids) for ids in probe):
        raise InputError("the probe is empty; pass the token ids of a dozen texts of the task")


def kl_divergence(reference: torch.Tensor, other: torch.Tensor) -> float:
    """Mean KL(reference ‖ other) over rows of logits, in nats."""
    import torch

    p, q = torch.log_softmax(reference, dim=-1), torch.log_softmax(other, dim=-1)
    return float((p.exp() * (p - q)).sum(dim=-1).mean().clamp_min(0))
