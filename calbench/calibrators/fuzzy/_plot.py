"""A picture of a fuzzy fit: where its regions lie, and what it does to each class's probability."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from calbench.calibrators._array_ops import NUMPY
from calbench.calibrators.fuzzy._calibrator import FittedFuzzy
from calbench.errors import BackendUnavailableError, InputError

_POINTS = 201


def plot_fuzzy(fitted: FittedFuzzy, path: str | Path | None = None, *, class_index: int = 0) -> Any:
    """Draw the memberships and the learned map of one class.

    Left the normalised memberships of the five regions over the probability; right the calibrated
    probability of the class if the rest of the mass lies evenly on the other classes, with the
    diagonal for comparison.

    Parameters
    ----------
    fitted
        A fit of ``fuzzy`` or ``fuzzy_int4``.
    path
        Where to save the picture; the suffix chooses the format.
    class_index
        The class, from 0.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        There is no such class.
    BackendUnavailableError
        matplotlib is not installed.
    """
    k = fitted.n_classes or 0
    if not 0 <= class_index < k:
        raise InputError(f"class_index is {class_index}; the fit has classes 0 to {k - 1}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendUnavailableError("plotting needs matplotlib; pip install matplotlib") from error
    p = np.linspace(0, 1, _POINTS + 2)[1:-1]
    rows = np.repeat(((1 - p) / (k - 1))[:, None], k, axis=1)
    rows[:, class_index] = p
    gates = fitted.gates(NUMPY, np.log(rows))
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, gate in enumerate(gates):
        left.plot(p, gate[:, min(class_index, gate.shape[1] - 1)], label=f"region {number + 1}")
    left.set(xlabel="probability", ylabel="membership", title=f"memberships, class {class_index}")
    left.legend()
    right.plot([0, 1], [0, 1], color="0.7", linestyle="--")
    right.plot(p, fitted(np.log(rows))[:, class_index])
    right.set(xlabel="probability", ylabel="calibrated", title=f"learned map, class {class_index}")
    if path is not None:
        figure.savefig(path)
    return figure
