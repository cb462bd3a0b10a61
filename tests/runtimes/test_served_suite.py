"""The suite of served builds, and the documentation's commands, against llama.cpp's own servers."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="models need torch")
pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")

from calbench.runtimes import LlamaOptions, serving

pytestmark = [pytest.mark.embedded, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def run(program, arguments, folder, key):
    environment = {**os.environ, "CALBENCH_API_KEY": key, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *program, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_served_build_is_judged_by_the_suite(llama, float_file, tmp_path, monkeypatch):
    monkeypatch.setattr("calbench.runtimes._llama_cpp.secrets.token_hex", lambda n: llama.client.key)
    with serving(float_file, LlamaOptions(threads=1, slots=2, context=512)) as reference:
        (tmp_path / "calbench.toml").write_text(
            f'[models.shallow]\nserved.float = "{reference.client.address}"\nserved.q4_1 ='
            f' "{llama.client.address}"\nreference = "float"\ndefault_tasks = ["tweets"]\nmax_length = 400\n'
        )
        done = run(
            ["-m", "pytest"],
            [
                *(str(ROOT / "suites/test_served.py"), "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}"),
                *("--calbench-profile=quick", "--calbench-store=store", "--calbench-report=report"),
                "--calbench-inconclusive=pass",
            ],
            tmp_path,
            llama.client.key,
        )
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert {(row["quantizer"], row["calibrator"]) for row in results["cells"]} == {
        ("q4_1", "identity"),
        ("q4_1", "temperature"),
    }, done.stdout + done.stderr
    assert "3 passed" in done.stdout or "2 passed, 2 skipped" in done.stdout, done.stdout


def test_the_commands_of_the_documentation_run(llama, tmp_path):
    page = (ROOT / "docs" / "serving.md").read_text()
    block = re.search(r"```sh\n(llama-server .*?)```", page, re.DOTALL)[1]
    commands = [line for line in block.splitlines() if line.startswith("calbench ")]
    assert len(commands) >= 2
    for command in commands:
        written = command.replace("http://localhost:8080", str(llama.client.address))
        arguments = shlex.split(written, comments=True)[1:]
        done = run(["-c", "from calbench.cli import main; main()"], arguments, tmp_path, llama.client.key)
        assert done.returncode == 0, done.stdout + done.stderr
