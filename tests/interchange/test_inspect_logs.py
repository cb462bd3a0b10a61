"""Logs of inspect_ai. ``data/inspect_sums.eval`` was written by inspect_ai 0.3.285 with its mock model."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from calbench.errors import InputError
from calbench.interchange import read_inspect
from calbench.interchange._inspect_logs import is_inspect
from calbench.records import Predictions, TopLabelPredictions

LOG = Path(__file__).parent / "data" / "inspect_sums.eval"


def sample(item="q0", letter="A", target="A", tops=(("A", -0.2), (" A", -3.0), ("B", -2.0)), **changes):
    top = [{"token": token, "logprob": value} for token, value in tops]
    tokens = [{"token": "ANSWER", "logprob": -0.01}, {"token": letter, "logprob": -0.2, "top_logprobs": top}]
    return {
        "id": item,
        "epoch": 1,
        "choices": ["x", "y"],
        "target": target,
        "scores": {"choice": {"value": "C" if letter == target else "I", "answer": letter}},
        "output": {"choices": [{"logprobs": {"content": tokens}}]},
        **changes,
    }


def log(path, samples, **header):
    content = {"version": 2, "status": "success", "eval": {"task": "t", "model": "m"}, **header}
    path.write_text(json.dumps(content | {"samples": samples}))
    return path


def test_a_log_of_the_tool_itself_is_read():
    record = read_inspect(LOG)
    assert isinstance(record, Predictions)
    assert (len(record), record.correct.mean()) == (8, 0.125)  # the accuracy that inspect_ai printed
    assert np.isneginf(record.logits[0, 3])  # the first item has three options
    assert record.metadata["model"] == "mockllm/model"


def test_spellings_of_a_letter_are_added_up(tmp_path):
    record = read_inspect(log(tmp_path / "a.json", [sample()]))
    assert record.logits[0, 0] == pytest.approx(np.logaddexp(-0.2, -3.0))


def test_without_every_letter_only_the_top_answer_is_known(tmp_path):
    record = read_inspect(log(tmp_path / "a.json", [sample(), sample("q1", tops=(("A", -0.2),))]))
    assert isinstance(record, TopLabelPredictions)
    assert record.confidences == pytest.approx(np.exp(-0.2))


def test_a_sampled_answer_that_is_not_the_best_is_no_class_vector(tmp_path):
    odd = sample(letter="B", target="B", tops=(("A", -0.2), ("B", -2.0)))
    record = read_inspect(log(tmp_path / "a.json", [odd]))
    assert isinstance(record, TopLabelPredictions)
    assert record.correct.tolist() == [True]


def test_the_confidence_of_a_text_is_its_mean_token(tmp_path):
    record = read_inspect(log(tmp_path / "a.json", [sample(choices=None, target="x")]))
    assert record.confidences == pytest.approx(np.exp((-0.01 - 0.2) / 2))


def test_no_answer_is_a_wrong_one(tmp_path):
    none = sample("q1", choices=None, target="x", scores={"match": {"value": "N", "answer": ""}})
    record = read_inspect(log(tmp_path / "a.json", [sample(choices=None, target="A"), none]))
    assert record.correct.tolist() == [True, False]


def test_samples_without_a_score_are_counted(tmp_path):
    record = read_inspect(log(tmp_path / "a.json", [sample(), sample("q1", scores=None)]))
    assert (len(record), record.metadata["n_unscored_samples"]) == (1, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": {"choices": [{}]}}, "--logprobs"),
        ({"epoch": 2}, "--epochs 1"),
        ({"scores": {"a": {}, "b": {}}}, "choose one of a, b"),
        ({"scores": {"a": {"value": 0.5}}}, "0.5 is neither right"),
        ({"scores": {"a": {"value": {"x": 1}}}}, "is neither right"),
        ({"output": None}, "sample 'q0': cannot be read"),
    ],
)
def test_a_sample_that_cannot_be_used_is_named(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_inspect(log(tmp_path / "a.json", [sample() | change]))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"version": 3}, "format 3, and this calbench reads up to 2"),
        ({"eval": None}, "is no log of inspect_ai"),
    ],
)
def test_logs_that_this_reader_does_not_know_are_refused(tmp_path, header, message):
    with pytest.raises(InputError, match=message):
        read_inspect(log(tmp_path / "a.json", [sample()], **header))


def test_logs_of_two_models_are_refused(tmp_path):
    first = log(tmp_path / "a.json", [sample()])
    second = log(tmp_path / "b.json", [sample()], eval={"task": "u", "model": "other"})
    assert (
        len(read_inspect([first, log(tmp_path / "c.json", [sample()], eval={"task": "u", "model": "m"})]))
        == 2
    )
    with pytest.raises(InputError, match=r"b\.json: is of the model 'other', and another log of 'm'"):
        read_inspect([first, second])


def test_an_unfinished_run_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("samples/1.json", "{}")
    path = tmp_path / "a.eval"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="not finished"):
        read_inspect(path)


def test_a_member_that_claims_to_be_huge_is_not_unpacked(tmp_path):
    content = bytearray(LOG.read_bytes())
    start = content.rindex(b"header.json") - 46  # its entry in the zip's table of contents
    content[start + 24 : start + 28] = (2**31).to_bytes(4, "little")
    path = tmp_path / "a.eval"
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="that is no sample"):
        read_inspect(path)


def test_a_json_log_is_known_by_how_it_begins(tmp_path):
    assert is_inspect(log(tmp_path / "a.json", []))
    (tmp_path / "b.json").write_text('{"preds": []}')
    assert not is_inspect(tmp_path / "b.json")
