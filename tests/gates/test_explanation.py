"""Where a message points: bins and items worked by hand."""

from __future__ import annotations

import numpy as np

from calbench.gates._explanation import new_sure_mistakes, what_moved, where_it_lies
from calbench.metrics import Outcomes

# Ten items; the candidate turns two unsure mistakes into sure ones.
IDS = np.array([f"i{n}" for n in range(10)])
CORRECT = [True] * 8 + [False] * 2
REFERENCE = Outcomes.from_top_label([0.82] * 8 + [0.55, 0.95], CORRECT)
CANDIDATE = Outcomes.from_top_label([0.82] * 8 + [0.97, 0.99], CORRECT)


def test_only_mistakes_that_were_not_sure_before_are_new():
    assert new_sure_mistakes(REFERENCE, CANDIDATE).tolist() == [False] * 8 + [True, False]


def test_the_bins_that_moved_most_come_first():
    lines = what_moved(IDS, REFERENCE, CANDIDATE)
    # (0.93, 1.00]: one item of gap .95 before, two of .97 and .99 now: .195 - .095 less accuracy 0.
    assert lines[1] == "  (0.93, 1.00]: 1, 0.95, 0.00 -> 2, 0.98, 0.00, +0.1010"
    assert lines[2] == "  (0.53, 0.60]: 1, 0.55, 0.00 -> empty, -0.0550"
    assert len(lines) == 4


def test_new_mistakes_are_named_with_what_was_said_before():
    *_, last = what_moved(IDS, REFERENCE, CANDIDATE)
    assert last == "new mistakes made with confidence 0.9 or more: 1 of 10 items, i8 (0.55 wrong -> 0.97)"


def test_nothing_that_moved_is_said_to_be_so():
    first, second = what_moved(IDS, CANDIDATE, CANDIDATE)
    assert first == "no reliability bin moved by as much as 0.0005"
    assert second == "new mistakes made with confidence 0.9 or more: 0 of 10 items"


def test_a_ceiling_is_explained_by_the_bins_that_add_most():
    lines = where_it_lies(IDS, CANDIDATE)
    assert lines[1] == "  (0.93, 1.00]: 2, 0.98, 0.00, +0.1960"
    assert lines[2] == "  (0.80, 0.87]: 8, 0.82, 1.00, -0.1440"
    assert lines[-1].endswith("2 of 10 items, i9 (0.99), i8 (0.97)")
