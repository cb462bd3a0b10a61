"""calbench: does calibration survive quantization?

Importing this package imports no other package: every name below loads when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from calbench._version import __version__ as __version__

_MEMBERS = {
    "CalbenchError": "calbench.errors",
    "Predictions": "calbench.records",
    "TopLabelPredictions": "calbench.records",
    "calibrator": "calbench.calibrators",
    "compare": "calbench.gates",
    "evaluate": "calbench.gates",
    "grid": "calbench.pytest_plugin",
    "metric": "calbench.metrics",
    "model": "calbench.models",
    "quantizer": "calbench.quantizers",
    "task": "calbench.tasks",
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
__all__ = ["__version__", *_MEMBERS, *_SUBPACKAGES]  # noqa: PLE0604 (names, gathered once above)

if TYPE_CHECKING:
    from calbench import adaptation as adaptation
    from calbench import calibrators as calibrators
    from calbench import errors as errors
    from calbench import gates as gates
    from calbench import interchange as interchange
    from calbench import metrics as metrics
    from calbench import models as models
    from calbench import quantizers as quantizers
    from calbench import records as records
    from calbench import report as report
    from calbench import runs as runs
    from calbench import statistics as statistics
    from calbench import store as store
    from calbench import studies as studies
    from calbench import tasks as tasks
    from calbench import testing as testing
    from calbench.calibrators import calibrator as calibrator
    from calbench.errors import CalbenchError as CalbenchError
    from calbench.gates import compare as compare
    from calbench.gates import evaluate as evaluate
    from calbench.gates import transfer as transfer
    from calbench.metrics import metric as metric
    from calbench.models import model as model
    from calbench.pytest_plugin import grid as grid
    from calbench.quantizers import quantizer as quantizer
    from calbench.records import Predictions as Predictions
    from calbench.records import TopLabelPredictions as TopLabelPredictions
    from calbench.tasks import task as task
else:  # or a type checker would believe that any name is here

    def __getattr__(name: str) -> object:
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
