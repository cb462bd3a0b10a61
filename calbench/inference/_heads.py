"""The head of a language model, applied to the few positions that are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from calbench.inference._agreement import forward_options
from calbench.inference._methods import device_of

POSITIONS_PER_CALL = 256
# Tokens that the head is checked on.
N_CHECKED = 64


def vocabulary_logits(module: Any) -> Callable[[Any], Any]:
    """Return a function from hidden states ``(n, d)`` to logits ``(n, vocabulary)``.

    It does what the model's own forward pass does after its body: the head, and for the models
    that have them a scale and a soft cap. Those that do more (see :func:`head_stands_alone`) are asked as
    a whole.
    """
    import torch

    head, config = module.get_output_embeddings(), module.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", getattr(config, "logits_soft_cap", None))
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


def head_stands_alone(module: Any, tokens: Sequence[int]) -> bool:
    """Whether the head, given the body's states, says what the model's own forward pass does.

    Both see the same last tokens, in the same shape: what the numbers' precision leaves between
    them is a rounding, whatever the layers' kernels make of a batch.
    """
    import torch

    if module.base_model is module or module.get_output_embeddings() is None:
        return False
    ids = torch.tensor([list(tokens[-N_CHECKED:])], device=device_of(module))
    own = module(input_ids=ids, **forward_options(module)).logits[0]
    try:
        hidden = module.base_model(input_ids=ids, **forward_options(module.base_model)).last_hidden_state
        found = vocabulary_logits(module)(hidden[0]).detach().float().cpu()
    except Exception:  # noqa: BLE001 (of an architecture whose parts are put together otherwise)
        return False
    own = own.detach().float().cpu()
    tolerance = max(1e-4, 4 * torch.finfo(hidden.dtype).eps) * max(1.0, float(own.abs().max()))
    return own.shape == found.shape and float((own - found).abs().max()) <= tolerance
