"""The two forms of the fuzzy-gated affine map, with gradients by hand; arrays are class-first, ``(k, n)``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from calbench.records import Bool, Float64

N_REGIONS = 5
BOUNDS = {"centre": (0.0, 1.0), "log_width": (float(np.log(0.02)), 0.0), "affine": (-50.0, 50.0)}


class FuzzyModel(Protocol):
    """A parameterisation: parameters as one vector ``(m,)``, and the map it stands for."""

    def start(self, temperature: float) -> Float64:
        """Parameters at which the map is softmax(log p / T)."""
        ...

    def bounds(self) -> list[tuple[float, float]]:
        """Lowest and highest value of each parameter."""
        ...

    def neutral(self) -> Float64:
        """Parameters of the identity map, what the weak pull is towards."""
        ...

    def is_affine(self) -> Bool:
        """Mask of the parameters that are slopes and biases, not memberships."""
        ...

    def forward(self, x: Float64, log_probs: Float64) -> Float64:
        """Scores ``(k, n)`` of log-probabilities ``(k, n)``; keeps what ``backward`` needs."""
        ...

    def backward(self, gradient: Float64) -> Float64:
        """Gradient by the parameters, from that by the last scores."""
        ...


def normalised(exponents: Float64) -> Float64:
    """Softmax over the first axis, regions: Gaussian memberships that sum to one."""
    exponents -= exponents.max(axis=0)
    np.exp(exponents, out=exponents)
    exponents /= exponents.sum(axis=0)
    return exponents


@dataclass
class LabelWise:
    """u_k = Σ_r μ_kr(p_k) (a_kr log p_k + b_kr); parameters ``(4, r, k)``: centre, log width, a, b."""

    n_classes: int

    def start(self, temperature: float) -> Float64:
        """Evenly spaced regions, and 1/T as the slope in each."""
        return self._parameters(1 / temperature)

    def neutral(self) -> Float64:
        """Evenly spaced regions, and the identity in each."""
        return self._parameters(1.0)

    def _parameters(self, slope: float) -> Float64:
        centre, log_width, a, b = np.zeros((4, N_REGIONS, self.n_classes))
        centre += even_centres()[:, None]
        log_width += np.log(even_width())
        a += slope
        return np.concatenate([part.ravel() for part in (centre, log_width, a, b)])

    def bounds(self) -> list[tuple[float, float]]:
        """Centres in [0, 1], widths in [0.02, 1]."""
        size = N_REGIONS * self.n_classes
        return [BOUNDS[name] for name in ("centre", "log_width", "affine", "affine") for _ in range(size)]

    def is_affine(self) -> Bool:
        """Mask of a and b."""
        return np.repeat([False, False, True, True], N_REGIONS * self.n_classes)

    def unpack(self, x: Float64) -> Float64:
        """Centre, log width, a, b: ``(4, r, k)``."""
        return x.reshape(4, N_REGIONS, self.n_classes)

    def forward(self, x: Float64, log_probs: Float64) -> Float64:
        """Scores."""
        centre, log_width, a, b = self.unpack(x)[..., None]
        precision = np.exp(-2 * log_width)
        away = np.exp(log_probs) - centre
        squares = away * away * precision
        gates = normalised(-0.5 * squares)
        parts = a * log_probs + b
        scores: Float64 = np.einsum("rkn,rkn->kn", gates, parts)
        self._kept = log_probs, away * precision, squares, gates, parts - scores
        return scores

    def backward(self, gradient: Float64) -> Float64:
        """Gradient."""
        log_probs, pull, squares, gates, apart = self._kept
        by_part = gates * gradient
        by_exponent = by_part * apart
        return np.concatenate(
            [
                np.einsum("rkn,rkn->rk", by_exponent, pull).ravel(),
                np.einsum("rkn,rkn->rk", by_exponent, squares).ravel(),
                np.einsum("rkn,kn->rk", by_part, log_probs).ravel(),
                by_part.sum(axis=-1).ravel(),
            ]
        )


@dataclass
class MatrixWise:
    """u = Σ_r μ_r(max p) (W_r log p + b_r); parameters: centre ``(r,)``, log width, W ``(r, k, k)``, b."""

    n_classes: int

    def start(self, temperature: float) -> Float64:
        """Evenly spaced regions, and 1/T times the identity in each."""
        return self._parameters(1 / temperature)

    def neutral(self) -> Float64:
        """Evenly spaced regions, and the identity in each."""
        return self._parameters(1.0)

    def _parameters(self, slope: float) -> Float64:
        k = self.n_classes
        widths = np.full(N_REGIONS, np.log(even_width()))
        identities = np.tile(slope * np.eye(k), (N_REGIONS, 1, 1))
        return np.concatenate([even_centres(), widths, identities.ravel(), np.zeros(N_REGIONS * k)])

    def bounds(self) -> list[tuple[float, float]]:
        """Centres in [0, 1], widths in [0.02, 1]."""
        rest = N_REGIONS * self.n_classes * (self.n_classes + 1)
        return [BOUNDS["centre"]] * N_REGIONS + [BOUNDS["log_width"]] * N_REGIONS + [BOUNDS["affine"]] * rest

    def is_affine(self) -> Bool:
        """Mask of W and b."""
        return np.arange(len(self.neutral())) >= 2 * N_REGIONS

    def unpack(self, x: Float64) -> tuple[Float64, Float64, Float64, Float64]:
        """Centre ``(r,)``, log width ``(r,)``, W ``(r, k, k)``, b ``(r, k)``."""
        r, k = N_REGIONS, self.n_classes
        centre, log_width, weights, bias = np.split(x, [r, 2 * r, 2 * r + r * k * k])
        return centre, log_width, weights.reshape(r, k, k), bias.reshape(r, k)

    def forward(self, x: Float64, log_probs: Float64) -> Float64:
        """Scores."""
        centre, log_width, weights, bias = self.unpack(x)
        precision = np.exp(-2 * log_width)[:, None]
        away = np.exp(log_probs.max(axis=0)) - centre[:, None]
        squares = away * away * precision
        gates = normalised(-0.5 * squares)
        parts = weights @ log_probs + bias[..., None]
        scores: Float64 = np.einsum("rn,rkn->kn", gates, parts)
        self._kept = log_probs, away * precision, squares, gates, parts - scores
        return scores

    def backward(self, gradient: Float64) -> Float64:
        """Gradient."""
        log_probs, pull, squares, gates, apart = self._kept
        by_part = gates[:, None] * gradient
        by_exponent = np.einsum("rkn,rkn->rn", by_part, apart)
        return np.concatenate(
            [
                np.einsum("rn,rn->r", by_exponent, pull),
                np.einsum("rn,rn->r", by_exponent, squares),
                (by_part @ log_probs.T).ravel(),
                by_part.sum(axis=-1).ravel(),
            ]
        )


def even_centres() -> Float64:
    """Middles of equal shares of [0, 1]."""
    return (np.arange(N_REGIONS) + 0.5) / N_REGIONS


def even_width() -> float:
    """Standard deviation at which neighbouring regions overlap at half of their height or so."""
    return 0.5 / N_REGIONS * 1.5
