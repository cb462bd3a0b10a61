"""Type checkers see through the facade: no name of it is Any."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import calbench

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).parent / "typing_checks" / "users_file.py"
N_REVEALED = FILE.read_text().count("    reveal_type(")


def output_of(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command, str(FILE)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def check(output: str, pattern: str) -> None:
    assert not re.search(r"(: | - )error:", output), output
    revealed = re.findall(pattern, output)
    assert len(revealed) == N_REVEALED, output
    assert not [kind for kind in revealed if re.search(r"\bAny\b|\bUnknown\b", kind)], revealed


def test_mypy_knows_every_type_that_a_user_meets():
    check(output_of("mypy", "--strict"), r'Revealed type is "(.*)"')


def test_pyright_knows_every_type_that_a_user_meets():
    pytest.importorskip("pyright", reason="pyright is not installed")
    output = output_of("pyright", "--pythonpath", sys.executable)
    if "Revealed" not in output and 'is "' not in output:
        pytest.skip("pyright cannot run here: it fetches node where there is none")
    check(output, r'Type of ".*" is "(.*)"')


def test_the_facade_names_what_type_checkers_see():
    text = Path(calbench.__file__).read_text()
    declared = set(re.findall(r"^    from \S+ import \w+ as (\w+)$", text, re.MULTILINE))
    assert declared | {"__version__"} == set(calbench.__all__)


def test_every_name_of_the_facade_is_there():
    assert {name for name in calbench.__all__ if getattr(calbench, name, None) is None} == set()
