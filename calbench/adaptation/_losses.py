"""What training minimizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calbench.inference import at_last_token

if TYPE_CHECKING:
    from torch import Tensor


def divergence(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    r"""KL(teacher ‖ student) of each row of logits, in nats, both softened by a temperature.

    Range [0, ∞); 0 if the two agree. Options that the teacher rules out (``-inf``) add nothing.

    Parameters
    ----------
    student, teacher : (..., k)
        Logits.

    Returns
    -------
    Tensor
        ``(...)``.

    Examples
    --------
    >>> import torch
    >>> z = torch.tensor([[1.0, 2.0]])
    >>> divergence(z, z + 3).abs().max().item() < 1e-6
    True
    """
    import torch

    p = torch.log_softmax(teacher / temperature, dim=-1)
    q = torch.log_softmax(student / temperature, dim=-1)
    terms = (p.exp() * (p - q)).masked_fill(p == -torch.inf, 0.0)
    return terms.sum(dim=-1)


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, *, alpha: float, temperature: float
) -> Tensor:
    r"""Learn a teacher's distribution and the labels.

    .. math:: \alpha T^2 \, \overline{KL(p_T \,\|\, q_T)} + (1 - \alpha) \, \overline{-\log q_{y}}

    where :math:`p_T, q_T` are the softmax of the logits over :math:`T`, and the bar is the mean over
    the batch. :math:`T^2` keeps the two gradients' sizes comparable.

    Parameters
    ----------
    student, teacher : (n, k)
        Logits over classes or options.
    labels : (n,) int
        Right classes.

    References
    ----------
    Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network" (2015).
    """
    from torch.nn import functional

    soft = divergence(student, teacher, temperature=temperature).mean()
    return alpha * temperature**2 * soft + (1 - alpha) * functional.cross_entropy(student, labels)


def sequence_distillation_loss(
    student: Tensor, teacher: Tensor, mask: Tensor, words: Tensor, *, alpha: float, temperature: float
) -> Tensor:
    r"""Learn a teacher's distribution over the vocabulary at every token, and the label word at the end.

    The formula is that of :func:`distillation_loss`; its first mean is over all real tokens of the
    batch, its second over the last token of each row.

    Parameters
    ----------
    student, teacher : (n, t, v)
        Logits over the vocabulary.
    mask : (n, t)
        1 for a token, 0 for padding, which is on the right.
    words : (n,) int
        Token id of each row's right label word.
    """
    from torch.nn import functional

    each = divergence(student, teacher, temperature=temperature)
    soft = (each * mask).sum() / mask.sum()
    last = functional.cross_entropy(at_last_token(student, mask), words)
    return alpha * temperature**2 * soft + (1 - alpha) * last
