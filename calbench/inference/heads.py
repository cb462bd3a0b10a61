"""The head of a language model, applied to the few positions that are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calbench.errors import InputError

POSITIONS_PER_CALL = 256


def vocabulary_logits(module: Any) -> Callable[[Any], Any]:
    """Return a function from hidden states ``(n, d)`` to logits ``(n, vocabulary)``.

    It does what the model's own forward pass does after its body: the head, and for the models
    that have them a scale and a soft cap.
    """
    import torch

    head, config = module.get_output_embeddings(), module.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None)
    divisor = getattr(config, "logits_scaling", None)

    def logits(hidden: Any) -> Any:
        values = head(hidden)
        if scale is not None:
            values = values * scale
        if divisor is not None:
            values = values / divisor
        values = values if cap is None else cap * torch.tanh(values / cap)
        # The head of a model that is divided over GPUs may lie on another one than its last block.
        return values.to(hidden.device)

    return logits


def log_probs_of(logits: Callable[[Any], Any], hidden: Any, wanted: Any) -> Any:
    """Log-probability of one token at each position, ``(n,)`` float32.

    ``hidden`` is ``(n_positions, d)``; ``wanted`` ``(n, 2)`` holds a position and a token per row.
    The vocabulary is spread out for a few hundred positions at a time.
    """
    import torch

    wanted = wanted.to(hidden.device)
    found = torch.empty(len(wanted), dtype=torch.float32, device=hidden.device)
    for start in range(0, len(hidden), POSITIONS_PER_CALL):
        # torch's logsumexp takes six times as long as this on a CPU, more than the head itself.
        values = logits(hidden[start : start + POSITIONS_PER_CALL]).float().log_softmax(dim=-1)
        here = (wanted[:, 0] >= start) & (wanted[:, 0] < start + POSITIONS_PER_CALL)
        positions, tokens = wanted[here, 0] - start, wanted[here, 1]
        found[here] = values[positions, tokens]
    return found


def check_agreement(module: Any, found: Any, own: Any) -> None:
    """Compare what was read with the model's own forward pass, which may do more after the head."""
    own, found = own.cpu(), found.cpu()
    if float((own - found).abs().max()) > 0.05 * max(1.0, float(own.abs().max())):
        raise InputError(
            f"{type(module).__name__} changes its logits after the head (it says {own.tolist()}, the head"
            f" {found.tolist()}); calbench cannot read this model yet"
        )
