"""Data sets on the hub are read from their own layout, as the hub's cache keeps it."""

from __future__ import annotations

import pytest

from calbench import models, tasks
from calbench.errors import InputError, SetupRequiredError
from calbench.tasks._data import DataSource

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LAYOUTS = {  # id on the hub, file, rows, what the first item must be
    "mmlu-full": (
        "cais/mmlu",
        "all/test-00000-of-00001.parquet",
        [{"question": "q?", "subject": "s", "choices": ["a", "b", "c", "d"], "answer": 3}],
        ("q?", ("a", "b", "c", "d"), 3),
    ),
    "arc-challenge": (
        "allenai/ai2_arc",
        "ARC-Challenge/test-00000-of-00001.parquet",
        [
            {
                "id": "x",
                "question": "q?",
                "choices": {"text": ["a", "b", "c"], "label": ["1", "2", "3"]},
                "answerKey": "2",
            }
        ],
        ("q?", ("a", "b", "c"), 1),
    ),
    "truthfulqa": (
        "truthfulqa/truthful_qa",
        "multiple_choice/validation-00000-of-00001.parquet",
        [{"question": "q?", "mc1_targets": {"choices": ["a", "b"], "labels": [0, 1]}}],
        ("q?", ("a", "b"), 1),
    ),
    "hellaswag": (
        "Rowan/hellaswag",
        "data/validation-00000-of-00001.parquet",
        [{"activity_label": "Swimming", "ctx": "A man", "endings": ["a", "b", "c", "d"], "label": "2"}],
        ("Swimming: A man", ("a", "b", "c", "d"), 2),
    ),
    "pubmedqa-full": (
        "qiaojin/PubMedQA",
        "pqa_labeled/train-00000-of-00001.parquet",
        [
            {
                "pubid": 12,
                "question": "q?",
                "context": {"contexts": ["One.", "Two."]},
                "final_decision": "maybe",
            }
        ],
        ("q?", ("yes", "no", "maybe"), 2),
    ),
}


def published(name):
    return tasks.registry.get(name)()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache in the hub's layout."""
    import pyarrow as pa
    from pyarrow import parquet

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def write(hub_id, file, rows):
        repo = tmp_path / f"datasets--{hub_id.replace('/', '--')}"
        (repo / "refs").mkdir(parents=True, exist_ok=True)
        (repo / "refs" / "main").write_text(COMMIT)
        path = repo / "snapshots" / COMMIT / file
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.Table.from_pylist(rows), path)

    return write


@pytest.mark.parametrize("name", LAYOUTS)
def test_questions_are_read_from_the_hubs_layout(name, hub):
    hub_id, file, rows, expected = LAYOUTS[name]
    hub(hub_id, file, rows)
    found = published(name).load()[0]
    assert (found.text, found.options, found.label) == expected


def test_pubmedqa_shows_the_abstract(hub):
    hub(*LAYOUTS["pubmedqa-full"][:3])
    assert published("pubmedqa-full").load()[0].passage == "One. Two."


def test_triviaqa_takes_all_aliases(hub):
    answer = {"value": "Paris", "aliases": ["City of Light"]}
    rows = [{"question_id": "x", "question": "q?", "answer": answer}]
    hub("mandarjoshi/trivia_qa", "rc.nocontext/validation-00000-of-00001.parquet", rows)
    (found,) = published("triviaqa").load()
    assert (found.id, found.text, found.answers) == ("x", "q?", ("Paris", "City of Light"))


def test_nine_raw_labels_stand_for_three_classes_and_duplicates_go_first(hub):
    raw = ["mildly negative", "moderately negative", "strong negative", "negative", "neutral"]
    raw += ["mildly positive", "moderately positive", "strong positive", "positive"]
    rows = [{"instruction": "?", "input": f"text {i}", "output": label} for i, label in enumerate(raw)]
    hub("lwrf42/financial-sentiment-dataset", "data/train-00000-of-00001.parquet", rows)
    again = [{"instruction": "?", "input": "TEXT  0 ", "output": "negative"}]
    hub("lwrf42/financial-sentiment-dataset", "data/test-00000-of-00001.parquet", again)
    dataset = published("financial-sentiment").dataset
    assert dataset.n_duplicates == 1
    assert sorted(item.label for item in dataset.items) == [0, 0, 0, 0, 1, 2, 2, 2, 2]


def test_a_raw_label_that_is_not_known_is_named(hub):
    hub("lwrf42/financial-sentiment-dataset", "data/a.parquet", [{"input": "x", "output": "odd"}])
    with pytest.raises(InputError, match=r"a.parquet: row 1: column 'output' is 'odd'"):
        published("financial-sentiment").load()


def test_each_financial_head_is_read_in_its_own_order():
    task = published("financial-sentiment")
    assert task.request(models.get("finbert")).columns == (1, 2, 0)
    assert task.request(models.get("financialbert")).columns == (0, 1, 2)


def test_what_is_not_cached_says_so_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SetupRequiredError, match="allenai/ai2_arc"):
        published("arc-challenge").load()


def test_a_file_that_is_not_cached_needs_a_network(hub):
    hub("allenai/ai2_arc", "ARC-Easy/test.parquet", [{"a": 1}])
    with pytest.raises(SetupRequiredError, match=r"cannot be reached .*holds no file 'ARC-Challenge/test"):
        published("arc-challenge").load()


def test_a_download_that_stopped_halfway_is_not_the_data_set(hub):
    hub("some/set", "data/test-00001-of-00003.parquet", [{"a": 1}])
    with pytest.raises(SetupRequiredError, match=r"no test-00000-of-00003\.parquet \(2 missing in all\)"):
        _ = DataSource("some/set", "data/test-*.parquet").rows


def test_a_local_folder_that_lacks_a_part_is_refused(tmp_path):
    (tmp_path / "test-00000-of-00002.jsonl").touch()
    with pytest.raises(InputError, match=r"holds no test-00001-of-00002\.jsonl"):
        _ = DataSource(str(tmp_path), "*.jsonl").rows


@pytest.mark.parametrize("pattern", ["test-00000-of-00003.jsonl", "**/test-0000[01]-*.jsonl"])
def test_a_pattern_may_ask_for_some_parts_of_a_set(pattern, tmp_path):
    for index in range(2):
        (tmp_path / f"test-0000{index}-of-00003.jsonl").write_text('{"a": 1}\n')
    assert DataSource(str(tmp_path), pattern).rows


def test_a_declared_task_may_name_a_data_set_on_the_hub(hub, tmp_path, monkeypatch):
    from calbench.configuration import declared
    from calbench.tasks._configured import task_of

    hub("some/set", "data/test.parquet", [{"q": "?", "o": ["a", "b"], "a": "B"}])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "calbench.toml").write_text(
        '[tasks.t]\nkind = "multiple-choice"\nhub = "some/set"\nfile = "data/*.parquet"\n'
        'question = "q"\noptions = "o"\nanswer = "a"\n'
    )
    (table,) = declared("tasks")
    assert task_of(table).dataset.items[0].label == 1
