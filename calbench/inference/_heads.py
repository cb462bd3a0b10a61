"""The head of a language model, applied to the few positions that are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from calbench.errors import InputError

POSITIONS_PER_CALL = 256
# Tokens that the head is checked on.
N_CHECKED = 64


def vocabulary_logits(module: Any) -> Callable[[Any], Any]:
    """Return a function from hidden states ``(n, d)`` to logits ``(n, vocabulary)``.

    It does what the model's own forward pass does after its body: the head, and for the models
    that have them a scale and a soft cap.

    Raises
    ------
    InputError
        The model has no body that could be run without its head.
    """
    import torch

    if module.base_model is module:
        raise InputError(
            f"{type(module).__name__} does not say which part of it comes before its head; calbench cannot"
            " read this model yet"
        )
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


def check_head(module: Any, logits: Callable[[Any], Any], tokens: Sequence[int]) -> None:
    """Compare what is read of the body's states with the model's own forward pass, which may do more.

    Both see the same last tokens, in the same shape: what the numbers' precision leaves between
    them is a rounding, whatever the layers' kernels make of a batch.
    """
    import torch

    ids = torch.tensor([list(tokens[-N_CHECKED:])], device=module.get_input_embeddings().weight.device)
    own = module(input_ids=ids, use_cache=False).logits[0]
    hidden = module.base_model(input_ids=ids, use_cache=False).last_hidden_state
    found, eps = logits(hidden[0]).float().cpu(), torch.finfo(hidden.dtype).eps
    own = own.float().cpu()
    difference = (own - found).abs().max(dim=-1).values
    if float(difference.max()) > max(1e-4, 4 * eps) * max(1.0, float(own.abs().max())):
        at = int(difference.argmax())
        raise InputError(
            f"{type(module).__name__} changes its logits after the head (it says {own[at, :3].tolist()}, the"
            f" head {found[at, :3].tolist()}); calbench cannot read this model yet"
        )


def check_agreement(module: Any, found: Any, own: Any, *, largest: float = 1.0) -> None:
    """Compare what was read of a batch with what the model says to one of its rows, asked alone.

    Float32 stays within 2e-5. Kernels of 16-bit and of quantized layers depend on the batch's shape:
    bfloat16 changed log-probabilities by 0.26, bitsandbytes' int8 by 0.43, where the largest logit,
    ``largest``, was about 20. A mask that is not heeded shows with the full-precision model first.
    """
    import torch

    own, found = own.float().cpu(), found.float().cpu()
    kinds = {tensor.dtype for tensor in (*module.parameters(), *module.buffers())}
    exact = kinds <= {torch.float32, torch.float64, torch.bool, torch.int64}
    # Rounded keys and values make a step of the last digit: 1e-6 of the input moved a logit by 1.9 at int4.
    exact = exact and not getattr(module, "rounds_states", False)
    scale = max(1.0, float(own.abs().max()))
    tolerance = 1e-3 * scale if exact else 0.05 * max(scale, largest)
    if float((own - found).abs().max()) > tolerance:
        raise InputError(
            f"{type(module).__name__} answers otherwise in a batch ({found.tolist()}) than alone"
            f" ({own.tolist()}); calbench cannot read this model yet"
        )
