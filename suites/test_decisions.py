"""Decision models: does the order in which options are shown move the answer?

For tasks of ``kind = "decision"`` with options (docs/serving.md); run it by name:

    pytest suites/test_decisions.py --calbench-models my-model --calbench-tasks my-decision
"""

import pytest

import calbench

pytestmark = pytest.mark.decision


@calbench.grid(quantizers="all", calibrators="identity")
def test_the_order_of_options_does_not_move_the_answer(calbench):
    shuffled = calbench.measured(task=f"{calbench.cell.task}[order=shuffled]").candidate.predictions
    calbench.compare(calbench.measured().candidate.predictions, shuffled).require(
        "accuracy", max_decrease=0.02
    )
