"""Synthetic logits of an overconfident model, and the real ones that the tests may read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calbench.records import softmax

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def overconfident(n=500, k=3, *, seed=0, temperature=2.0, padded=False):
    """Logits ``(n, k)`` and labels drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n, k))
    if padded:
        logits[::3, -1] = -np.inf
    labels = np.array([rng.choice(k, p=p) for p in softmax(logits / temperature)])
    return logits, labels


def nll(probs, labels):
    """Mean negative log-likelihood, written out once more."""
    return -np.log(probs[np.arange(len(labels)), labels]).mean()


def cifar10(part):
    """ResNet-50 logits and labels, ``part`` being ``val_0.1`` or ``test_0.9``."""
    torch = pytest.importorskip("torch", reason="the CIFAR-10 logits are a torch file")
    path = SHARED / "cifar10_resnet50_logits" / f"resnet50_cifar10_cross_entropy_{part}_vanilla.pt"
    if not path.is_file():
        pytest.skip("the CIFAR-10 logits (Linwei94/calibrator) are not here")
    logits, labels = torch.load(path, weights_only=True, map_location="cpu")
    return logits.numpy(), labels.numpy()


def finite_differences(function, x, step=1e-6):
    """Central differences of a function of ``x`` (value, gradient, ...): the gradient of its value."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        gradient[i] = (function(up)[0] - function(down)[0]) / (2 * step)
    return gradient
