"""What is wrong with files that ``datasets`` would read without a word."""

from __future__ import annotations

import re
from pathlib import Path

from calbench.errors import InputError
from calbench.records import refuse_plan

_PART = re.compile(r"(?P<stem>.*-)\d{5}-of-(?P<total>\d{5})(?P<rest>.*)")
_ESCAPES = re.compile(rb"\\\\|\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(?P<half>\\u[dD][89a-fA-F]\w\w)")


def check_characters(file: Path) -> None:
    r"""Refuse an escape such as ``\ud83d`` alone: half a character, which ``datasets`` may leave out."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            half = next((m["half"] for m in _ESCAPES.finditer(line) if m["half"]), None)
            if half is not None:
                written = half.decode()
                raise InputError(
                    f"{file}:{number}: holds '{written}', half of a character; complete it or take it out"
                )


def check_names(file: Path, names: list[str]) -> None:
    """Refuse a csv file of which pandas would rename a column, or take the first one for an index."""
    if twice := [name for name in names if re.sub(r"\.\d+$", "", name) in set(names) - {name}]:
        raise InputError(f"{file}: two columns are called {twice[0].rpartition('.')[0]!r}; rename one")
    refuse_plan(file, names)
    if "__index_level_0__" in names:
        raise InputError(f"{file}: row 1 has more values than the header has names; quote its commas")


def missing_parts(files: list[Path], pattern: str) -> list[str]:
    """Name the parts that sets like ``test-00000-of-00003.parquet`` lack; ``datasets`` does not ask."""
    last = pattern.rpartition("/")[2]
    expected = {
        file.with_name(f"{part['stem']}{index:05}-of-{part['total']}{part['rest']}")
        for file in files
        if (part := _PART.fullmatch(file.name))
        for index in range(int(part["total"]))
    }
    return sorted(p.name for p in expected.difference(files) if Path(p.name).match(last))
