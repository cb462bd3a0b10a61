"""The few array operations that fitted formulas are written in, so that each is written once.

A formula ``formula(ops, z)`` runs on numpy here, and on torch in
:mod:`calbench.calibrators._export`: what is deployed is the formula that was measured.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from calbench.records import softmax

# Below every float32, above -inf: what separates a logit from padding.
LOWEST = -1e300


class Ops(Protocol):
    """Operations on ``(n, k)`` float64 arrays; arithmetic, comparison and indexing are the operators."""

    def constant(self, name: str, values: npt.ArrayLike) -> Any:
        """Return parameters as an array of this backend; ``name`` is kept in exports."""
        ...

    def softmax(self, z: Any) -> Any:
        """Softmax over the last axis; ``-inf`` gives exactly 0."""
        ...

    def exp(self, x: Any) -> Any:
        """Exponential."""
        ...

    def log(self, x: Any) -> Any:
        """Natural logarithm; 0 gives ``-inf``."""
        ...

    def tanh(self, x: Any) -> Any:
        """Hyperbolic tangent."""
        ...

    def minimum(self, a: Any, b: Any) -> Any:
        """Elementwise minimum."""
        ...

    def maximum(self, a: Any, b: Any) -> Any:
        """Elementwise maximum."""
        ...

    def where(self, mask: Any, a: Any, b: Any) -> Any:
        """Elementwise choice; ``a`` and ``b`` may be Python numbers."""
        ...

    def sum(self, x: Any) -> Any:
        """Sum over the last axis, which is kept with length 1."""
        ...

    def max(self, x: Any) -> Any:
        """Maximum over the last axis, which is kept with length 1."""
        ...

    def top(self, x: Any, k: int) -> Any:
        """Return the ``k`` largest of each row, largest first."""
        ...

    def is_top(self, x: Any) -> Any:
        """Mask of each row's largest entry; the first wins a tie."""
        ...

    def concat(self, parts: list[Any]) -> Any:
        """Join along the last axis."""
        ...

    def bucket(self, x: Any, edges: Any) -> Any:
        """How many of the sorted ``edges`` (m,) lie strictly below each entry; an integer array."""
        ...


class NumpyOps:
    """:class:`Ops` on numpy."""

    def constant(self, name: str, values: npt.ArrayLike) -> Any:  # noqa: ARG002 (for exports)
        return np.asarray(values, dtype=np.float64)

    def softmax(self, z: Any) -> Any:
        return softmax(z)

    def exp(self, x: Any) -> Any:
        return np.exp(x)

    def log(self, x: Any) -> Any:
        with np.errstate(divide="ignore"):
            return np.log(x)

    def tanh(self, x: Any) -> Any:
        return np.tanh(x)

    def minimum(self, a: Any, b: Any) -> Any:
        return np.minimum(a, b)

    def maximum(self, a: Any, b: Any) -> Any:
        return np.maximum(a, b)

    def where(self, mask: Any, a: Any, b: Any) -> Any:
        return np.where(mask, a, b)

    def sum(self, x: Any) -> Any:
        return np.sum(x, axis=-1, keepdims=True)

    def max(self, x: Any) -> Any:
        return np.max(x, axis=-1, keepdims=True)

    def top(self, x: Any, k: int) -> Any:
        width = x.shape[-1]
        part = np.partition(x, width - k, axis=-1)[..., width - k :] if k < width else x
        return -np.sort(-part, axis=-1)

    def is_top(self, x: Any) -> Any:
        return np.arange(x.shape[-1]) == np.argmax(x, axis=-1)[..., None]

    def concat(self, parts: list[Any]) -> Any:
        return np.concatenate(parts, axis=-1)

    def bucket(self, x: Any, edges: Any) -> Any:
        return np.searchsorted(edges, x, side="left")


NUMPY = NumpyOps()


def finite(z: Any) -> Any:
    """Mask of the options that an item has."""
    return z > LOWEST


def log_softmax(ops: Ops, z: Any) -> Any:
    """Log-probabilities; ``-inf`` stays ``-inf``."""
    shifted = z - ops.max(z)
    return shifted - ops.log(ops.sum(ops.exp(shifted)))


def filled(ops: Ops, z: Any, value: float = 0.0) -> Any:
    """Replace padding by a number that arithmetic survives."""
    return ops.where(finite(z), z, value)


def centred(ops: Ops, z: Any) -> tuple[Any, Any]:
    r"""Logits less their mean over the options that an item has, and the norm of that.

    Padding counts neither in the mean nor in the norm and stays ``-inf``.
    """
    present = finite(z)
    count = ops.sum(ops.where(present, 1.0, 0.0))
    shifted = z - ops.sum(ops.where(present, z, 0.0)) / count
    known = ops.where(present, shifted, 0.0)
    return shifted, ops.sum(known * known) ** 0.5


def sigmoid(ops: Ops, x: Any) -> Any:
    """1 / (1 + e⁻ˣ), without overflow and exact in the left tail."""
    return ops.exp(ops.minimum(x, 0.0)) / (1 + ops.exp(-ops.maximum(x, -x)))


def softplus(ops: Ops, x: Any) -> Any:
    """log(1 + eˣ), without overflow."""
    return ops.maximum(x, 0.0) + ops.log(1 + ops.exp(-ops.maximum(x, -x)))
