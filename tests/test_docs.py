"""The pages for readers name everything there is."""

from __future__ import annotations

import ast
import importlib.util
import re
import textwrap
from pathlib import Path

import pytest

from calbench import metrics

DOCS = Path(__file__).parents[1] / "docs"


def test_every_metric_has_its_line():
    lines = (DOCS / "metrics.md").read_text(encoding="utf-8").splitlines()
    described = {found[1]: line for line in lines if (found := re.match(r"\| `([\w-]+)` \|", line))}
    ours = {name for name in metrics.names() if metrics.registry.origin(name).startswith("calbench.")}
    assert set(described) == ours
    for name, line in described.items():
        better = metrics.get(name).direction
        words = ("nearest", "neither") if better == "none" else (better,)
        assert any(word in line.split("|")[3] for word in words), f"{name}: its range says none of {words}"


def test_every_page_can_be_found():
    navigation = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert {page for page in pages if f": {page}" not in navigation} == set()


def test_the_list_of_public_names_is_that_of_the_code():
    path = DOCS.parent / "scripts" / "update_reference.py"
    spec = importlib.util.spec_from_file_location("update_reference", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = (DOCS / "reference" / "names.md").read_text(encoding="utf-8")
    assert written == script.page(), "run scripts/update_reference.py"
    assert not re.search(r"\|  ?\|$", written, re.MULTILINE)  # each name says what it is


PAGES = [*sorted(DOCS.rglob("*.md")), DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"]


def imported(page):
    """Yield each import of calbench that a page shows: the module, and a name of it or None."""
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(textwrap.dedent(block))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("calbench"):
                yield from ((node.module, alias.name) for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((alias.name, None) for alias in node.names if alias.name.startswith("calbench"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_imports_is_public_and_there(page):
    for module, name in imported(page):
        assert not any(part.startswith("_") for part in module.split("."))
        if not module.startswith("calbench_"):
            assert name is None or hasattr(importlib.import_module(module), name), f"{module}: {name}"
