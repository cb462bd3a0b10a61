"""A damaged file is refused, or read as a valid record: never a traceback, never another number.

``benchmarks/damaged_files.py`` does the same ten thousand times a format.
"""

from __future__ import annotations

import pytest

from tests.interchange.mutations import run
from tests.interchange.seeds import CHECKSUMMED, FORMATS, RECORD, intact


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_refused_or_harmless(name, tmp_path):
    if name == "pt":
        pytest.importorskip("torch")
    path, columns = intact(name, tmp_path)
    counts = run(path, columns, 150, original=RECORD if name in CHECKSUMMED else None)
    assert counts["refused"] > 30
