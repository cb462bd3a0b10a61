"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

# The network is off for every test, and for every process that a test starts. Read on import.
os.environ["HF_HUB_OFFLINE"] = "1"

# pytester forgets what a run in this process imported: a type of before is then another than that of after,
# and what datasets registers can be registered once.
import calbench.report as _types_of_reports  # noqa: F401

with suppress(ImportError):
    import datasets as _imported_once  # noqa: F401

pytest_plugins = ["pytester"]

# Property tests draw the same examples at each run; `make fuzz` draws new ones, and many of them. A busy
# machine is no failure of the code.
settings.register_profile("calbench", deadline=None, derandomize=True, max_examples=20)
settings.register_profile(
    "fuzz", deadline=None, print_blob=True, max_examples=int(os.environ.get("FUZZ_EXAMPLES", "300"))
)
settings.load_profile("calbench")

_BY_TEXT = {
    "torch": re.compile(
        r"\b(torch|transformers|tiny_encoder|tiny_decoder|tiny_models|build_tiny|write_tiny)\b"
    ),
    "embedded": re.compile(r"\b(minilm|smollm2|embedded)\b"),
    "browser": re.compile(r"\bplaywright\b"),
    "processes": re.compile(r"\b(subprocess|runpytest_subprocess)\b"),
}
_HERE = Path(__file__)
_ROOT = _HERE.parent.parent
_SHARED = re.compile(r"^from (tests[.\w]*) import (\w+)", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file, and no fixtures of a folder, of which no test is wanted: half of them import torch."""
    unwanted = {name for name in _BY_TEXT if f"not {name}" in config.option.markexpr}
    files = list(collection_path.rglob("test_*.py")) if collection_path.is_dir() else [collection_path]
    tests = [file for file in files if file.match("test_*.py")]
    return True if tests and all(unwanted & _needs(file) for file in tests) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what a test needs, so that `make quick` can leave it out."""
    for item in items:
        for name in _needs(item.path):
            item.add_marker(name)
        if "xdist" in item.name:
            item.add_marker(pytest.mark.processes)


@cache
def _needs(path: Path) -> frozenset[str]:
    """Say what the tests of a file need: what it, the fixtures beside it or a module it shares speak of."""
    text = path.read_text(encoding="utf-8")
    shared = [Path(*f"{module}.{name}".split(".")) for module, name in _SHARED.findall(text)]
    files = {path, path.with_name("conftest.py")} | {
        _ROOT / module.with_suffix(".py") for found in shared for module in (found, found.parent)
    }
    texts = [file.read_text(encoding="utf-8") for file in files if file != _HERE and file.is_file()]
    return frozenset(
        name for name, pattern in _BY_TEXT.items() if any(pattern.search(text) for text in texts)
    )


@pytest.fixture(autouse=True, scope="module")
def _registries_as_before_the_module() -> Iterator[None]:
    """Forget what a module registered for all of its tests."""
    with _registries_kept():
        yield


@pytest.fixture(autouse=True)
def _registries_as_before() -> Iterator[None]:
    """Forget what a test registered: a suite that runs in this process shares its registries."""
    with _registries_kept():
        yield


@contextmanager
def _registries_kept() -> Iterator[None]:
    from calbench import calibrators, metrics, models, quantizers, tasks

    registries = [kind.registry for kind in (calibrators, metrics, models, quantizers, tasks)]
    for registry in registries:
        registry.names()  # what calbench and installed packages bring is there from now on
    before = [dict(registry._entries) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry._entries.clear()
        registry._entries.update(entries)
    for kind in (models, tasks):
        sys.modules[f"{kind.__name__}._named"]._OPEN.clear()


SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Data sets with published figures, beside the checkout on the developers' machines only."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the data sets with published figures are not beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT classifier in the hub's layout."""
    from tests.tiny_models import write_encoder

    return write_encoder(tmp_path_factory.mktemp("models") / "encoder")


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama in the hub's layout."""
    from tests.tiny_models import write_decoder

    return write_decoder(tmp_path_factory.mktemp("models") / "decoder")


@pytest.fixture(scope="session")
def tiny_decoder_with_letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose vocabulary has the letters of options."""
    from tests.tiny_models import write_decoder

    letters = tuple("ABCDE") + tuple(f"{letter}." for letter in "ABCDE")
    return write_decoder(tmp_path_factory.mktemp("models") / "letters", more_words=letters)
