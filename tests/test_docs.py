"""The pages for readers name everything there is."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from calbench import metrics

DOCS = Path(__file__).parents[1] / "docs"


def test_every_metric_has_its_line():
    lines = (DOCS / "metrics.md").read_text(encoding="utf-8").splitlines()
    described = {found[1]: line for line in lines if (found := re.match(r"\| `(\w+)` \|", line))}
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
