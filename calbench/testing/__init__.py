"""Conformance checks for one's own components, to be called from one's own tests.

from calbench.testing import check_calibrator, check_metric, check_quantizer, check_task

def test_my_method_keeps_the_rules():
    check_calibrator("my-method")

def test_my_metric_keeps_the_rules():
    check_metric("my-metric")

def test_my_backend_keeps_the_rules():
    check_quantizer("my-backend[bits=4]")

def test_my_task_keeps_the_rules():
    check_task("my-task")
"""

from calbench.testing._calibrators import check_calibrator
from calbench.testing._metrics import check_metric
from calbench.testing._quantizers import check_quantizer
from calbench.testing._tasks import check_task

__all__ = ["check_calibrator", "check_metric", "check_quantizer", "check_task"]
