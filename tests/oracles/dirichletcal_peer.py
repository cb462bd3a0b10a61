"""dirichletcal's regression with the objective that calbench minimises."""

from __future__ import annotations

from typing import Any

import pytest


def regression(name: str) -> Any:
    """Return dirichletcal's unfitted regression for ``affine``, ``matrix`` or ``dirichlet`` at λ = μ = 1."""
    multinomial = pytest.importorskip(
        "dirichletcal.calib.multinomial", reason="dirichletcal needs Python 3.12 or newer"
    )
    penalty = {} if name == "affine" else {"reg_lambda": 1.0, "reg_mu": 1.0, "reg_norm": True}
    method = "Diag" if name == "affine" else "Full"
    return multinomial.MultinomialRegression(method=method, ref_row=False, **penalty)
