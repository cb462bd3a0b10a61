"""``--calbench-correction``: many gates, and how many may fail by chance."""

from __future__ import annotations

import pytest

MANY = """
import numpy as np
import pytest

# Calibrated reference; candidates that are a little, or much, too sure.
@pytest.mark.parametrize("scale", [1.0] * 30 + [1.6, 4.0])
def test_it(calbench, scale):
    rng = np.random.default_rng(0)
    fp32 = 2 * rng.normal(size=(500, 3))
    labels = np.argmax(fp32 + rng.gumbel(size=fp32.shape), axis=1)
    calbench.compare(fp32, scale * fp32, labels).require("brier", max_increase=MARGIN)
"""


@pytest.fixture
def many(arrays):
    def run(*options, margin):
        return arrays(*options, suite=MANY.replace("MARGIN", str(margin)))

    return run


@pytest.fixture
def borderline():
    """A margin that the smaller regression exceeds at 95%, but not after 32 gates are corrected for."""
    import numpy as np

    from calbench import compare
    from calbench.statistics import exceedance_p_value

    rng = np.random.default_rng(0)
    fp32 = 2 * rng.normal(size=(500, 3))
    labels = np.argmax(fp32 + rng.gumbel(size=fp32.shape), axis=1)
    compared = compare(fp32, 1.6 * fp32, labels)
    pair = [compared.arm(side).resampled("brier") for side in ("reference", "candidate")]
    for margin in np.linspace(0, 0.1, 1001):
        if 0.01 < exceedance_p_value(*pair, limit=float(margin)) < 0.04:
            return float(margin)
    raise AssertionError("no margin lies at the border")


def test_a_failure_that_chance_explains_does_not_survive(many, borderline, workers):
    plain = many(margin=borderline)
    plain.assert_outcomes(passed=30, failed=2)
    plain.stdout.fnmatch_lines(["false alarms: of 32 gates at most 1.6 may be expected to fail by chance*"])
    corrected = many("--calbench-correction=holm", *workers, margin=borderline)
    corrected.assert_outcomes(passed=30, failed=1)
    assert corrected.ret == 1
    corrected.stdout.fnmatch_lines(
        [
            "*after Holm's correction over all gates of the run:*",
            "*brier got worse by more than the margin*",
            "gates: 30 passed, 1 failed, 1 inconclusive",
            "false alarms: with Holm's correction the chance of any among these 32 is at most 5%",
            "*1 failed, 30 passed, 1 inconclusive*",
        ]
    )


def test_a_gate_of_a_lower_level_is_counted_with_its_own_chance(arrays):
    suite = MANY.replace("MARGIN", "0.02, level=0.9").replace("[1.0] * 30 + [1.6, 4.0]", "[1.0]")
    arrays("--calbench-correction=holm", suite=suite).stdout.fnmatch_lines(
        ["false alarms: with Holm's correction the chance of any among these 1 is at most 10%"]
    )


def test_a_corrected_failure_is_undecided_and_may_be_made_to_fail(many, borderline):
    result = many("--calbench-correction=holm", "--calbench-inconclusive=fail", margin=borderline)
    result.assert_outcomes(passed=30, failed=2)


def test_a_run_without_survivors_is_green(many, borderline):
    result = many("--calbench-correction=holm", "-k", "1.0 or 1.6", margin=borderline)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["gates: 30 passed, 0 failed, 1 inconclusive"])


def test_junit_shows_the_corrected_failure(many, borderline, pytester):
    many("--calbench-correction=holm", "--junitxml=junit.xml", margin=borderline)
    assert (pytester.path / "junit.xml").read_text().count("<failure") == 1
