"""What the README and the pages it leads to show runs as it stands there."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from calbench import Predictions

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/commands.md", "docs/plugins.md")
README = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CONSOLE = [
    line[2:].split("#")[0].strip()
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
WORDS = np.random.default_rng(0).integers(60, size=(400, 8))
HEADLINES = "id,text,label\n" + "\n".join(
    f"h{i},{' '.join(f'w{word}' for word in words)},{i % 2}" for i, words in enumerate(WORDS)
)


def block(containing: str) -> str:
    return next(code for code in PYTHON if containing in code)


def test_own_components_run_with_the_command_shown(pytester: pytest.Pytester, tiny_encoder: Path):
    components = [block("@calbench.model"), block("@calbench.task"), block("class BaseRates")]
    pytester.makeconftest("\n".join(components))
    shutil.copytree(tiny_encoder, pytester.path / "models" / "my-bert")
    (pytester.path / "headlines.csv").write_text(HEADLINES)
    suite = block('quantizers="not fp32"').replace("0.02", "1.0")
    (pytester.path / "suites").mkdir()
    (pytester.path / "suites" / "test_transfer.py").write_text(suite)
    (command,) = [line for line in CONSOLE if "base-rates" in line]
    result = pytester.runpytest_subprocess(
        *command.split()[1:], "--calbench-store", "store", "--calbench-quantizers", "bnb-int8"
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*my-bert-headlines-bnb-int8-base-rates*"])


def test_the_calibrator_takes_at_most_a_dozen_lines():
    whole, _, _ = block("class BaseRates").partition("\n    def fit_confidences")  # which may be left out
    assert len(whole.strip().splitlines()) <= 12


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(400, 3)), rng.integers(3, size=400)
    for name, scale in (("fp32", 1.0), ("int4", 1.3)):
        Predictions(range(400), scale * logits, labels).write(f"{name}.parquet")


ON_FILES = [line for line in CONSOLE if line.startswith("calbench ") and ".parquet" in line]


@pytest.mark.parametrize("command", ON_FILES)
def test_commands_on_files_run(command, files, monkeypatch):
    from calbench import cli

    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code in (0, 1)


def test_the_library_example_runs(files, capsys):
    exec(compile(block("calbench.transfer(fp32"), "README.md", "exec"), {})
    assert "Change(value=" in capsys.readouterr().out
