"""``--calbench-baseline`` and ``--calbench-update-baseline``: what was accepted, and what may replace it."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.pytest_plugin.conftest import results

GATED = """
import calbench

pytestmark = calbench.grid(
    models="tiny", tasks="coin", quantizers="bnb-nf4", calibrators="identity,temperature"
)

def test_nothing_got_worse(calbench):
    transfer = calbench.transfer()
    transfer.require("ece", "brier_toplabel", max_increase=MARGIN, against="baseline")
    transfer.require("accuracy", max_decrease=MARGIN, against="baseline")
"""

IDENTITY = "tiny::coin::bnb-nf4::identity"
TEMPERATURE = "tiny::coin::bnb-nf4::temperature"


@pytest.fixture
def gated(project):
    def run(*options, margin=0.02, suite=GATED, **more):
        return project("--calbench-baseline", "accepted", *options, margin=margin, suite=suite, **more)

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Where the baselines of today's results are kept, once a test has made them."""
    return tmp_path_factory.mktemp("made") / "accepted"


@pytest.fixture
def accepted(gated, pytester, made) -> Path:
    """A folder of baselines of today's results."""
    if not made.exists():
        gated("--calbench-update-baseline").assert_outcomes(passed=2)
        shutil.copytree(pytester.path / "accepted", made)
    shutil.copytree(made, pytester.path / "accepted", dirs_exist_ok=True)
    return pytester.path / "accepted"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_update_writes_and_an_unchanged_run_passes_without_a_margin(gated, pytester, workers):
    result = gated("--calbench-update-baseline", *workers)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["baselines: 2 of 2 changed in accepted; review and commit them"])
    assert list(files(pytester.path / "accepted")) == ["test_suite.json", "test_suite.npz"]
    result = gated("--calbench-report=report", *workers, margin=0)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["gates: 6 passed, 0 failed, 0 inconclusive"])
    found = [gate for row in results(pytester)["cells"] for gate in row["gates"]]
    assert {(g["candidate"], g["reference"], g["delta"]) for g in found} == {("transferred", "baseline", 0.0)}


def test_a_second_update_changes_no_byte(gated, accepted):
    before = files(accepted)
    result = gated("--calbench-update-baseline")
    result.stdout.fnmatch_lines(["baselines: 0 of 2 changed *"])
    assert files(accepted) == before


def test_a_baseline_reads_well_in_a_review(accepted):
    text = (accepted / "test_suite.json").read_text()
    contents = json.loads(text)
    (line,) = (line for line in text.splitlines() if f'"{TEMPERATURE}"' in line)  # one line a cell
    value, which = json.loads(f"{{{line.strip().rstrip(',')}}}")[TEMPERATURE]["metrics"]["ece"]
    assert 0 < value < 1
    assert contents["metrics"][which]["n_bins"] == 15
    shared = contents["shared"][contents["cells"][TEMPERATURE]["shared"]]
    assert shared["items"]["n_test"] > 0
    assert shared["identity"]["versions.torch"]


def test_seeds_of_the_bootstrap_do_not_matter_to_an_unchanged_run(gated, accepted):
    for seed in range(3):
        gated(f"--calbench-bootstrap-seed={seed}", margin=0).assert_outcomes(passed=2)


def test_a_partial_update_touches_only_the_selected_cells(gated, accepted):
    before = files(accepted)
    path = accepted / "test_suite.json"
    contents = json.loads(path.read_text())
    for name in (IDENTITY, TEMPERATURE):
        contents["cells"][name]["checksum"] = "another"
    path.write_text(json.dumps(contents))
    gated("--calbench-update-baseline", "-k", "identity").assert_outcomes(passed=1, deselected=1)
    after = json.loads(path.read_text())["cells"]
    assert after[IDENTITY]["checksum"] != "another"
    assert after[TEMPERATURE]["checksum"] == "another"
    gated("--calbench-update-baseline", "-k", "temperature").assert_outcomes(passed=1, deselected=1)
    assert files(accepted) == before


def test_a_run_that_is_not_green_accepts_nothing(gated, pytester):
    suite = GATED + "\ndef test_other(calbench):\n    assert calbench.cell.calibrator == 'identity'\n"
    result = gated("--calbench-update-baseline", suite=suite)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["baselines not updated: the run was not complete and green*"])
    assert not (pytester.path / "accepted").exists()


def test_a_missing_baseline_fails(gated, accepted):
    for name in files(accepted):
        (accepted / name).unlink()
    result = gated()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*test_suite.json: there is no such baseline; *--calbench-update-baseline"])


def test_a_stale_baseline_is_reported_unless_the_run_is_narrowed(gated, accepted, workers):
    from calbench import baselines

    before = files(accepted)
    one = baselines.read(accepted / "test_suite.json", IDENTITY)
    baselines.write(accepted, [replace(one, cell={**one.cell, "calibrator": "gone"})])
    result = gated(*workers)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["1 stale baselines in accepted: their cells are gone (tiny::coin::bnb-nf4::gone); the next *"]
    )
    gated("--calbench-calibrators=identity").stdout.no_fnmatch_line("*stale baselines*")
    gated("--calbench-profile=full").stdout.no_fnmatch_line("*stale baselines*")
    result = gated(*workers, "--calbench-update-baseline")
    result.stdout.fnmatch_lines(["baselines: 0 of 2 changed, 1 removed in accepted; *"])
    assert files(accepted) == before


def rewrite(accepted: Path, change) -> None:
    """Change a baseline as a careful hand would: with the right checksums."""
    from calbench import baselines

    one = baselines.read(accepted / "test_suite.json", IDENTITY)
    payload = baselines.payload_of(one)
    change(payload["fields"])
    baselines.write(accepted, [baselines.from_payload(payload)])


REFUSALS = {
    "bins": (
        lambda c: c["metrics"]["ece"]["fingerprint"].update(n_bins=10),
        "*ece was defined differently (n_bins: 10 then, 15 now)*",
    ),
    "scoring": (
        lambda c: c["scoring"].update(prompt="Q: {text}"),
        "*asked in another way (scoring differs in prompt)*",
    ),
    "test items": (lambda c: c["items"].update(test_sha256="0"), "*other test items (* the data changed)*"),
    "calibration items": (lambda c: c["items"].update(calibration_sha256="0"), "*other calibration items*"),
    "metric": (lambda c: c["metrics"].pop("ece"), "*it holds accuracy, brier_toplabel, not ece*"),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_what_cannot_be_compared_is_refused(gated, accepted, reason):
    change, message = REFUSALS[reason]
    rewrite(accepted, change)
    result = gated("-k", "identity")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines([message])
    result.stdout.fnmatch_lines([f"*BaselineRefusedError: *{IDENTITY}: *to accept today's result*"])


def test_another_profile_or_seed_is_refused_and_named(gated, accepted):
    result = gated("--calbench-profile=full", "--calbench-seeds=7", "-k", "temperature")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*profile was 'default' and is 'full'; seed was 42 and is 7*"])


def test_a_failure_against_a_baseline_names_what_the_record_is_made_of_otherwise(gated, accepted):
    def other_weights(fields):
        fields["identity"]["model.weights"] = "0" * 64
        fields["identity"]["versions.torch"] = "1.0"

    rewrite(accepted, other_weights)
    result = gated("-k", "identity", margin=-0.01)
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["*changed since*: model.weights: 0000*... -> *", "*changed since*: versions.torch: 1.0 -> 2.*"]
    )


def flip_a_byte(path: Path) -> None:
    """In the middle of the array that the sidecar's last test answers are in."""
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(f"{IDENTITY}/confidences.npy")
    content = bytearray(path.read_bytes())
    content[entry.header_offset + 30 + len(entry.filename) + 20 + entry.compress_size // 2] ^= 0xFF
    path.write_bytes(content)


def swap_answers(path: Path) -> None:
    with np.load(path.with_suffix(".npz")) as arrays:
        kept = dict(arrays)
    for part in ("items", "confidences", "correct"):
        kept[f"{IDENTITY}/{part}"] = kept[f"{TEMPERATURE}/{part}"]
    np.savez_compressed(path.with_suffix(".npz"), **kept)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda p: p.write_text(p.read_text().replace('"seed": 42', '"seed": 43')),
            "*does not match its checksum*: it was edited by hand*",
        ),
        (lambda p: p.write_text(re.sub(r'"ece": .0..', '"ece": [0.1', p.read_text())), "*edited by hand*"),
        (
            lambda p: p.write_text(p.read_text().replace('"format": 2', '"format": 99')),
            "*is in format 99, and this calbench reads 2*",
        ),
        (lambda p: p.write_text("{"), "*is damaged and cannot be read*"),
        (lambda p: p.with_suffix(".npz").unlink(), "*npz is missing*"),
        (lambda p: p.with_suffix(".npz").write_bytes(b"PK"), "*npz is damaged*"),
        (lambda p: flip_a_byte(p.with_suffix(".npz")), "*npz is damaged*--calbench-update-baseline"),
        (swap_answers, f"*npz does not belong to test_suite.json: the answers of {IDENTITY} are others*"),
    ],
    ids=[
        "edited",
        "another value",
        "another format",
        "broken",
        "no answers",
        "broken answers",
        "a flipped byte",
        "other answers",
    ],
)
def test_a_damaged_baseline_is_refused(gated, accepted, damage, message):
    damage(accepted / "test_suite.json")
    result = gated("-k", "identity")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines([message])


def test_an_update_replaces_damaged_answers(gated, accepted):
    before = files(accepted)
    flip_a_byte(accepted / "test_suite.npz")
    result = gated("--calbench-update-baseline")
    result.stdout.fnmatch_lines(["baselines: * of 2 changed *"])
    assert files(accepted) == before


def test_answers_with_any_byte_flipped_are_refused_or_read_as_they_were(tmp_path):
    from calbench import TopLabelPredictions, baselines
    from calbench.errors import BaselineRefusedError

    answers = TopLabelPredictions(range(4), [0.5, 0.6, 0.7, 0.8], [True, False, True, True])
    cell = {"model": "m", "task": "t", "quantizer": "q", "calibrator": "identity"}
    baselines.write(tmp_path, [baselines.Baseline("suite", cell, answers, {}, {}, {}, {}, {}, {})])
    sidecar = tmp_path / "suite.npz"
    content = sidecar.read_bytes()
    for place in range(len(content)):
        sidecar.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        os.utime(sidecar, ns=(place, place))  # so that each is a file not read before
        try:
            read = baselines.read(sidecar.with_suffix(".json")).answers
        except BaselineRefusedError:
            continue
        assert read.confidences.tolist() == answers.confidences.astype("f4").tolist()


def test_without_a_folder_the_requirement_is_not_asked_and_the_summary_says_so(project):
    result = project(suite=GATED, margin=0.02)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["6 requirements against a baseline were not asked: name one with --calbench-baseline DIR*"]
    )


def test_a_folder_that_is_not_there_is_a_usage_error(gated):
    result = gated()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--calbench-baseline=*accepted: there is no such folder*"])


def test_an_update_needs_a_folder(project):
    result = project("--calbench-update-baseline", suite=GATED)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*name the folder with --calbench-baseline DIR*"])


def test_a_suite_that_asks_nothing_of_a_baseline_leaves_none(gated):
    suite = GATED.replace(', against="baseline"', "").replace("MARGIN", "1")
    result = gated("--calbench-update-baseline", suite=suite)
    result.stdout.fnmatch_lines(["baselines not updated: no test required anything against='baseline'"])


def test_a_metric_that_needs_class_vectors_is_refused(gated, accepted):
    result = gated("-k", "identity", suite=GATED.replace('"brier_toplabel"', '"nll"'))
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*'nll' needs the probability of every class*"])


def test_suites_of_one_name_are_refused(gated, accepted, pytester):
    for name in ("a", "b"):
        pytester.mkpydir(name).joinpath("test_twin.py").write_text(GATED.replace("MARGIN", "0.02"))
    result = gated("a", "b")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*have one name; rename one: baselines are kept by it*"])
