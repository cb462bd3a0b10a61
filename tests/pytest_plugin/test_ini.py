"""Every option is an ini key too; the command line goes first."""

from __future__ import annotations

from dataclasses import fields

import pytest

from calbench._pytest._options import Options, read_options
from calbench.pytest_options import OPTIONS

VALUES = {
    "models": ("minilm", "minilm"),
    "quantizers": ("fp32", "fp32"),
    "tasks": ("tweets", "tweets"),
    "calibrators": ("temperature", "temperature"),
    "chat": ("true", "true"),
    "multiturn": ("false", "false"),
    "profile": ("quick", "quick"),
    "items": ("500", 500),
    "folds": ("5", 5),
    "seeds": ("1,2", (1, 2)),
    "bootstrap_seed": ("3", 3),
    "level": ("0.9", 0.9),
    "resamples": ("500", 500),
    "inconclusive": ("fail", "fail"),
    "correction": ("holm", "holm"),
    "report": ("out", "out"),
    "store": ("kept", "kept"),
    "records": ("imported", "imported"),
    "baseline": ("accepted", "accepted"),
    "update_baseline": ("true", True),
    "device": ("cuda:1", "cuda:1"),
    "lm_eval_include": ("my-tasks", "my-tasks"),
    "trust_lm_eval_code": ("yes", True),
    "replay": ("yes", True),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_has_an_ini_key(pytester, name):
    text, value = VALUES[name]
    pytester.makeini(f"[pytest]\ncalbench_{name} = {text}\n")
    found = getattr(read_options(pytester.parseconfig()), name)
    assert found == (pytester.path / value if OPTIONS[name].is_folder else value)


def test_each_option_is_a_field():
    assert [field.name for field in fields(Options)] == list(OPTIONS) == list(VALUES)


def test_the_command_line_goes_before_the_ini_file(pytester):
    pytester.makeini("[pytest]\ncalbench_profile = full\n")
    assert read_options(pytester.parseconfig("--calbench-profile=quick")).profile == "quick"


def test_folders_of_an_ini_file_are_beside_it_wherever_pytest_is_run(pytester, monkeypatch):
    pytester.makeini("[pytest]\ncalbench_baseline = accepted\n")
    inside = pytester.mkdir("inside")
    monkeypatch.chdir(inside)
    options = read_options(pytester.parseconfig("--calbench-report=out"))
    assert options.baseline == pytester.path / "accepted"
    assert options.report == inside / "out"


def test_a_value_that_cannot_be_used_names_its_file(pytester):
    pytester.makeini("[pytest]\ncalbench_profile = fast\n")
    with pytest.raises(pytest.UsageError, match=r"tox\.ini: calbench_profile: 'fast': choose from quick"):
        read_options(pytester.parseconfig())


def test_a_bad_key_stops_the_run(arrays, pytester):
    pytester.makeini("[pytest]\ncalbench_level = 2\n")
    assert arrays().ret == pytest.ExitCode.USAGE_ERROR


def test_help_shows_every_option(pytester):
    shown = pytester.runpytest_inprocess("--help").stdout.str()
    for name in OPTIONS:
        assert f"--calbench-{name}".replace("_", "-") in shown
        assert f"calbench_{name}" in shown
