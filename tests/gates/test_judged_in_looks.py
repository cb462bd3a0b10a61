"""Requirements that are judged on more and more items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calbench import compare
from calbench.errors import ModelLoadingForbiddenError
from calbench.statistics import looks, sequential_p_value

RNG = np.random.default_rng(7)
LOGITS = 2 * RNG.normal(size=(4000, 2))
LABELS = (RNG.random(4000) < 1 / (1 + np.exp(LOGITS[:, 0] - LOGITS[:, 1]))).astype(int)
SURER = 1.3 * LOGITS


class Prefixes:
    """Looks at the first n of 4,000 items; from ``missing`` on they are not to be had."""

    def __init__(self, most=4000, missing=9, n_gates=1, promising=0.0):
        self.planned = looks(most)
        self.taken, self.missing, self.n_gates = [], missing, n_gates
        self.promising = promising

    def admits(self, requirement):
        return requirement.metric.id != "accuracy"

    def at(self, number, first):
        if number >= self.missing:
            raise ModelLoadingForbiddenError("not stored")
        self.taken.append(number)
        n = self.planned[number].n
        return compare(LOGITS[:n], SURER[:n], LABELS[:n])

    def records(self, number):
        return ()

    def goes_on(self, p_value, level):
        return self.n_gates > 1 and p_value() * self.n_gates > 1 - level

    def why_give_up(self, number, power):
        return f"decided in {power:.2f} after {number}" if power < self.promising else ""

    def why_no_more(self):
        return "out of items"


def judged(prefixes, metric="brier", **limit):
    first = compare(LOGITS[:500], SURER[:500], LABELS[:500])
    comparison = replace(first, looks=prefixes)
    return comparison, comparison.decide(metric, **limit)


def test_a_gate_stops_at_its_first_verdict_and_names_that_looks_interval():
    prefixes = Prefixes()
    _, decision = judged(prefixes, max_increase=0.2)
    assert decision.outcome == "pass"
    assert prefixes.taken == [0]
    assert decision.change.n == 500
    assert decision.change.level == pytest.approx(1 - 0.05 * 0.8 * 500 / 4000)
    assert decision.to_plain()["level"] == 0.95


def test_an_undecided_gate_is_asked_on_and_every_look_spends_its_part_alone():
    _, decision = judged(Prefixes(), "ece", max_increase=0.03)
    assert [look.planned for look in decision.looks] == [500, 1000, 2000, 4000][: len(decision.looks)]
    assert len(decision.looks) > 1
    assert [look.outcome for look in decision.looks[:-1]] == ["inconclusive"] * (len(decision.looks) - 1)
    assert decision.change.n == decision.looks[-1].n
    assert 0 < sum(1 - look.level for look in decision.looks) <= 0.05 * 0.8 + 1e-12


def test_what_stays_undecided_says_why_no_more_was_asked():
    _, decision = judged(Prefixes(1000), "ece", max_increase=0.03)
    assert (decision.outcome, decision.stopped) == ("inconclusive", "out of items")


def test_what_later_looks_would_hardly_decide_is_asked_no_further():
    hopeless = {"max_increase": 0.0168}  # what all 4,000 items show
    _, anyway = judged(Prefixes(), "ece", **hopeless)
    assert (anyway.outcome, len(anyway.looks)) == ("inconclusive", 4)
    prefixes = Prefixes(promising=0.3)
    _, decision = judged(prefixes, "ece", **hopeless)
    assert decision.outcome == "inconclusive"
    assert decision.stopped.startswith("decided in 0.")
    assert len(decision.looks) == len(prefixes.taken) < 4


def test_giving_up_takes_no_verdict_from_what_is_promising():
    for limit in (0.2, -0.2):
        _, anyway = judged(Prefixes(), "ece", max_increase=limit)
        _, decision = judged(Prefixes(promising=0.1), "ece", max_increase=limit)
        assert decision.outcome == anyway.outcome != "inconclusive"


def test_a_replay_stops_where_the_store_ends_and_keeps_the_level_of_its_last_look():
    _, decision = judged(Prefixes(missing=1), "ece", max_increase=0.03)
    assert decision.outcome == "inconclusive"
    assert "not in the store" in decision.stopped
    assert decision.change.level > 0.99


def test_a_replay_without_the_first_look_is_an_error():
    with pytest.raises(ModelLoadingForbiddenError):
        judged(Prefixes(missing=0), "ece", max_increase=0.03)


def test_what_cannot_be_asked_on_is_judged_once_at_the_whole_level():
    _, decision = judged(Prefixes(), "accuracy", max_decrease=0.5)
    assert (decision.looks, decision.change.level, decision.change.n) == ((), 0.95, 500)


def test_the_p_value_is_that_of_the_look_that_shows_most():
    prefixes = Prefixes()
    comparison, decision = judged(prefixes, max_increase=-0.001)
    assert decision.outcome == "fail"
    alone = {
        look.planned: prefixes.at(i, comparison).p_value_once(decision)
        for i, look in enumerate(decision.looks)
    }
    assert comparison.p_value(decision) == sequential_p_value(alone, prefixes.planned)
    assert comparison.p_value(decision) <= 0.05


def test_a_failure_that_many_gates_would_undo_is_asked_on_and_stays_a_failure():
    _, alone = judged(Prefixes(), max_increase=-0.001)
    _, among = judged(Prefixes(n_gates=10**6), max_increase=-0.001)
    assert len(among.looks) > len(alone.looks)
    assert among.outcome == "fail"


def test_the_explanation_names_every_look():
    comparison, decision = judged(Prefixes(1000), "ece", max_increase=0.03)
    text = comparison.explain(decision)
    assert "looked at 500 (inconclusive), 1,000 (inconclusive) items" in text
    assert "out of items" in text
