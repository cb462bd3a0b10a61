"""``--calbench-baseline`` and ``--calbench-update-baseline``: what was accepted, and what may replace it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

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
    return pytester.path / "accepted" / "test_suite"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_update_writes_and_an_unchanged_run_passes_without_a_margin(gated, pytester, workers):
    result = gated("--calbench-update-baseline", *workers)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["baselines: 2 of 2 changed in accepted; review and commit them"])
    written = files(pytester.path / "accepted" / "test_suite")
    assert list(written) == [
        f"tiny-coin-bnb_nf4-{calibrator}.{suffix}"
        for calibrator in ("identity", "temperature")
        for suffix in ("json", "npz")
    ]
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
    text = (accepted / "tiny-coin-bnb_nf4-temperature.json").read_text()
    contents = json.loads(text)
    assert text == json.dumps(contents, indent=1, sort_keys=True) + "\n"
    assert contents["metrics"]["ece"]["fingerprint"]["n_bins"] == 15
    assert contents["items"]["n_test"] > 0
    assert contents["versions"]["torch"]


def test_seeds_of_the_bootstrap_do_not_matter_to_an_unchanged_run(gated, accepted):
    for seed in range(3):
        gated(f"--calbench-bootstrap-seed={seed}", margin=0).assert_outcomes(passed=2)


def test_a_partial_update_touches_only_the_selected_cells(gated, accepted):
    broken = accepted / "tiny-coin-bnb_nf4-identity.json"
    broken.write_text("broken")
    kept = accepted / "tiny-coin-bnb_nf4-temperature.json"
    kept.write_text("broken too")
    gated("--calbench-update-baseline", "-k", "identity").assert_outcomes(passed=1, deselected=1)
    assert json.loads(broken.read_text())["cell"]["calibrator"] == "identity"
    assert kept.read_text() == "broken too"


def test_a_run_that_is_not_green_accepts_nothing(gated, pytester):
    suite = GATED + "\ndef test_other(calbench):\n    assert calbench.cell.calibrator == 'identity'\n"
    result = gated("--calbench-update-baseline", suite=suite)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["baselines not updated: the run was not complete and green*"])
    assert not (pytester.path / "accepted").exists()


def test_a_missing_baseline_fails(gated, accepted):
    (accepted / "tiny-coin-bnb_nf4-identity.json").unlink()
    result = gated()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*tiny-coin-bnb_nf4-identity.json: there is no such baseline; *--calbench-update-baseline"]
    )


def test_a_stale_baseline_is_reported_unless_the_run_is_narrowed(gated, accepted, workers):
    for suffix in ("json", "npz"):
        shutil.copy(
            accepted / f"tiny-coin-bnb_nf4-identity.{suffix}", accepted / f"tiny-coin-bnb_nf4-gone.{suffix}"
        )
    result = gated(*workers)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["1 stale baselines in accepted: their cells are gone (tiny-coin-bnb_nf4-gone); delete them"]
    )
    gated("--calbench-calibrators=identity").stdout.no_fnmatch_line("*stale baselines*")
    gated("--calbench-profile=full").stdout.no_fnmatch_line("*stale baselines*")


def rewrite(path: Path, change) -> None:
    """Change a baseline as a careful hand would: with the right checksum."""
    from calbench.store import key_of

    contents = json.loads(path.read_text())
    contents.pop("checksum")
    change(contents)
    path.write_text(json.dumps({**contents, "checksum": key_of(contents)}))


REFUSALS = {
    "bins": (
        lambda c: c["metrics"]["ece"]["fingerprint"].update(n_bins=10),
        "*ece was defined differently (n_bins: 10 then, 15 now)*",
    ),
    "scoring": (
        lambda c: c["scoring"].update(prompt="Q: {text}"),
        "*asked in another way (scoring differs in prompt)*",
    ),
    "version": (lambda c: c["versions"].update(calbench="0.0.9"), "*made by calbench 0.0.9*"),
    "format": (lambda c: c.update(format=99), "*is in format 99, and this calbench reads 1*"),
    "cell": (lambda c: c["cell"].update(calibrator="beta"), "*it is of another cell: *beta*"),
    "test items": (lambda c: c["items"].update(test_sha256="0"), "*other test items (* the data changed)*"),
    "calibration items": (lambda c: c["items"].update(calibration_sha256="0"), "*other calibration items*"),
    "metric": (lambda c: c["metrics"].pop("ece"), "*it holds accuracy, brier_toplabel, not ece*"),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_what_cannot_be_compared_is_refused(gated, accepted, reason):
    change, message = REFUSALS[reason]
    rewrite(accepted / "tiny-coin-bnb_nf4-identity.json", change)
    result = gated("-k", "identity")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines([message])
    result.stdout.fnmatch_lines(
        ["*tiny-coin-bnb_nf4-identity: BaselineRefusedError: *to accept today's result*"]
    )


def test_another_profile_or_seed_is_refused_and_named(gated, accepted):
    result = gated("--calbench-profile=full", "--calbench-seeds=7", "-k", "temperature")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*profile was 'default' and is 'full'; seed was 42 and is 7*"])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda p: p.write_text(p.read_text().replace('"seed": 42', '"seed": 43')),
            "*does not match its checksum: it was edited by hand*",
        ),
        (lambda p: p.write_text("{"), "*is damaged and cannot be read*"),
        (lambda p: p.with_suffix(".npz").unlink(), "*npz is missing*"),
        (lambda p: p.with_suffix(".npz").write_bytes(b"PK"), "*npz is damaged*"),
        (lambda p: flip_a_byte(p.with_suffix(".npz")), "*npz is damaged*--calbench-update-baseline"),
        (
            lambda p: shutil.copy(p.with_name("tiny-coin-bnb_nf4-temperature.npz"), p.with_suffix(".npz")),
            "*npz does not belong to tiny-coin-bnb_nf4-identity.json*",
        ),
    ],
    ids=["edited", "broken", "no answers", "broken answers", "a flipped byte", "other answers"],
)
def test_a_damaged_baseline_is_refused(gated, accepted, damage, message):
    damage(accepted / "tiny-coin-bnb_nf4-identity.json")
    result = gated("-k", "identity")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines([message])


def test_an_update_replaces_damaged_answers(gated, accepted):
    before = files(accepted)
    flip_a_byte(accepted / "tiny-coin-bnb_nf4-identity.npz")
    result = gated("--calbench-update-baseline")
    result.stdout.fnmatch_lines(["baselines: 1 of 2 changed *"])
    assert files(accepted) == before


def test_answers_with_any_byte_flipped_are_refused_or_read_as_they_were(tmp_path):
    from calbench import TopLabelPredictions, baselines
    from calbench.errors import BaselineRefusedError

    answers = TopLabelPredictions(range(4), [0.5, 0.6, 0.7, 0.8], [True, False, True, True])
    cell = {"model": "m", "task": "t", "quantizer": "q", "calibrator": "identity"}
    baselines.write(tmp_path, "cell", baselines.Baseline("suite", cell, answers, {}, {}, {}, {}, {}, {}))
    sidecar = tmp_path / "suite" / "cell.npz"
    content = sidecar.read_bytes()
    for place in range(len(content)):
        sidecar.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
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
