"""docs/run.md shows what a red and a green run really print; ``UPDATE_DOCS=1`` writes it anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "run.md"
RUNS = {"red": ("--tb=no",), "undecided": ("-k", "not int2"), "green": ("-k", "int8")}


def printed(result: pytest.RunResult) -> str:
    """Return calbench's section of what was printed, without blanks that move."""
    lines = [line for line in result.outlines if line]
    first = next(i for i, line in enumerate(lines) if "= calbench: " in line)
    last = next(i for i, line in enumerate(lines) if i > first and line.startswith("="))
    return "\n".join(lines[first:last])


@pytest.mark.parametrize("kind", RUNS)
def test_the_page_shows_what_is_printed_and_posted(pytester, monkeypatch, kind):
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    page = PAGE.read_text(encoding="utf-8")
    pytester.makepyfile(test_builds=re.search(r"```python\n(.*?)```", page, re.DOTALL)[1])
    options = ("-p", "no:cacheprovider", "--calbench-report=report", *RUNS[kind])
    result = pytester.runpytest_inprocess(*options)
    assert result.ret == (kind == "red")
    comment = (pytester.path / "report" / "comment.md").read_text(encoding="utf-8").strip()
    for language, text in (("text", printed(result)), ("markdown", comment)):
        block = re.compile(rf"```{language} {kind}\n(.*?)```", re.DOTALL)
        if os.environ.get("UPDATE_DOCS"):
            page = block.sub(lambda _, new=f"```{language} {kind}\n{text}\n```": new, page)
            PAGE.write_text(page, encoding="utf-8")
        assert block.search(page)[1].strip() == text
