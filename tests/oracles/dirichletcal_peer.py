"""dirichletcal's regression with the objective that calbench minimises, on today's libraries."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest


def regression(name: str) -> Any:
    """Return dirichletcal's unfitted regression for ``affine``, ``matrix`` or ``dirichlet`` at λ = μ = 1.

    dirichletcal 0.3 was written for older jax, numpy and scipy; what they dropped is put back.
    """
    jax = pytest.importorskip("jax", reason="dirichletcal needs jax")
    import numpy as np
    import scipy.linalg

    config = types.ModuleType("jax.config")
    config.config = jax.config
    sys.modules.setdefault("jax.config", config)
    vars(np)["float"] = float
    vars(scipy.linalg)["pinv2"] = scipy.linalg.pinv
    multinomial = pytest.importorskip(
        "dirichletcal.calib.multinomial", reason="dirichletcal is not installed"
    )
    binarize = multinomial.label_binarize
    if not getattr(binarize, "adapted", False):

        def label_binarize(y: Any, classes: Any) -> Any:
            return binarize(y, classes=classes)

        label_binarize.adapted = True
        multinomial.label_binarize = label_binarize
    penalty = {} if name == "affine" else {"reg_lambda": 1.0, "reg_mu": 1.0, "reg_norm": True}
    method = "Diag" if name == "affine" else "Full"
    return multinomial.MultinomialRegression(method=method, ref_row=False, **penalty)
