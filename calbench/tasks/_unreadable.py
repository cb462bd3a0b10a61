"""What cannot be read, and what would be read wrongly without a word: with what to do next."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calbench.errors import BackendUnavailableError, CalbenchError, InputError, SetupRequiredError
from calbench.records import refuse_plan

_PART = re.compile(r"(.*-)\d{5}-of-(\d{5})(.*)")
_HALF = re.compile(rb"\\\\|\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(\\u[dD][89a-fA-F]\w\w)")
# What an error's classes and text hold, and what is said of it; the first that is found.
_WORDS: dict[type[CalbenchError], dict[str, str]] = {
    BackendUnavailableError: {
        "ModuleNotFound": "{place} needs a package ({why}); pip install 'calbench[datasets]' holds datasets",
    },
    SetupRequiredError: {
        "gated": "the hub gives the data set {place!r} only to those who accepted its terms; do that on its"
        " page there, and log in with 'hf auth login'",
        "LocalEntryNotFound": "the data set {place!r} is not in the hub's cache and the hub cannot be"
        " reached; download it where there is a network, or give a local folder",
        r"\bConnectionError": "the data set {place!r} is not whole in the hub's cache and the hub cannot be"
        " reached ({why}); download it where there is a network, or give a local folder",
    },
    InputError: {
        "scripts are no longer supported": "{place} is a script, and no data set's own code is run; the hub"
        " may hold its tables at revision='refs/convert/parquet'",
        "IndexError": "{place} has a split without rows, with which datasets reads none of it; take it out",
        "No columns to parse|StopIteration": "{place} has no rows; give a file or a split that has some",
        "DatasetNotFound|FileNotFound|HFValidation": "{place!r} is neither a file or folder here nor a data"
        " set on the hub: {why}",
        r"\bKeyError": "{place} cannot be read: there is no {why}; mend the name",
        "": "{place} cannot be read: {why}; mend it there, or write it again",
    },
}


@contextmanager
def reading(place: str) -> Iterator[None]:
    """Say in the project's words what ``datasets`` and what is beneath it cannot read."""
    log = logging.getLogger("datasets")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what it reports is in the error as well
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # it leaves closing files to the collector
            yield
    except CalbenchError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        text = str(cause).strip() or repr(error)
        told = " ".join([text, *(kind.__name__ for e in (error, cause) for kind in type(e).__mro__)])
        kind, words = next(
            (k, w) for k, all_ in _WORDS.items() for at, w in all_.items() if re.search(at, told)
        )
        why = re.sub(r"in row (\d+)$", lambda m: f"in row {int(m[1]) + 1}", text).splitlines()[0].rstrip(".")
        raise kind(words.format(place=place, why=why)) from error
    finally:
        log.setLevel(level)


def check_characters(file: Path) -> None:
    r"""Refuse an escape such as ``\ud83d`` alone, half a character, in a list that is read without it."""
    if half := b"".join(_HALF.findall(file.read_bytes())):
        raise InputError(
            f"{file}: holds '{half[:6].decode()}', half of a character; complete it or take it out"
        )


def check_names(file: Path, names: list[str]) -> None:
    """Refuse a csv file of which pandas would rename a column, or take the first one for an index."""
    if twice := [name for name in names if re.sub(r"\.\d+$", "", name) in set(names) - {name}]:
        raise InputError(f"{file}: two columns are called {twice[0].rpartition('.')[0]!r}; rename one")
    refuse_plan(file, names)
    if "__index_level_0__" in names:
        raise InputError(f"{file}: row 1 has more values than the header has names; quote its commas")


def check_parts(files: list[Path], place: str, pattern: str) -> None:
    """Refuse no files, and a set like ``test-00000-of-00003.parquet`` without a part that is asked for."""
    sets = {
        (file.parent, part[1], part[2], part[3]) for file in files if (part := _PART.fullmatch(file.name))
    }
    whole = {at / f"{stem}{i:05}-of-{n}{rest}" for at, stem, n, rest in sets for i in range(int(n))}
    last = pattern.rpartition("/")[2]
    if missing := sorted(part.name for part in whole.difference(files) if part.match(last)):
        raise InputError(f"{place} holds no {missing[0]} ({len(missing)} missing in all)")
    if not files:
        raise InputError(f"{place} holds no file {pattern!r}; mend the path")
