"""What later looks would hardly decide is asked no further, and says so."""

from __future__ import annotations

import pytest

from calbench._pytest._looks import CellLooks
from calbench.gates import PROMISING
from calbench.report import Judged
from calbench.runs import CellLook
from calbench.statistics import looks


def cell_of(most, there, **options):
    return CellLooks(None, tuple(CellLook(look, there) for look in looks(most)), 1, **options)


def test_a_gate_that_all_items_would_hardly_decide_is_out_of_items():
    said = cell_of(2400, 2400).why_give_up(0, 0.03)
    assert said == (
        "out of items: stopped at 500 of 2,400 test items, as all of them would decide it in 3 of 100 cases;"
        " --calbench-items=all asks them anyway"
    )


def test_items_that_this_run_may_not_ask_are_no_end_of_items():
    assert cell_of(2400, 9000).why_give_up(1, 0.03).startswith("stopped at 1,000 of 2,400 test items")


def test_what_is_promising_is_asked_on_and_so_is_all_that_was_asked_for_by_hand():
    assert cell_of(2400, 2400).why_give_up(0, PROMISING) == ""
    assert cell_of(2400, 2400, asks_anyway=True).why_give_up(0, 0.0) == ""


@pytest.mark.parametrize(
    ("most", "needed", "remedy"),
    [
        (2400, 4000, "out of items; about 4,000 would decide it"),
        (2400, 90_000, "too near the margin; about 90,000 would decide it, or another limit"),
        (2000, 2200, "about 2,200 items would decide it (--calbench-items=all asks more)"),
    ],
)
def test_a_gate_that_gave_up_says_what_would_decide_it(most, needed, remedy):
    stopped = cell_of(most, 2400).why_give_up(0, 0.03)
    gate = {"items_needed": needed, "n": 500, "stopped": stopped, "outcome": "inconclusive"}
    assert Judged("cell", "bnb-nf4", gate).remedy() == remedy
