"""Packages are entered through their faces, and a face says what it holds."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import calbench

ROOT = Path(calbench.__file__).parent
PACKAGES = sorted(
    str(path.parent.relative_to(ROOT.parent)).replace("/", ".")
    for path in ROOT.rglob("__init__.py")
    if path.parent != ROOT
)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_no_import_reaches_past_a_face():
    past = []
    for path in ROOT.rglob("*.py"):
        own = path.relative_to(ROOT.parent).with_suffix("").parts[:2]
        for name in imports(path):
            parts = tuple(name.split("."))
            inner = any(part.startswith("_") and not part.startswith("__") for part in parts[2:])
            if parts[0] == "calbench" and len(parts) > 2 and parts[:2] != own and inner:
                past.append(f"{path.relative_to(ROOT.parent)}: {name}")
    assert past == []


@pytest.mark.parametrize("name", [name for name in PACKAGES if name.count(".") == 1])
def test_every_package_has_a_contract_that_its_face_is_the_only_way_in(name):
    settings = (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert f'protected_modules = ["{name}.**"]\nallowed_importers = ["{name}"]' in settings


@pytest.mark.parametrize("name", PACKAGES)
def test_no_module_shadows_a_name_of_its_face(name):
    face = importlib.import_module(name)
    modules = {path.stem for path in Path(face.__file__).parent.iterdir() if path.name != "__init__.py"}
    assert not modules & set(getattr(face, "__all__", ()))


@pytest.mark.parametrize("name", [name for name in PACKAGES if not name.split(".")[1].startswith("_")])
def test_a_face_names_what_it_imports(name):
    face = importlib.import_module(name)
    named = list(getattr(face, "__all__", []))
    assert {n for n in named if not hasattr(face, n)} == set()
    assert len(named) == len(set(named))


def test_a_reference_comes_before_its_candidate_in_every_signature():
    pairs = [("reference", "candidate"), ("references", "candidate"), ("reference_probs", "probs")]
    swapped = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
                for first, second in pairs:
                    if {first, second} <= set(names) and names.index(first) > names.index(second):
                        swapped.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert not swapped
