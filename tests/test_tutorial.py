"""The tutorial runs as it stands there, from its first record to the red gate and back to green."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
PROGRAM, SUITE, ACCEPTED = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
# (the exit status that is announced, the commands) of each block after the installation
BLOCKS = [
    (int(status or 0), re.findall(r"^\$ (.*)$", block, re.MULTILINE))
    for status, block in re.findall(r"(?:<!-- exit: (\d) -->\n)?```console\n(.*?)```", TUTORIAL, re.DOTALL)
][1:]


def test_the_way_to_a_red_gate_and_back(tmp_path):
    pytest.importorskip("sklearn")
    (tmp_path / "digits.py").write_text(PROGRAM)
    (tmp_path / "test_calibration.py").write_text(SUITE)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "CALBENCH_CACHE": str(tmp_path / "cache")}
    outputs = []
    for number, (status, commands) in enumerate(BLOCKS):
        if number == len(BLOCKS) - 1:
            lines = SUITE.splitlines(keepends=True)
            (tmp_path / "test_calibration.py").write_text("".join(lines[:-1]) + ACCEPTED)
        for command in commands:
            done = subprocess.run(
                command,
                shell=True,
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
            outputs.append(done.stdout)
    assert len(outputs) == 7
    red, green, accepted = outputs[-3:]
    assert "1 failed, 1 passed" in red
    assert "1 passed" in green
    assert "1 passed, 1 xfailed" in accepted
