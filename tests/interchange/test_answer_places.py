"""The answer of an inspect_ai sample stands in one place, and one kind of confidence is read of all."""

from __future__ import annotations

import numpy as np
import pytest

from calbench import metrics
from calbench.errors import InputError
from calbench.interchange import read_inspect
from calbench.records import Predictions, TopLabelPredictions
from tests.interchange.test_inspect_logs import log


def token(text, logprob=-0.01, tops=()):
    return {"token": text, "logprob": logprob, "top_logprobs": [{"token": t, "logprob": v} for t, v in tops]}


def sample(item, tokens, answer="A", target="A", n_choices=2):
    return {
        "id": item,
        "choices": ["x", "y", "z"][:n_choices],
        "target": target,
        "scores": {"choice": {"value": "C" if answer == target else "I", "answer": answer}},
        "output": {"choices": [{"logprobs": {"content": tokens}}]},
    }


@pytest.mark.parametrize("form", ["{}", " {}", "Ġ{}", "▁{}", "Ċ{}", " ({}", "({})", "**{}"])
def test_a_letter_is_one_however_its_token_is_spelled(tmp_path, form):
    a, b = form.format("A"), form.format("B")
    tokens = [token("ANSWER"), token(":"), token(a, -0.1, [(a, -0.1), (b, -2.4), ("\tB", -5.0)])]
    record = read_inspect(log(tmp_path / "a.json", [sample("q", tokens), sample("r", tokens)]))
    assert isinstance(record, Predictions)
    p = np.exp(-0.1) / (np.exp(-0.1) + np.exp(-2.4) + np.exp(-5.0))
    assert record.confidences[0] == pytest.approx(p, abs=1e-6)
    assert metrics.evaluate("ece", record) == pytest.approx(1 - p, abs=1e-6)


def test_a_letter_that_comes_again_after_the_answer_is_another(tmp_path):
    said = token(" A", -0.5, [(" A", -0.5), (" B", -1.0)])
    tail = [token("\n"), token("A", -3.0, [("A", -3.0), ("B", -9.0)]), token(" triangle"), token(" has")]
    record = read_inspect(log(tmp_path / "a.json", [sample("q", [token("ANSWER"), token(":"), said, *tail])]))
    np.testing.assert_allclose(record.logits[0], [-0.5, -1.0])


def test_a_lone_answer_is_found_without_a_mark(tmp_path):
    tokens = [token(" B", -0.5, [(" B", -0.5), (" A", -1.0)]), token("."), token(" It"), token(" is")]
    record = read_inspect(log(tmp_path / "a.json", [sample("q", tokens, answer="B", target="B")]))
    np.testing.assert_allclose(record.logits[0], [-1.0, -0.5])


def test_an_answer_without_a_place_is_left_out_and_named(tmp_path):
    good = [token("A", -0.5, [("A", -0.5), ("B", -1.0)])]
    empty = sample("no answer", [token(" "), token("\n")], answer="")
    twice = sample("twice", [token("Either"), token(" A"), token(" or"), token(" A")])
    record = read_inspect(log(tmp_path / "a.json", [sample("q", good), empty, twice]))
    assert record.item_ids.tolist() == ["q"]
    assert record.metadata["notes"] == [
        "2 samples were left out: their answer has no place of its own among the tokens (no answer, twice)"
    ]
    with pytest.raises(InputError, match="no sample's answer has a place"):
        read_inspect(log(tmp_path / "b.json", [twice]))


def test_a_letter_that_was_not_logged_gives_the_reason(tmp_path):
    whole = [token("A", -0.5, [("A", -0.5), ("B", -1.0)])]
    lacking = [token("A", -0.2, [("A", -0.2), ("x", -4.0)])]
    record = read_inspect(log(tmp_path / "a.json", [sample("q", whole), sample("r", lacking)]))
    assert isinstance(record, TopLabelPredictions)
    np.testing.assert_allclose(record.confidences, np.exp([-0.5, -0.2]))
    (note,) = record.metadata["notes"]
    assert "sample 'r' has no log-probability of B; run inspect eval with --top-logprobs 20" in note


def test_shuffled_choices_are_no_class_vector(tmp_path):
    # The tokens say B, which the log calls A again after the choices were put back.
    tokens = [token("ANSWER"), token(": "), token("B", -0.3, [("B", -0.3), ("A", -2.0)])]
    record = read_inspect(log(tmp_path / "a.json", [sample("q", tokens)]))
    assert isinstance(record, TopLabelPredictions)
    assert (record.confidences[0], record.correct[0]) == (pytest.approx(np.exp(-0.3)), True)
    assert "says B and was scored as A" in record.metadata["notes"][0]
    shuffled = {"plan": {"steps": [{"solver": "multiple_choice", "params": {"shuffle": True}}]}}
    same = [token("A", -0.3, [("A", -0.3), ("B", -2.0)])]
    record = read_inspect(log(tmp_path / "b.json", [sample("q", same)], **shuffled))
    assert "choices were shuffled" in record.metadata["notes"][0]


def test_choices_and_texts_are_not_mixed(tmp_path):
    good = sample("q", [token("A", -0.5, [("A", -0.5), ("B", -1.0)])])
    text = sample("r", [token("Paris")], answer="Paris", target="Paris", n_choices=0)
    with pytest.raises(InputError, match="1 samples have choices and 1 have none"):
        read_inspect(log(tmp_path / "a.json", [good, text]))
