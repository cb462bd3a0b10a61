"""calbench: does calibration survive quantization?

Importing this package imports no other package: every name below loads when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MEMBERS = {
    "CalbenchError": "calbench.errors",
    "Predictions": "calbench.records",
    "TopLabelPredictions": "calbench.records",
    "metric": "calbench.metrics",
    "calibrator": "calbench.calibrators",
    "quantizer": "calbench.quantizers",
    "task": "calbench.tasks",
    "model": "calbench.models",
    "grid": "calbench.pytest_plugin",
    "compare": "calbench.gates",
    "transfer": "calbench.gates",
}
_SUBPACKAGES = (
    "adaptation",
    "calibrators",
    "errors",
    "gates",
    "interchange",
    "metrics",
    "models",
    "quantizers",
    "records",
    "report",
    "runs",
    "statistics",
    "store",
    "studies",
    "tasks",
    "testing",
)

if TYPE_CHECKING:
    from calbench.calibrators import calibrator as calibrator
    from calbench.errors import CalbenchError as CalbenchError
    from calbench.gates import compare as compare
    from calbench.gates import transfer as transfer
    from calbench.metrics import metric as metric
    from calbench.models import model as model
    from calbench.pytest_plugin import grid as grid
    from calbench.quantizers import quantizer as quantizer
    from calbench.records import Predictions as Predictions
    from calbench.records import TopLabelPredictions as TopLabelPredictions
    from calbench.tasks import task as task

__all__ = ["__version__", *_MEMBERS, *_SUBPACKAGES]  # noqa: PLE0604 (names, gathered once above)


def __getattr__(name: str) -> Any:
    if name in _MEMBERS:
        value = getattr(importlib.import_module(_MEMBERS[name]), name)
    elif name in _SUBPACKAGES:
        value = importlib.import_module(f"calbench.{name}")
    else:
        raise AttributeError(f"module 'calbench' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
