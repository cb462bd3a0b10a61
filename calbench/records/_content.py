"""What a file is, by its content: its name may say otherwise, or nothing."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from calbench.errors import InputError

Kind = Literal[
    "parquet",
    "arrow",
    "feather",
    "npy",
    "npz",
    "safetensors",
    "torch",
    "inspect",
    "llama-logits",
    "json",
    "csv",
    "folder",
]
# How packed files begin, what they are named, and what opens them.
_PACKED = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
_ZIP = b"PK\x03\x04"
_WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")
_MAX_UNPACKED_BYTES = 2**32
_HEAD = 2**16
_MAX_HEADER = 10**8
_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"FEA1", "feather"),
    (b"\x93NUMPY", "npy"),
    (b"_logits_", "llama-logits"),
)
_BY_NAME: dict[str, Kind] = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "feather",
    ".npy": "npy",
    ".npz": "npz",
    ".safetensors": "safetensors",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
    ".eval": "inspect",
}
# What is text is known by its content; these are only the names that people give it.
_TEXTS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".jsonlines", ".log", "")
SUFFIXES_READ = (*_BY_NAME, *(suffix for suffix in _TEXTS if suffix))
# What parsers raise on content that they cannot make sense of.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,  # of an encrypted zip, or one packed in a way that zipfile does not know
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    csv.Error,
    struct.error,
    SyntaxError,  # of numpy headers, which are literals
    tokenize.TokenError,
)


_LINE = "mend that line: a text with a separator, a quote or a line break in it stands in double quotes"
_JSON = "mend that place, or write one JSON object a line (json.dumps of each row)"
_REMEDIES = {
    **dict.fromkeys(("csv", "tsv", "txt"), _LINE),
    **dict.fromkeys(("json", "jsonl", "ndjson", "jsonlines"), _JSON),
}


@contextmanager
def reading(path: Path, kind: str = "") -> Iterator[None]:
    """Turn whatever a parser raises about a file's content into an :class:`InputError`."""
    try:
        yield
    except InputError:
        raise
    except _UNREADABLE as error:
        text = " ".join(str(error).split())[:300] or type(error).__name__
        raise unreadable(path, kind or path.suffix[1:] or "a table", text) from error


def unreadable(path: Path, kind: str, why: str) -> InputError:
    """Return the error of a file that a parser gives up on, with what to do about it."""
    if "allow_pickle" in why or "Object arrays" in why:  # numpy advises to unpickle
        return InputError(
            f"{path}: cannot be read as {kind} (it is no {kind}, or holds Python objects, which calbench"
            " never unpickles); save arrays of numbers and texts, or write csv"
        )
    remedy = _REMEDIES.get(kind, "it is damaged, cut off or another kind of file: write it again, or as csv")
    return InputError(f"{path}: cannot be read as {kind} ({why}); {remedy}")


def bare_suffix(path: Path) -> str:
    """Return a file's suffix, in lower case and without the ``.gz`` behind it."""
    name = Path(path.name.lower())
    packed = (*_PACKED.values(), ".zip")
    return Path(name.stem).suffix if name.suffix in packed else name.suffix


def kind_of_content(path: Path) -> Kind:
    """Return what a file holds.

    Raises
    ------
    InputError
        There is no such file, or neither its content nor its name says what it is.
    """
    if path.is_dir():
        return "folder"
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with reading(path):
        head = _head(path)
        return _by_magic(path, head) or _by_name(path, head)


def _by_magic(path: Path, head: bytes) -> Kind | None:
    found = next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
    if found is None and head.startswith(_ZIP):
        return _zipped(path)
    if head.startswith(b"\xff\xff\xff\xff") and bare_suffix(path) in (".arrow", ""):  # datasets' streams
        return "arrow"
    # The length of a safetensors header, and where it begins.
    if found is None and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < _MAX_HEADER:
        return "safetensors"
    return found


def _by_name(path: Path, head: bytes) -> Kind:
    suffix = bare_suffix(path)
    if suffix in _BY_NAME:
        return _BY_NAME[suffix]
    if head.startswith(b"\x80"):
        raise InputError(
            f"{path}: cannot be read as {suffix[1:] or 'a table'} (it holds a pickle, and calbench never"
            " unpickles objects); write its columns as csv, jsonl or parquet"
        )
    start = _decoded(head, path, whole=False).lstrip()[:1]
    if start in ("{", "["):
        return "json"
    if suffix in _WORKBOOKS:
        raise _workbook(path)
    if suffix not in _TEXTS:
        raise InputError(
            f"{path}: unknown format; rename it to what it is: {', '.join(SUFFIXES_READ)}"
            f" ({', '.join(_PACKED.values())} or .zip may follow), or write its columns as csv, jsonl or"
            " parquet"
        )
    return "csv"


def head_of(path: Path) -> str:
    """Return how a text file begins; ``""`` of a folder."""
    if path.is_dir():
        return ""
    with reading(path):
        return _decoded(_head(path), path, whole=False)


def text_of(path: Path) -> str:
    """Return a text file's content: UTF-8 or UTF-16, with or without a byte-order mark, packed or not."""
    return _decoded(bytes_of(path), path)


def bytes_of(path: Path) -> bytes:
    """Return a file's content, unpacked if it is gzip, bzip2, xz, zstandard or a zip of one table."""
    content = path.read_bytes()
    packed = _unpacked(io.BytesIO(content), content)
    if packed is None:
        return content
    with packed as file:
        unpacked: bytes = file.read(_MAX_UNPACKED_BYTES + 1)
    if len(unpacked) > _MAX_UNPACKED_BYTES:
        raise InputError(f"{path}: unpacks to more than {_MAX_UNPACKED_BYTES:,} bytes; divide it")
    return unpacked


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(0)
        packed = _unpacked(file, head)
        if packed is None:
            return head
        with packed as inner:
            unpacked: bytes = inner.read(_HEAD)
    return unpacked


def _unpacked(file: Any, head: bytes) -> Any:
    """Return what a packed file holds, as a file; None if it is not packed, or a zip archive of several."""
    magic = next((magic for magic in (*_PACKED, _ZIP) if head.startswith(magic)), None)
    match _PACKED.get(magic or b"", magic):
        case ".gz":
            return gzip.open(file)
        case ".bz2":
            return bz2.open(file)
        case ".xz":
            return lzma.open(file)
        case ".zst":
            import pyarrow as pa

            return pa.input_stream(file, compression="zstd")
        case bytes():
            return _only_member(file)
    return None


def _only_member(file: Any) -> Any:
    """Open the one file of a zip archive, as pandas packs a csv; None of arrays, tensors and archives."""
    archive = zipfile.ZipFile(file)
    names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
    table = len(names) == 1 and bare_suffix(Path(names[0])) in _TEXTS and names[0] != "header.json"
    return archive.open(names[0]) if table else None


def _zipped(path: Path) -> Kind:
    with zipfile.ZipFile(io.BytesIO(bytes_of(path))) as archive:
        names = archive.namelist()
    if "[Content_Types].xml" in names or "content.xml" in names:
        raise _workbook(path)
    if any(name == "header.json" or name.startswith(("samples/", "_journal/")) for name in names):
        return "inspect"
    if not any(name.endswith((".npy", "data.pkl")) for name in names):
        shown = ", ".join(names[:3])
        raise InputError(f"{path}: is a zip archive of other files ({shown}); unpack it, and give the file")
    return "torch" if any(name.endswith("data.pkl") for name in names) else "npz"


def _workbook(path: Path) -> InputError:
    return InputError(f"{path}: is a spreadsheet's own file; save its sheet as csv (UTF-8), and give that")


def _decoded(content: bytes, path: Path, *, whole: bool = True) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\x00" in content[:4] and len(content) > 1:  # UTF-16 of a text that begins with ASCII
        encoding = "utf-16-le" if content[1] == 0 else "utf-16-be"
    else:
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding, errors="strict" if whole else "ignore")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        named = encoding.upper().removesuffix("-SIG")
        raise InputError(
            f"{path}: line {line} is not {named} ({error.reason}); save it as UTF-8, as with"
            f" iconv -f WINDOWS-1252 -t UTF-8 {path.name}"
        ) from None
