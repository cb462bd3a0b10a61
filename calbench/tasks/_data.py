"""Rows of any table that ``datasets`` reads: files, folders in the hub's layout, data sets on the hub."""

from __future__ import annotations

import glob
import heapq
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from calbench.cache import cache_dir
from calbench.errors import BackendUnavailableError, InputError, SetupRequiredError
from calbench.tasks._file_checks import check_characters, check_names, missing_parts
from calbench.tasks._library_errors import reading
from calbench.tasks._rows import Row

# Of a larger table a fixed random part of this many rows is the task, unless it says ``n_items``.
LARGE = 20_000
_BATCH = 1000
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")
READERS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".arrow": "arrow"}
READERS |= dict.fromkeys((".json", ".jsonl", ".ndjson"), "json")
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
        for name, stem, (known, tables) in self._parts():
            first = n_rows
            with reading(name):
                for table in tables:
                    features = known or _library().Features.from_arrow_schema(table.schema)
                    classes |= {c: f.names for c, f in features.items() if type(f).__name__ == "ClassLabel"}
                    priorities = -rng.random(len(table))
                    worst = taken[0][0] if len(taken) == wanted else -1.0
                    places = np.flatnonzero(priorities > worst)
                    for place, values in zip(places, _plain(table.take(places), features), strict=True):
                        number = n_rows - first + int(place) + 1
                        row = Row(f"{name}: row {number}", f"{stem}-{number:06}", values)
                        heapq.heappush(taken, (float(priorities[place]), n_rows + int(place), row))
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
        if _kind(builder) not in READERS.values():
            raise InputError(f"{self.place} is a folder without tables; name a file in it, as 'folder/x.csv'")
        _, files = self._one(builder.config.data_files)
        given = {"sep": builder.config.sep} if hasattr(builder.config, "sep") else {}
        paths = [Path(file) for file in files]
        yield from self._of_files(paths, features=builder.info.features, **given)

    def _of_files(self, files: list[Path], **given: Any) -> Iterator[_Part]:
        if missing := missing_parts(files, self.files or "*"):
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
                if (kind := _kind(builder)) not in READERS.values():
                    raise InputError(f"{self.place} is kept as {kind}; tables are read: {', '.join(READERS)}")
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


def _kind(builder: Any) -> str:
    return str(type(builder).__module__.rpartition(".")[2])


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
        check_characters(file)
    with reading(str(file)):
        if kind == "csv" and features is None:
            # Left to itself pandas reads 007 as 7: every column is a text.
            names = [name for row in stream(nrows=1) for name in row]
            features = datasets.Features({name: datasets.Value("string") for name in names}) or None
            check_names(file, names)
        return _parquet(file) if kind == "parquet" else _batched(stream(features=features))


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


def _plain(table: Any, features: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of an arrow table, classes by their names where they have one."""
    columns = features.decode_batch(table.to_pydict())
    for column, feature in features.items():
        if type(feature).__name__ == "ClassLabel" and column in columns:
            known = dict(enumerate(feature.names))
            columns[column] = [known.get(value, value) for value in columns[column]]
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))
