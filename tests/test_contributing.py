"""What CONTRIBUTING.md shows runs, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def test_the_examples_run_and_keep_the_rules(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    code = "\n".join(blocks)
    tests = re.findall(r"^def (test_\w+)\(", code, re.MULTILINE)
    assert len(tests) == 3
    (tmp_path / "own.py").write_text(code + "".join(f"\n{name}()" for name in tests), encoding="utf-8")
    lines = "".join(f"{i % 2}\tThis is review number {i}.\n" for i in range(300))
    (tmp_path / "reviews.tsv").write_text(lines, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "mean-doubt[power=2]" in done.stdout
