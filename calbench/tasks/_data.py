"""Rows of any table that ``datasets`` reads: files, folders in the hub's layout, data sets on the hub."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from calbench.cache import cache_dir
from calbench.errors import InputError
from calbench.tasks._rows import Row
from calbench.tasks._unreadable import check_characters, check_names, check_parts, reading

# Of a larger table a fixed random part of this many rows is the task, unless it says ``n_items``.
LARGE = 20_000
_BATCH = 1000
READERS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".arrow": "arrow"}
READERS |= dict.fromkeys((".json", ".jsonl", ".ndjson"), "json")
_LOG = logging.getLogger(__name__)
# A table's features, where they are known before its rows are, and its rows in batches.
_Table = tuple[Any, Iterable[Any]]


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
    def classes(self) -> dict[str, list[str]]:
        """Names of the classes of columns that have such a type."""
        with reading(self.place):
            _, _, (features, _) = next(self._tables())
        return {name: kind.names for name, kind in (features or {}).items() if hasattr(kind, "names")}

    @cached_property
    def rows(self) -> list[Row]:
        """The rows that are taken, in their order.

        Raises
        ------
        InputError
            There is no such data set, file, configuration or split; it has no rows, cannot be read, or
            is a script, which is never run.
        SetupRequiredError
            It is on the hub and not (or not whole) in the cache, or its terms were not accepted.
        """
        # Each row gets a random priority and the smallest are taken: one pass, whatever the batches.
        wanted, rng, n_rows, worst = self.n_items or LARGE, np.random.default_rng(0), 0, 1.0
        taken: list[tuple[float, int, Row]] = []
        with reading(self.place):
            for name, stem, (features, batches) in self._tables():
                first = n_rows
                with reading(name):
                    for batch in batches:
                        priorities = rng.random(len(batch))
                        chosen = np.flatnonzero(priorities < worst)
                        for place, values in zip(chosen, _plain(batch.take(chosen), features), strict=True):
                            number = n_rows - first + int(place) + 1
                            row = Row(f"{name}: row {number}", f"{stem}-{number:06}", values)
                            taken.append((float(priorities[place]), n_rows + int(place), row))
                        n_rows += len(batch)
                        if len(taken) > 2 * wanted:
                            taken = sorted(taken)[:wanted]
                            worst = taken[-1][0]
        if not taken:
            raise InputError(f"{self.place} has no rows; give a file or a split that has some")
        if self.n_items is None and n_rows > LARGE:
            said = "%s: a fixed random %d of its %d rows are used; n_items says otherwise"
            _LOG.warning(said, self.place, LARGE, n_rows)
        return [row for *_, row in sorted(sorted(taken)[:wanted], key=lambda entry: entry[1])]

    def _tables(self) -> Iterator[tuple[str, str, _Table]]:
        """Yield tables: what messages call them, what their rows' ids begin with, the table."""
        import datasets

        path = Path(self.place).expanduser()
        if is_saved := any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
            saved = datasets.load_from_disk(str(path))
            splits = saved if isinstance(saved, dict) else {self.split or "rows": saved}
        else:
            builder = self._builder(path)
            splits = builder.config.data_files
        split = self.split or (next(iter(splits)) if len(splits) == 1 else None)
        if split is None or split not in splits:
            problem = f"no split {self.split!r}" if self.split else f"{len(splits)} splits"
            there = ", ".join(repr(str(name)) for name in splits)
            raise InputError(f"{self.place} has {problem}; name one of {there} with split=")
        if is_saved:
            yield self.place, split, _batched(splits[split])
            return
        files = [Path(file) for file in datasets.DownloadManager().download(list(splits[split]))]
        check_parts(files, self.place, self.files or "*")
        stems = {file: file.name.split(".")[0] for file in files}
        if len(set(stems.values())) < len(files):
            folder = os.path.commonpath([file.parent for file in files])
            stems = {file: file.relative_to(folder).as_posix() for file in files}
        features = builder.info.features  # as the card of a data set says
        for file in files:
            with reading(str(file)):
                table = _table(builder, split, file, features, self.columns)
            yield str(file), stems[file], table

    def _builder(self, path: Path) -> Any:
        """Return what knows the files and their format; away from the hub it knows those in the cache."""
        import datasets
        from huggingface_hub import snapshot_download

        place, files = str(path) if path.is_dir() else self.place, [self.files] if self.files else None
        if path.is_file() or (path.is_dir() and self.files):
            here = [path] if path.is_file() else sorted(p for p in path.glob(self.files or "") if p.is_file())
            check_parts(here, self.place, self.files or "*")
            place, files = _format(here), [glob.escape(str(file.absolute())) for file in here]
        try:
            builder = datasets.load_dataset_builder(
                place,
                self.config,
                data_files={self.split or "rows": files} if files else None,
                revision=self.revision,
                cache_dir=str(datasets_cache()),
            )
        except ConnectionError:
            folder = snapshot_download(
                self.place, repo_type="dataset", revision=self.revision, local_files_only=True
            )
            try:
                return replace(self, place=folder)._builder(Path(folder))
            except InputError as incomplete:
                raise ConnectionError(str(incomplete)) from None
        if _kind(builder) not in READERS.values():
            raise InputError(f"{self.place} is a folder without tables; name a file in it, as 'folder/x.csv'")
        return builder


def datasets_cache() -> Path:
    """Return where what datasets fetched is kept."""
    return cache_dir() / "datasets"


def _format(files: list[Path]) -> str:
    kinds = [next((READERS[s] for s in file.suffixes[:-3:-1] if s in READERS), "") for file in files]
    if odd := [file for file, kind in zip(files, kinds, strict=True) if kind != kinds[0] or not kind]:
        raise InputError(f"{odd[0]}: unknown format; use {', '.join(READERS)}, or one of them compressed")
    return kinds[0]


def _kind(builder: Any) -> str:
    return str(type(builder).__module__.rpartition(".")[2])


def _table(builder: Any, split: str, file: Path, features: Any, columns: tuple[str, ...] | None) -> _Table:
    """Open one file, to be read batch by batch; nothing is copied into a cache."""
    import datasets

    config, kind = builder.config, _kind(builder)
    if kind == "parquet":
        return _parquet(file, features)
    if kind == "csv":
        config.keep_default_na, config.names = False, list(columns) if columns else None
        config.sep = "\t" if ".tsv" in file.suffixes else config.sep
    config.data_files = {split: [str(file)]}
    if file.suffix == ".json":
        check_characters(file)
    if kind == "csv" and features is None:
        # Left to itself pandas reads 007 as 7: every column is a text.
        config.nrows, config.features = 1, None
        names = [name for row in builder.as_streaming_dataset(split) for name in row]
        check_names(file, names)
        config.nrows, features = None, datasets.Features({name: datasets.Value("string") for name in names})
    config.features = builder.info.features = features or None
    return _batched(builder.as_streaming_dataset(split))


def _batched(data: Any) -> _Table:
    return data.features, data.with_format("arrow").iter(batch_size=_BATCH)


def _parquet(file: Path, features: Any) -> _Table:
    """Open a parquet file: ``datasets`` holds a whole row group at once, by default a million rows."""
    import datasets
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    opened = ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
    batches = opened.iter_batches(_BATCH, use_threads=False)
    features = features or datasets.Features.from_arrow_schema(opened.schema_arrow)
    return features, (pa.Table.from_batches([batch]) for batch in batches)


def _plain(table: Any, features: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of an arrow table, classes by their names where they have one."""
    import datasets

    features = features or datasets.Features.from_arrow_schema(table.schema)
    columns = features.decode_batch(table.to_pydict())
    for column in columns:
        if known := dict(enumerate(getattr(features[column], "names", ()))):
            columns[column] = [known.get(value, value) for value in columns[column]]
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))
