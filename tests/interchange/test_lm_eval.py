"""Logs of lm-evaluation-harness become records, and their accuracies are those that it reports."""

from __future__ import annotations

import json

import numpy as np
import pytest

from calbench import metrics
from calbench.errors import InputError
from calbench.interchange import read_lm_eval
from tests.interchange.samples import SCORES, TARGETS, rows, sample, write


def test_scores_labels_and_ids_are_read(tmp_path):
    record = read_lm_eval(write(tmp_path))
    assert record.item_ids.tolist() == ["colours/0", "colours/1", "colours/2"]
    assert record.labels.tolist() == list(TARGETS)
    assert record.logits[1].tolist() == [*SCORES[1], -np.inf, -np.inf]
    assert record.metadata["model"] == "m"
    assert [file["name"][:7] for file in record.metadata["origin"]["files"]] == ["samples", "results"]


@pytest.mark.parametrize(
    "change",
    [
        {"filtered_resps": [[-1.0, False], [-2.0, False], [-3.0, True]]},
        {"filtered_resps": [-1.0, -2.0, -3.0]},
        {"arguments": [["Q?", " red"], ["Q?", " blue"], ["Q?", " green"]]},
        {"target": "red"},
        {"target": ["0"]},
        {"target": 0},
    ],
)
def test_every_spelling_of_the_harness_is_understood(tmp_path, change):
    record = read_lm_eval(write(tmp_path, samples=[sample(0) | change, *rows()[1:]]))
    assert record.logits[0, :3].tolist() == [-1.0, -2.0, -3.0]
    assert record.labels[0] == 0


def test_requests_without_context_are_left_out(tmp_path):
    row = sample(0)
    alone = {
        f"gen_args_{i + 3}": {"arg_0": "", "arg_1": o} for i, o in enumerate((" red", " blue", " green"))
    }
    row["arguments"] |= alone
    row["filtered_resps"] += [["-9", "False"]] * 3
    record = read_lm_eval(write(tmp_path, samples=[row, *rows()[1:]]))
    assert record.logits[0, :3].tolist() == [-1.0, -2.0, -3.0]


def test_a_folder_of_several_subtasks_is_one_record(tmp_path):
    write(tmp_path, "colours")
    write(tmp_path, "shapes")
    record = read_lm_eval(tmp_path)
    assert len(record) == 6
    assert record.metadata["tasks"] == ["colours", "shapes"]


def test_scores_per_character_are_those_of_acc_norm(tmp_path):
    samples = [row | {"acc_norm": None} for row in rows()]
    record = read_lm_eval(write(tmp_path, samples=samples, accuracy=None), scoring="per-character")
    assert record.logits[0, 1] == np.float32(-2.0 / len("blue"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acc": 0.0}, r"line 1: .* acc = 0.0; the scores are not what the harness compared"),
        ({"filtered_resps": ["a text"]}, "generates text"),
        ({"filtered_resps": [["nan", "False"]] * 3}, "no log-probability"),
        ({"filtered_resps": [[True, False]] * 3}, "where a log-probability belongs"),
        ({"target": "mauve"}, "neither an index nor one of the options"),
        ({"target": "7"}, "not among the 3 options"),
        ({"acc": 0.43}, "acc = 0.43 is neither right nor wrong; leave the task out with tasks="),
        ({"filtered_resps": [["-1", "x"]] * 2}, "2 scores for 3 options"),
        ({"arguments": 3}, "line 1: is no multiple-choice sample"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_lm_eval(write(tmp_path, samples=[sample(0) | change], accuracy=None))


def test_a_row_without_an_id_is_named(tmp_path):
    row = sample(0)
    del row["doc_id"]
    with pytest.raises(InputError, match=r"line 1: .*KeyError: 'doc_id'"):
        read_lm_eval(write(tmp_path, samples=[row]))


def test_results_that_say_otherwise_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"over its 3 samples is 0.666667, but results_.* reports 0.5"):
        read_lm_eval(write(tmp_path, accuracy=0.5))


def test_a_repeated_item_is_refused(tmp_path):
    with pytest.raises(InputError, match="'colours/0' appears twice"):
        read_lm_eval(write(tmp_path, samples=[sample(0), sample(0)], accuracy=None))


def test_two_runs_of_one_task_are_refused(tmp_path):
    first = write(tmp_path)
    (tmp_path / "other").mkdir()
    second = write(tmp_path / "other")
    with pytest.raises(InputError, match="colours is also in"):
        read_lm_eval([first, second])


def test_runs_of_two_models_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write(tmp_path / "a", "colours")
    write(tmp_path / "b", "shapes")
    assert len(read_lm_eval(tmp_path)) == 6
    results = next((tmp_path / "b").glob("results_*.json"))
    results.write_text(results.read_text().replace('"model_name": "m"', '"model_name": "other"'))
    with pytest.raises(InputError, match=r"b/results_.*: its model is 'other', and that of another file 'm'"):
        read_lm_eval(tmp_path)


def test_an_empty_folder_says_how_to_log_samples(tmp_path):
    with pytest.raises(InputError, match="--log_samples"):
        read_lm_eval(tmp_path)


def test_published_accuracies(shared_data):
    folder = shared_data / "lm_eval_samples"
    reported = json.loads(next(folder.glob("results_*.json")).read_text())["results"]
    record = read_lm_eval(folder)
    assert len(record) == 400
    for task, result in reported.items():
        ids = [item for item in record.item_ids.tolist() if item.startswith(f"{task}/")]
        assert metrics.evaluate("accuracy", record.take(ids)) == result["acc,none"]
