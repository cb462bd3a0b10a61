"""Rows of any table that ``datasets`` reads: files, folders in the hub's layout, data sets on the hub."""

from __future__ import annotations

import glob
import heapq
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from calbench.cache import cache_dir
from calbench.errors import BackendUnavailableError, CalbenchError, InputError, SetupRequiredError
from calbench.records import refuse_plan
from calbench.tasks._rows import Row

# Of a larger table a fixed random part of this many rows is the task, unless it says ``n_items``.
LARGE = 20_000
_BATCH = 1000
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")
READERS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".arrow": "arrow"}
READERS |= dict.fromkeys((".json", ".jsonl", ".ndjson"), "json")
_PART = re.compile(r"(?P<stem>.*-)\d{5}-of-(?P<total>\d{5})(?P<rest>.*)")
_ESCAPES = re.compile(rb"\\\\|\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(?P<half>\\u[dD][89a-fA-F]\w\w)")
_LOG = logging.getLogger(__name__)
# What messages call a table, what its rows' ids begin with, its features where they are known, its batches.
_Part = tuple[str, str, tuple[Any, Iterable[Any]]]


@dataclass(frozen=True)
class DataSource:
    """A table, by where it is.

    Parameters
    ----------
    place
        A file; a folder in the hub's layout, or one that ``save_to_disk`` wrote; or an id on the hub.
    files
        Which files of the folder or the data set, as a pattern; None for what it says itself.
    config, split, revision
        Of a data set in the hub's layout. A split need not be named where there is one only.
    columns
        Names for the columns of csv files that have no header.
    n_items
        How many rows are taken, by one fixed random choice; None for all up to :data:`LARGE`.
    """

    place: str
    files: str | None = None
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    columns: tuple[str, ...] | None = None
    n_items: int | None = None

    @property
    def rows(self) -> list[Row]:
        """The rows that are taken, in their order; see :meth:`read`."""
        return self.read[0]

    @property
    def classes(self) -> dict[str, list[str]]:
        """Names of the classes of columns that have such a type."""
        return self.read[1]

    @cached_property
    def read(self) -> tuple[list[Row], dict[str, list[str]]]:
        """The rows that are taken, and the classes.

        Raises
        ------
        InputError
            There is no such data set, file, configuration or split; it has no rows, cannot be read, or
            is a script, which is never run.
        SetupRequiredError
            It is on the hub and not (or not whole) in the cache, or its terms were not accepted.
        """
        # Each row gets a random priority and the smallest are taken: one pass, whatever the batches.
        wanted, rng, n_rows = self.n_items or LARGE, np.random.default_rng(0), 0
        taken: list[tuple[float, int, Row]] = []
        classes: dict[str, list[str]] = {}
        for name, stem, (known, batched) in self._parts():
            first = n_rows
            for table, plain in _batches(known, batched, name, classes):
                priorities = -rng.random(len(table))
                worst = taken[0][0] if len(taken) == wanted else -1.0
                places = np.flatnonzero(priorities > worst)
                for place, values in zip(places.tolist(), plain(places), strict=True):
                    number = n_rows - first + place + 1
                    row = Row(f"{name}: row {number}", f"{stem}-{number:06}", values)
                    heapq.heappush(taken, (float(priorities[place]), n_rows + place, row))
                    if len(taken) > wanted:
                        heapq.heappop(taken)
                n_rows += len(table)
        if not taken:
            raise InputError(f"{self.place} has no rows; give a file or a split that has some")
        if self.n_items is None and n_rows > LARGE:
            _LOG.warning(
                "%s: a fixed random %d of its %d rows are used; n_items says otherwise",
                *(self.place, LARGE, n_rows),
            )
        return [row for *_, row in sorted(taken, key=lambda entry: entry[1])], classes

    def _parts(self) -> Iterator[_Part]:
        """Yield tables: what messages call them, what their rows' ids begin with, the table."""
        path = Path(self.place).expanduser()
        if path.is_file():
            yield from self._of_files([path])
        elif any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
            datasets = _library()
            with reading(self.place):
                found = datasets.load_from_disk(str(path))
            split, table = self._one(found if isinstance(found, dict) else {self.split or "rows": found})
            yield self.place, split, _batched(table)
        elif path.is_dir():
            yield from self._of_folder(path)
        else:
            yield from self._of_hub()

    def _of_folder(self, folder: Path) -> Iterator[_Part]:
        if self.files is not None:
            files = sorted(path for path in folder.glob(self.files) if path.is_file())
            if not files:
                raise InputError(f"{self.place}: {folder} holds no file {self.files!r}")
            yield from self._of_files(files)
            return
        with reading(self.place):
            builder = _library().load_dataset_builder(
                str(folder), self.config, cache_dir=str(datasets_cache())
            )
        if type(builder).__module__.rpartition(".")[2] not in READERS.values():
            raise InputError(f"{self.place} is a folder without tables; name a file in it, as 'folder/x.csv'")
        _, files = self._one(builder.config.data_files)
        given = {"sep": builder.config.sep} if hasattr(builder.config, "sep") else {}
        paths = [Path(file) for file in files]
        yield from self._of_files(paths, features=builder.info.features, **given)

    def _of_files(self, files: list[Path], **given: Any) -> Iterator[_Part]:
        if missing := _missing_parts(files, self.files or "*"):
            raise InputError(f"{self.place} holds no {missing[0]} ({len(missing)} missing in all)")
        stems = {file: file.name.split(".")[0] for file in files}
        if len(set(stems.values())) < len(files):
            folder = os.path.commonpath([file.parent for file in files])
            stems = {file: file.relative_to(folder).as_posix() for file in files}
        for file in files:
            yield str(file), stems[file], _table(file, columns=self.columns, **given)

    def _of_hub(self) -> Iterator[_Part]:
        datasets = _library()
        try:
            with reading(self.place):
                builder = datasets.load_dataset_builder(
                    self.place,
                    self.config,
                    data_files={self.split or "rows": self.files} if self.files else None,
                    revision=self.revision,
                    cache_dir=str(datasets_cache()),
                )
                _check_kind(type(builder).__module__.rpartition(".")[2], self.place)
                builder.download_and_prepare()
        except SetupRequiredError as error:
            if not isinstance(error.__cause__, ConnectionError):
                raise
            yield from self._of_snapshot(error)
            return
        split, table = self._one(builder.as_dataset())
        yield f"{self.place} ({split})", split, _batched(table)

    def _of_snapshot(self, unreachable: SetupRequiredError) -> Iterator[_Part]:
        """Read what other programs left of a data set in the hub's own cache, without a network."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = snapshot_download(
                self.place, repo_type="dataset", revision=self.revision, local_files_only=True
            )
        except LocalEntryNotFoundError:
            raise unreachable from None
        try:
            yield from self._of_folder(Path(folder))
        except InputError as error:
            if "holds no" not in str(error):
                raise
            raise SetupRequiredError(
                f"{error}; it is not whole in the hub's cache, and {unreachable}"
            ) from None

    def _one(self, splits: Mapping[str, Any]) -> tuple[str, Any]:
        name = self.split or (next(iter(splits)) if len(splits) == 1 else None)
        if name is None or name not in splits:
            problem = f"no split {self.split!r}" if self.split else f"{len(splits)} splits"
            there = ", ".join(repr(str(split)) for split in splits)
            raise InputError(f"{self.place} has {problem}; name one of {there} with split=")
        return name, splits[name]


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise BackendUnavailableError(
            "reading data sets needs datasets; pip install 'calbench[datasets]'"
        ) from error
    return datasets


def datasets_cache() -> Path:
    """Return where what datasets fetched is kept."""
    return cache_dir() / "datasets"


def _table(
    file: Path, *, columns: tuple[str, ...] | None = None, features: Any = None, **given: Any
) -> tuple[Any, Iterable[Any]]:
    """Open one file, to be read batch by batch; nothing is copied into a cache."""
    datasets = _library()
    suffixes = [suffix for suffix in file.suffixes if suffix not in _COMPRESSED]
    kind = READERS.get(suffixes[-1] if suffixes else "")
    if kind is None:
        raise InputError(f"{file}: unknown format; use {', '.join(READERS)}, or one of them compressed")
    if kind == "csv":
        given = {"sep": "\t" if suffixes[-1] == ".tsv" else ",", "keep_default_na": False, **given}
        given["column_names"] = list(columns) if columns else None

    def stream(**more: Any) -> Any:
        files = {"rows": [glob.escape(str(file.absolute()))]}
        builder = datasets.load_dataset_builder(
            kind, data_files=files, cache_dir=str(datasets_cache()), **given, **more
        )
        return builder.as_streaming_dataset(split="rows")

    if kind == "json" and file.suffix not in _COMPRESSED:
        _check_characters(file)
    with reading(str(file)):
        if kind == "csv" and features is None:
            # Left to itself pandas reads 007 as 7: every column is a text.
            names = [name for row in stream(nrows=1) for name in row]
            features = datasets.Features({name: datasets.Value("string") for name in names}) or None
            if twice := [name for name in names if re.sub(r"\.\d+$", "", name) in set(names) - {name}]:
                raise InputError(
                    f"{file}: two columns are called {twice[0].rpartition('.')[0]!r}; rename one"
                )
            refuse_plan(file, names)
            if "__index_level_0__" in names:
                raise InputError(f"{file}: row 1 has more values than the header has names; quote its commas")
        return _parquet(file) if kind == "parquet" else _batched(stream(features=features))


def _check_characters(file: Path) -> None:
    r"""Refuse an escape such as ``\ud83d`` alone: half a character, which ``datasets`` may leave out."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            half = next((m["half"] for m in _ESCAPES.finditer(line) if m["half"]), None)
            if half is not None:
                written = half.decode()
                raise InputError(
                    f"{file}:{number}: holds '{written}', half of a character; complete it or take it out"
                )


def _batched(data: Any) -> tuple[Any, Iterable[Any]]:
    return data.features, data.with_format("arrow").iter(batch_size=_BATCH)


def _parquet(file: Path) -> tuple[Any, Iterable[Any]]:
    """Open a parquet file: ``datasets`` holds a whole row group at once, by default a million rows."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    opened = ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
    batches = opened.iter_batches(batch_size=_BATCH, use_threads=False)
    features = _library().Features.from_arrow_schema(opened.schema_arrow)
    return features, (pa.Table.from_batches([batch]) for batch in batches)


def _batches(
    known: Any, tables: Iterable[Any], name: str, classes: dict[str, list[str]]
) -> Iterator[tuple[Any, Callable[[Any], list[dict[str, Any]]]]]:
    """Yield arrow tables, each with a function that gives some of its rows, classes by their names."""
    with reading(name):
        for table in tables:
            features = known or _library().Features.from_arrow_schema(table.schema)
            classes.update({c: f.names for c, f in features.items() if type(f).__name__ == "ClassLabel"})
            yield table, partial(_plain, table, features, classes)


def _plain(table: Any, features: Any, classes: Mapping[str, list[str]], places: Any) -> list[dict[str, Any]]:
    columns = features.decode_batch(table.take(places).to_pydict())
    for column in set(classes).intersection(columns):
        known = dict(enumerate(classes[column]))
        columns[column] = [known.get(value, value) for value in columns[column]]
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, values, strict=True)) for values in rows]


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
    except ConnectionError as error:
        raise SetupRequiredError(
            f"the data set {place!r} is not in the hub's cache and the hub cannot be reached;"
            " download it where there is a network, or give a local folder"
        ) from error
    except Exception as error:
        raise _worded(place, error) from error
    finally:
        log.setLevel(level)


def _worded(place: str, error: Exception) -> CalbenchError:
    text = str(error.__cause__ or error).strip()
    text = re.sub(r"in row (\d+)$", lambda match: f"in row {int(match[1]) + 1}", text)
    if "gated" in text:
        return SetupRequiredError(
            f"the hub gives the data set {place!r} only to those who accepted its terms; do that on its page"
            " there, and log in with 'hf auth login'"
        )
    if "scripts are no longer supported" in text:
        return InputError(
            f"{place} is a script, and no data set's own code is run; the hub may hold its tables at"
            " revision='refs/convert/parquet'"
        )
    if (
        "No columns to parse" in text
        or isinstance(error, StopIteration)
        or isinstance(error.__cause__, StopIteration)
    ):
        return InputError(f"{place} has no rows; give a file or a split that has some")
    if type(error).__name__ in ("DatasetNotFoundError", "FileNotFoundError", "HFValidationError"):
        return InputError(f"{place!r} is neither a file or folder here nor a data set on the hub: {text}")
    why = text.splitlines()[0] if text else repr(error)
    return InputError(f"{place} cannot be read: {why}; mend it there, or write it again")


def _check_kind(kind: str, place: str) -> None:
    if kind not in READERS.values():
        raise InputError(f"{place} is kept as {kind}; tables are read: {', '.join(READERS)}")


def _missing_parts(files: list[Path], pattern: str) -> list[str]:
    """Name the parts that sets like ``test-00000-of-00003.parquet`` lack; ``datasets`` does not ask."""
    last = pattern.rpartition("/")[2]
    expected = {
        file.with_name(f"{part['stem']}{index:05}-of-{part['total']}{part['rest']}")
        for file in files
        if (part := _PART.fullmatch(file.name))
        for index in range(int(part["total"]))
    }
    return sorted(p.name for p in expected.difference(files) if Path(p.name).match(last))
