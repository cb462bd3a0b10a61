"""The example of a calibrator in a package of its own, installed from its folder as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "examples" / "calbench-example-plugin"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the plugin is installed, beside and not inside the one under test."""
    pytest.importorskip("hatchling", reason="building the plugin without a network needs hatchling")
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--disable-pip-version-check", "--target", str(target), str(PLUGIN)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), *filter(None, sys.path)])}


def test_its_calibrator_is_listed_with_its_distribution(environment):
    command = [sys.executable, "-c", "from calbench.cli import main; main()", "list", "calibrators"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    (line,) = [line for line in done.stdout.splitlines() if "prior-mixing" in line]
    assert "calbench-example-plugin" in line


def test_its_own_tests_pass(environment, tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PLUGIN / "tests")]
    command += ["-c", os.devnull, "--rootdir", str(PLUGIN), f"--basetemp={tmp_path / 'base'}"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
