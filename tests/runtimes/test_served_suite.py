"""The suite of served builds, and the documentation's commands, against llama.cpp's own servers."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="models need torch")
pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")

from typer.testing import CliRunner

from calbench.cli import app
from calbench.runtimes import LlamaOptions, serving

pytestmark = [pytest.mark.embedded, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def run(program, arguments, folder, *servers):
    keys = {f"CALBENCH_API_KEY_127_0_0_1_{s.client.address.port}": s.client.key for s in servers}
    environment = {**os.environ, **keys, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *program, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def judged(folder, declared, *servers, suites=("test_served",)):
    """Run suites on what a calbench.toml declares; returns results and output."""
    (folder / "calbench.toml").write_text(declared)
    done = run(
        ["-m", "pytest"],
        [
            *(str(ROOT / f"suites/{name}.py") for name in suites),
            *("-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}"),
            *("--calbench-profile=quick", "--calbench-store=store", "--calbench-report=report"),
            "--calbench-inconclusive=pass",
        ],
        folder,
        *servers,
    )
    file = folder / "report" / "results.json"
    assert file.is_file(), done.stdout + done.stderr
    return json.loads(file.read_text()), done.stdout


def test_a_served_build_is_judged_by_the_suite(llama, float_file, tmp_path):
    with serving(float_file, LlamaOptions(threads=1, slots=2, context=512)) as reference:
        results, output = judged(
            tmp_path,
            f'[models.shallow]\nserved.float = "{reference.client.address}"\nserved.q4_1 ='
            f' "{llama.client.address}"\nreference = "float"\ndefault_tasks = ["tweets"]\nmax_length = 400\n',
            llama,
            reference,
        )
    gates = {
        (row["quantizer"], row["calibrator"], gate["metric"])
        for row in results["cells"]
        for gate in row["gates"]
    }
    assert gates == {
        ("q4_1", "identity", "brier"),
        ("q4_1", "identity", "accuracy"),
        ("q4_1", "temperature", "nll"),
        ("q4_1", "temperature", "selective_risk"),
        ("float", "temperature", "selective_risk"),
    }, output


TRIAGE = """
[tasks.triage]
kind = "decision"
file = "tickets.csv"
state = "text"
label = "team"
instructions = "Which team should answer?"
options = { billing = "Invoices and refunds", tech = "Errors of the app", other = "" }
"""


def test_a_decision_model_is_judged_by_the_suite(servers, tmp_path):
    rows = [
        f"Ticket {n}: my card was charged {n} times.,{('billing', 'tech', 'other')[n % 3]}"
        for n in range(400)
    ]
    (tmp_path / "tickets.csv").write_text("\n".join(["text,team", *rows]))
    clean, moved = (f"{servers[fault]}/v1/systemone#mock" for fault in ("", "order-leaks"))
    results, output = judged(
        tmp_path,
        f'[models.triage-model]\nserved.bf16 = "{clean}"\nserved.q4 = "{moved}"\nreference = "bf16"\n'
        f'default_tasks = ["triage"]\n{TRIAGE}',
        suites=("test_served", "test_decisions"),
    )
    assert {row["quantizer"] for row in results["cells"]} == {"bf16", "q4"}, output
    assert "6 passed" in output, output  # two of them compare orders of options


PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
CALBENCH = ["-c", "from calbench.cli import main; main()"]


def test_the_commands_of_the_documentation_run(llama, tmp_path):
    block = re.search(r"```sh\n(llama-server .*?)```", PAGE, re.DOTALL)[1]
    commands = [line for line in block.splitlines() if line.startswith("calbench ")]
    assert len(commands) >= 2
    for command in commands:
        written = command.replace("http://localhost:8080", str(llama.client.address))
        done = run(CALBENCH, shlex.split(written, comments=True)[1:], tmp_path, llama)
        assert done.returncode == 0, done.stdout + done.stderr


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_the_documentation_leads_from_the_embedded_model_to_a_verdict(smollm2, tmp_path, monkeypatch):
    # The commands as they stand, with a model of two blocks and ports that are free.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("calbench.models.get", lambda name: smollm2)
    for command in re.findall(r"^calbench (export gguf .*)$", PAGE, re.MULTILINE):
        done = CliRunner().invoke(app, shlex.split(command))
        assert done.exit_code == 0, done.output
    monkeypatch.undo()
    (serve,) = re.findall(r"```python\n(import signal.*?)```", PAGE, re.DOTALL)
    (tmp_path / "serve.py").write_text(serve)
    ports = {name: free_port() for name in ("8080", "8081")}
    (declared,) = re.findall(r"```toml\n(\[models.smollm2-served\].*?)```", PAGE, re.DOTALL)
    (asked,) = re.findall(r"```sh\n(calbench doctor .*?check.*?)```", PAGE, re.DOTALL)
    for old, new in ports.items():
        declared, asked = declared.replace(old, str(new)), asked.replace(old, str(new))
    (tmp_path / "calbench.toml").write_text(declared)
    doctor, check, _ = asked.splitlines()
    serving_both = re.findall(r"`python serve.py (\S+) (\d+)`", PAGE)
    with ExitStack() as stack:
        for file, port in serving_both:
            command = [sys.executable, "serve.py", file, str(ports[port])]
            child = stack.enter_context(subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL))
            stack.callback(child.kill)
        for port in ports.values():
            wait_until_healthy(port)
        done = run(CALBENCH, shlex.split(doctor)[1:], tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        done = run(CALBENCH, shlex.split(check)[1:], tmp_path)
    assert done.returncode in (0, 1, 3), done.stdout + done.stderr  # kept, lost or undecided
    assert re.search(r"^(kept|LOST|undecided): q4_0", done.stdout, re.MULTILINE), done.stdout + done.stderr


def wait_until_healthy(port):
    for _ in range(600):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return
        time.sleep(0.1)
    raise AssertionError(f"nothing answers on {port}")
