"""Each command of docs/files.md's table of tools is run on a file as that tool writes it."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from calbench.cli import app
from tests.interchange.samples import write as write_harness_folder
from tests.interchange.test_inspect_logs import LOG
from tests.records.saved_tokens import kld

DOCS = Path(__file__).parents[1] / "docs" / "files.md"
ROWS = re.findall(r"^\| (.*?) \| `(calbench .*?)`.*\|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(40, 4))
LABELS = RNG.integers(0, 4, 40)
BEST = LOGITS.argmax(axis=1)
CONFIDENCE = np.exp(LOGITS.max(axis=1)) / np.exp(LOGITS).sum(axis=1)
LOG_PROBS = LOGITS - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))
ACCURACY = float((BEST == LABELS).mean())
POSITIVE = 1 / (1 + np.exp(LOGITS[:, 0] * 2))
NAMES = ["neg", "pos", "sad", "wow"]


def table(path, rows):
    with Path(path).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def lines(rows):
    Path("x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def items(make):
    return [make(i) for i in range(len(LABELS))]


def positive():
    table(
        "x.csv",
        items(lambda i: {"y_true": LABELS[i] % 2, "y_pred": int(POSITIVE[i] > 0.5), "y_prob": POSITIVE[i]}),
    )
    return float(((POSITIVE > 0.5) == LABELS % 2).mean())


def answered():
    table("x.csv", items(lambda i: {"y_true": LABELS[i], "y_pred": BEST[i], "y_prob": CONFIDENCE[i]}))


def scikit():
    table(
        "x.csv",
        items(lambda i: {"y": LABELS[i], **{f"proba_{k}": np.exp(LOG_PROBS[i, k]) for k in range(4)}}),
    )


def trainer():
    np.savez("x.npz", logits=LOGITS, label=LABELS)


def torch_pair():
    import torch

    torch.save((torch.tensor(LOGITS), torch.tensor(LABELS)), "x.pt")


def torch_confidences():
    import torch

    right = torch.tensor((BEST == LABELS).astype(np.float32))
    torch.save({"confidences": torch.tensor(CONFIDENCE), "accuracies": right}, "x.pt")


def harness():
    Path("lm_eval_output").mkdir()
    write_harness_folder(Path("lm_eval_output"))
    return


def inspect():
    Path("logs").mkdir()
    shutil.copy(LOG, "logs/x.eval")


def lighteval():
    rows = items(
        lambda i: {
            "doc": {"query": f"q{i}", "gold_index": int(LABELS[i])},
            "model_response": {"logprobs": LOG_PROBS[i].tolist(), "text": []},
            "metric": {"acc": 1.0},
        }
    )
    parquet.write_table(pa.Table.from_pylist(rows), "details.parquet")


def helm():
    stats = items(lambda i: {"max_prob": CONFIDENCE[i], "exact_match": float(BEST[i] == LABELS[i])})
    rows = items(
        lambda i: {"instance_id": f"id{i}", "train_trial_index": 0, "predicted_text": "A", "stats": stats[i]}
    )
    Path("display_predictions.json").write_text(json.dumps(rows))


def openai():
    def content(i):
        tops = [{"token": " " + "ABCD"[k], "logprob": LOG_PROBS[i, k]} for k in np.argsort(-LOGITS[i])]
        return {"choices": [{"logprobs": {"content": [{"token": " A", "top_logprobs": tops}]}}]}

    lines(items(lambda i: {"id": i, "gold": "ABCD"[LABELS[i]], "response": content(i)}))


def vllm():
    def tokens(i):
        return {str(64 + k): {"logprob": LOG_PROBS[i, k], "decoded_token": "ABCD"[k]} for k in range(4)}

    lines(items(lambda i: {"gold": "ABCD"[LABELS[i]], "logprobs": [tokens(i)]}))


def judged():
    lines(items(lambda i: {"grade": {"correct": bool(BEST[i] == LABELS[i])}, "said": CONFIDENCE[i] / 4}))


def scores():
    lines(
        items(
            lambda i: {
                "answer": "ABCD"[LABELS[i]],
                "scores": dict(zip("ABCD", LOGITS[i].tolist(), strict=True)),
            }
        )
    )


def pipeline():
    def out(i):
        return [{"label": NAMES[k], "score": np.exp(LOG_PROBS[i, k])} for k in np.argsort(-LOGITS[i])]

    lines(items(lambda i: {"gold": NAMES[LABELS[i]], "out": out(i)}))


def winogrande():
    told = items(
        lambda i: (
            f"{i + 1}\t{50:.4f}\t{LOGITS[i, 0] - 9:10.6f}  {LOGITS[i, 1] - 9:10.6f}  1  {LABELS[i] % 2 + 1}\n"
        )
    )
    Path("x.txt").write_text("id acc s1 s2 said answer\n" + "".join(told))
    return float((LOGITS[:, :2].argmax(axis=1) == LABELS % 2).mean())


def saved_tokens():
    kld(Path("x.kld"), RNG.normal(size=(4, 3, 7)), RNG.integers(0, 7, 32), 8)


WRITERS = (
    *(positive, answered, scikit, trainer, torch_pair, torch_confidences, harness, inspect, lighteval, helm),
    *(openai, vllm, judged, scores, pipeline, winogrande, saved_tokens),
)
OF_ITS_OWN = (harness, inspect, saved_tokens)


def test_each_row_has_a_writer():
    assert len(ROWS) == len(WRITERS)


@pytest.mark.parametrize(
    ("row", "write"), list(zip(ROWS, WRITERS, strict=False)), ids=lambda value: getattr(value, "__name__", "")
)
def test_the_command_reads_what_the_tool_writes(row, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = write()
    ran = CliRunner().invoke(app, [*shlex.split(row[1])[1:], "--json", "--n-resamples", "100"])
    assert ran.exception is None, (ran.output, ran.exception)
    if write not in OF_ITS_OWN:
        found = json.loads(ran.stdout)
        value = found["metrics"]["accuracy"]["value"] if "metrics" in found else found["accuracy"]["value"]
        assert value == pytest.approx(ACCURACY if expected is None else expected, abs=1e-12)
