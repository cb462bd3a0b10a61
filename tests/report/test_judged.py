"""Each gate in a line: the number that decided beside its limit."""

from __future__ import annotations

import pytest

from calbench.report import Judged, failed, judged
from tests.report.rows import row

GATE = {
    **row()["gates"][0],
    "metric": "ece",
    "limit": "max_increase",
    "margin": 0.02,
    "outcome": "fail",
    "delta": 0.461,
    "interval": [0.41, 0.51],
    "candidate": "transferred",
    "reference": "calibrated_reference",
    "accepted": None,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "ece +0.461 > +0.02"),
        ({"outcome": "pass", "delta": -0.001}, "ece -0.001 < +0.02"),
        ({"metric": "accuracy", "limit": "max_decrease", "delta": -0.13}, "accuracy -0.13 < -0.02"),
        ({"limit": "at_most", "delta": 0.2, "margin": 0.1}, "ece 0.2 > 0.1"),
        ({"limit": "at_least", "metric": "accuracy", "delta": 0.5, "margin": 0.6}, "accuracy 0.5 < 0.6"),
        ({"relative": True, "limit": "max_relative_increase", "margin": 0.1}, "ece +46.1% > +10%"),
        ({"metric": "nll", "candidate": "regret", "reference": ""}, "nll of regret +0.461 > +0.02"),
        ({"reference": "baseline"}, "ece against baseline +0.461 > +0.02"),
        (
            {"candidate": "qlora", "reference": "tuned-ptq"},
            "ece of qlora against tuned-ptq +0.461 > +0.02",
        ),
        ({"outcome": "inconclusive"}, "ece +0.461 in [+0.41, +0.51], limit +0.02"),
    ],
)
def test_a_gate_is_said_with_the_number_that_decided(changes, said):
    assert Judged("cell", "bnb-nf4", {**GATE, **changes}).figure() == said


def test_the_furthest_beyond_its_limit_comes_first_and_what_is_accepted_is_no_failure():
    rows = [row("bnb-int8", outcome="fail"), row("bnb-nf4", outcome="fail"), row("gptq-int4", outcome="fail")]
    rows[1]["gates"][0]["delta"] = 0.5
    rows[2]["gates"][0]["accepted"] = "known"
    assert [each.quantizer for each in failed(judged(rows))] == ["bnb-nf4", "bnb-int8"]
