"""``calbench monitor``: a real record against itself and against a shifted one, and its exit status."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from calbench import Predictions, TopLabelPredictions, cli
from calbench.baselines import Baseline, read, write

COLUMNS = ("--columns", "confidence=confidence,label=true_label,predicted=pred_label", "--row-ids")


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["calbench", "monitor", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


@pytest.fixture
def real(shared_data, tmp_path):
    """Halves of a real image classifier's answers, and another classifier's."""
    lines = (shared_data / "hollance" / "probs_resnet110_c10_logits.csv").read_text().splitlines()
    rows = np.random.default_rng(0).permutation(lines[1:])
    paths = {}
    for name, part in (("june", rows[:5000]), ("today", rows[5000:])):
        paths[name] = tmp_path / f"{name}.csv"
        paths[name].write_text("\n".join([lines[0], *part]))
    paths["other"] = shared_data / "hollance" / "probs_densenet40_c100_logits.csv"
    return paths


def test_an_unshifted_sample_of_a_real_record_is_not_flagged(run, real):
    # 5,000 unpaired answers each bound the rise of ECE to .02 only just, or just not
    code, out, _ = run(real["today"], "--baseline", real["june"], *COLUMNS, "--margin", "0.03")
    assert code == 0
    assert "flagged: nothing" in out


def test_a_shifted_sample_is_flagged(run, real):
    code, out, _ = run(real["other"], "--baseline", real["june"], *COLUMNS)
    assert code == 1
    assert "flagged: calibration, confidence drift, high-confidence mistakes" in out


def test_json_has_every_figure(run, real):
    _, out, _ = run(real["today"], "--baseline", real["june"], *COLUMNS, "--json")
    shown = json.loads(out)
    assert shown["flags"] == []
    assert shown["ece"]["outcome"] in ("pass", "inconclusive")
    assert shown["drift"]["psi"] < shown["drift"]["psi_limit"]
    assert shown["sample_ece"]["interval"][0] <= shown["sample_ece"]["interval"][1]


@pytest.fixture
def files(tmp_path):
    """A sample, and a baseline as the pytest plugin writes it."""
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.5, 0.95, 400)
    answers = TopLabelPredictions(range(400), confidences, rng.random(400) < confidences)
    sample = tmp_path / "sample.parquet"
    answers.write(sample)
    cell = {"model": "m", "task": "t", "quantizer": "bnb-nf4", "calibrator": "identity"}
    write(tmp_path, [Baseline("suite", cell, answers, {}, {}, {}, {}, {}, {})])
    return sample, tmp_path / "suite.json"


def test_a_baseline_of_the_plugin_is_read(run, files):
    sample, baseline = files
    assert run(sample, "--baseline", baseline)[0] == 3  # 400 items do not tell whether the ECE rose by 0.02
    code, out, err = run(sample, "--baseline", baseline, "--inconclusive", "pass")
    assert (code, err) == (0, "")
    assert "400 items, against a baseline of 400" in out
    named = f"{baseline}::m::t::bnb-nf4::identity"
    assert run(sample, "--baseline", named, "--inconclusive", "pass")[:2] == (0, out)


def test_one_of_several_baselines_is_named(run, files):
    sample, baseline = files
    one = read(baseline)
    write(baseline.parent, [replace(one, cell={**one.cell, "calibrator": "beta"})])
    code, _, err = run(sample, "--baseline", baseline)
    assert code == 2
    assert f"{baseline} holds 2 cells; name one, for example {baseline}::m::t::bnb-nf4::beta" in err
    code, _, err = run(sample, "--baseline", f"{baseline}::m::t::bnb-nf4::gone")
    assert (code, "there is no baseline of m::t::bnb-nf4::gone" in err) == (2, True)


def test_a_baseline_without_its_answers_is_named(run, files):
    sample, baseline = files
    baseline.with_suffix(".npz").unlink()
    code, _, err = run(sample, "--baseline", baseline)
    assert code == 2
    assert f"{baseline.with_suffix('.npz')} is missing" in err


def test_bad_input_exits_2_and_names_the_file(run, files, tmp_path):
    sample, baseline = files
    baseline.write_text(baseline.read_text().replace("bnb-nf4", "bnb-int8"))
    code, _, err = run(sample, "--baseline", baseline)
    assert code == 2
    assert f"{baseline} does not match its checksum" in err
    code, _, err = run(sample, "--baseline", tmp_path / "missing.parquet")
    assert (code, "missing.parquet" in err) == (2, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "digits"}, "the baseline's task is 'reviews' and the sample's 'digits'"),
        ({"classes": ["0", "1", "2"]}, "the baseline's classes is no, yes, so and the sample's 0, 1, 2"),
        ({"n_classes": 10}, "the baseline has 3 classes and the sample 10"),
    ],
)
def test_another_task_or_other_classes_are_refused(run, tmp_path, changes, message):
    rng = np.random.default_rng(0)
    facts = {"task": "reviews", "classes": ["no", "yes", "so"], "n_classes": 3}
    for name, said in (("june", facts), ("today", {**facts, **changes})):
        n_classes = said["n_classes"]
        logits, labels = rng.normal(size=(60, n_classes)), rng.integers(n_classes, size=60)
        metadata = {key: said[key] for key in changes if key != "n_classes"}
        Predictions(range(60), logits, labels, metadata).write(tmp_path / f"{name}.parquet")
    code, _, err = run(tmp_path / "today.parquet", "--baseline", tmp_path / "june.parquet")
    assert code == 2
    assert message in " ".join(err.split())
