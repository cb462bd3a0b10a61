"""Which task files of lm-evaluation-harness may be opened: a YAML file of others can be code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calbench.errors import InputError

TRUST_LM_EVAL_CODE = "CALBENCH_TRUST_LM_EVAL_CODE"
# What datasets opens by these names is a table; by others it may be a pickle.
_TABLES = ("arrow", "csv", "json", "parquet", "text")
_CODE = ("class", "custom_dataset", "use_prompt")


def check_yaml(path: Path, folder: Path) -> None:
    """Refuse a task file that could run code, unless the user trusts it.

    Files of the installed lm-eval are trusted as its code is. In others nothing is resolved before this
    looked at them and at all that they include: ``!function``, an ``include`` outside of the folder,
    ``hf_evaluate``, ``unsafe_code``, ``trust_remote_code``, a class, and data that is no table.

    Raises
    ------
    InputError
        A file holds one of these, or is no YAML; file and key are named.
    """
    import lm_eval.tasks

    package = Path(lm_eval.tasks.__file__).resolve().parent
    if path.resolve().is_relative_to(package) or os.environ.get(TRUST_LM_EVAL_CODE) == "1":
        return
    root = folder.resolve()
    pending, seen = [path.resolve()], set[Path]()
    while pending:
        file = pending.pop()
        if file in seen:
            continue
        seen.add(file)
        held = _plain(file)
        for key, what in _code_in(held):
            raise InputError(
                f"{file}: {key}: {what}, and that is code of others; read it, and if you trust it set"
                f" {TRUST_LM_EVAL_CODE}=1"
            )
        includes = held.get("include") or []
        for name in includes if isinstance(includes, list) else [includes]:
            included = (file.parent / str(name)).resolve()
            if not included.is_relative_to(root):
                raise InputError(
                    f"{file}: include: {str(name)!r} lies outside of {folder}; copy it there, or set"
                    f" {TRUST_LM_EVAL_CODE}=1"
                )
            if not included.is_file():
                raise InputError(f"{file}: include: there is no file {str(name)!r}; mend the path")
            pending.append(included)


def check_named(name: str, folder: Path) -> None:
    """Check the file of a folder that declares a task of this name; see :func:`check_yaml`.

    The harness leaves out, without a word, what it cannot read.
    """
    for file in sorted(folder.glob("**/*.yaml")):
        try:
            is_meant = _plain(file).get("task") == name
        except InputError:
            if name in file.read_text(encoding="utf-8", errors="replace"):
                raise
            continue
        if is_meant:
            check_yaml(file, folder)


def _plain(file: Path) -> dict[str, Any]:
    """Read a file with nothing resolved: what a tag would make is left as :class:`_Tagged`."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        pass

    Loader.add_multi_constructor("!", lambda _loader, suffix, node: _Tagged(f"!{suffix} {node.value}"))
    try:
        held = yaml.load(file.read_bytes(), Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise InputError(f"{file} cannot be read: {' '.join(str(error).split())}; mend it") from None
    if not isinstance(held, dict):
        raise InputError(f"{file} holds a {type(held).__name__}; a mapping is wanted")
    return held


class _Tagged(str):
    """What stands after a tag, unread."""

    __slots__ = ()


def _code_in(held: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(held, _Tagged):
        yield key, f"{str(held)!r} names a function"
    elif isinstance(held, dict):
        for name, value in held.items():
            where = f"{key}.{name}".lstrip(".")
            if name in ("hf_evaluate", "unsafe_code", "trust_remote_code") and value not in (False, None):
                yield where, f"it is {value!r}"
            elif name in _CODE and value is not None:
                yield where, f"{value!r} is run"
            elif name == "dataset_path" and not _is_table(str(value)):
                yield where, f"{value!r} is no kind of table"
            yield from _code_in(value, where)
    elif isinstance(held, list):
        for index, value in enumerate(held):
            yield from _code_in(value, f"{key}[{index}]")


def _is_table(path: str) -> bool:
    import datasets.packaged_modules as known

    return path in _TABLES or (path not in known._PACKAGED_DATASETS_MODULES and not path.endswith(".py"))
