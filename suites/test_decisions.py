"""Decision models: does the order in which options are shown move the answer?

For tasks of ``kind = "decision"`` with options (docs/serving.md), run by name:

    pytest suites/test_decisions.py --calbench-models my-model --calbench-tasks my-decision
"""

import pytest

import calbench

pytestmark = pytest.mark.served


@calbench.grid(quantizers="all", calibrators="identity")
def test_the_order_of_options_does_not_move_the_answer(calbench):
    shuffled = calbench.measured(task=f"{calbench.cell.task}[order=shuffled]")
    given = calbench.measured()
    calbench.compare(given.candidate.predictions, shuffled.candidate.predictions).require(
        "accuracy", max_decrease=0.02
    )
