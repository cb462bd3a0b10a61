"""A comparison shows itself: five lines in a terminal, a small table in a notebook."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import calbench

RNG = np.random.default_rng(0)
LOGITS = 2 * RNG.normal(size=(600, 3))
LABELS = np.argmax(LOGITS + RNG.gumbel(size=LOGITS.shape), axis=1)


@pytest.fixture(scope="module")
def compared():
    return calbench.compare(LOGITS, 1.2 * LOGITS, LABELS)


def test_its_repr_is_five_lines_with_both_values_and_the_change(compared):
    lines = repr(compared).splitlines()
    assert len(lines) == 5
    assert lines[0].split()[:5] == ["n", "=", "600", "reference", "candidate"]
    assert re.fullmatch(r"ece +0\.\d{4} +0\.\d{4} +[+-]0\.\d{4} \[[+-]0\.\d{4}, [+-]0\.\d{4}\]", lines[1])


def test_a_notebook_shows_a_table(compared):
    text = compared._repr_html_()
    assert text.count("<tr>") == 5
    assert "<th>candidate</th>" in text


def test_a_comparison_without_a_pair_names_its_arms(compared):
    odd = replace(compared, candidate="<b>gone")
    assert repr(odd) == "comparison of reference, candidate on 600 items"
    assert odd._repr_html_() == "<p>comparison of reference, candidate on 600 items</p>"
