"""What ``calbench run --tasks`` says, in one line, of data that cannot be a task."""

from __future__ import annotations

import json
import sys

import pytest

from calbench import cli
from tests.tiny_models import write_decoder

pytest.importorskip("torch", reason="models need torch")

ROWS = [
    {"text": f"t{i}", "label": "ny"[i % 2], "q": f"q{i}", "o": ["a", "b"], "both": [0, 1]} for i in range(30)
]
YAML = (
    "output_type: multiple_choice\ndataset_path: json\ntest_split: test\n"
    "dataset_kwargs:\n  data_files: {test: FOLDER/rows.jsonl}\n"
    "doc_to_text: '{{q}}'\ndoc_to_choice: o\ndoc_to_target: 0\n"
)


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """The last line that a run says of a task, and its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("CALBENCH_LM_EVAL_INCLUDE", raising=False)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    write_decoder(tmp_path / "model")

    def said(task):
        given = ["run", "--models", "./model", "--quantizers", "fp32", "--tasks", task, "--store", "store"]
        given += ["--lm-eval-include", str(tmp_path / "own")] if task.startswith("lm-eval:") else []
        monkeypatch.setattr(sys, "argv", ["calbench", *given])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, capsys.readouterr().err.strip().splitlines()[-1]

    return said


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("rows.jsonl[text=txt,label=label]", "row 1: column 'txt' is missing; did you mean 'text'?"),
        (
            "rows.jsonl[text=text,label=label,classes=y+z]",
            "column 'label' is 'n', which is none of 'y', 'z'; mend",
        ),
        ("./saved[split=empty]", "./saved has no rows; give a file or a split that has some"),
        ("./nothing", "./nothing has a split without rows"),
        ("./saved[split=dev]", "./saved has no split 'dev'; name one of 'all', 'empty' with split="),
        (
            "hf:nobody/gone",
            "'nobody/gone' is not in the hub's cache and the hub cannot be reached; download it",
        ),
        (
            "./script",
            "./script is a script, and no data set's own code is run; the hub may hold its tables at",
        ),
        ("none.csv", "'none.csv': there is no such file or folder; write hf:none.csv for the hub's"),
    ],
)
def test_a_table_that_is_no_task_is_refused_in_one_line(task, message, said, tmp_path):
    import datasets

    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "script.py").write_text("raise SystemExit('it ran')\n")
    rows = datasets.Dataset.from_list(ROWS)
    rows.select([]).save_to_disk(tmp_path / "nothing")
    datasets.DatasetDict(all=rows, empty=rows.filter(lambda row: False)).save_to_disk(tmp_path / "saved")
    code, line = said(task)
    assert code == 2
    assert message in line


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("doc_to_text: !function own.text", "own.yaml: doc_to_text: '!function own.text' names a function"),
        ("include: ../other.yaml", "own.yaml: include: '../other.yaml' lies outside of"),
        (
            "metric_list:\n  - {metric: bleu, hf_evaluate: true}",
            "own.yaml: metric_list[0].hf_evaluate: it is True",
        ),
        ("unsafe_code: true", "own.yaml: unsafe_code: it is True"),
        ("metadata: {trust_remote_code: true}", "own.yaml: metadata.trust_remote_code: it is True"),
        (
            "output_type: loglikelihood",
            "has the output_type 'loglikelihood'; there are answers to calibrate in",
        ),
        (
            "doc_to_text: \"{{ ''.__class__ }}\"",
            "own.yaml) cannot be read: access to attribute '__class__' of",
        ),
        (
            "doc_to_target: both",
            "has 2 right answers [0, 1]; one is wanted: let doc_to_target give the number",
        ),
        (
            "doc_to_choice: oo",
            "own.yaml): doc_to_choice is neither a column of its documents nor a list; write",
        ),
    ],
)
def test_a_task_file_that_cannot_be_asked_is_refused_in_one_line(more, message, said, tmp_path, request):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed; pip install 'calbench[lm-eval]'")
    (tmp_path / "own").mkdir()
    lines = [line for line in YAML.splitlines() if line.partition(":")[0] != more.partition(":")[0]]
    name = f"own_{len(request.node.name)}_{abs(hash(more))}"
    text = "\n".join([f"task: {name}", *lines, more, ""]).replace("FOLDER", str(tmp_path))
    (tmp_path / "own" / "own.yaml").write_text(text)
    code, line = said(f"lm-eval:{name}")
    assert code == 2
    assert message in line
