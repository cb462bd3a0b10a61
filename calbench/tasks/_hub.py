"""Files of data sets on the hub: csv, jsonl and parquet only; no data set's own code is ever run."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from calbench.errors import BackendUnavailableError, InputError, SetupRequiredError

_PART = re.compile(r"(?P<stem>.*-)\d{5}-of-(?P<total>\d{5})(?P<rest>.*)")


def hub_files(hub_id: str, pattern: str, *, revision: str | None = None) -> list[Path]:
    """Return a data set's files that match a pattern, from the hub's cache or else the hub.

    A local folder in the hub's layout is used as it is.

    Raises
    ------
    InputError
        It is no hub id, the hub refuses it, no file matches, or a local folder lacks a part of a set.
    SetupRequiredError
        It is not in the cache, or not whole, and the hub cannot be reached, or wants its terms accepted
        first.
    """
    folder = Path(hub_id).expanduser()
    is_local = folder.is_dir()
    if not is_local:
        folder = _download(hub_id, pattern, revision)
    found = sorted(folder.glob(pattern))
    missing = _missing_parts(found, pattern)
    if found and not missing:
        return found
    what = f"{missing[0]} ({len(missing)} missing in all)" if missing else f"file {pattern!r}"
    if is_local or _reachable(hub_id, revision):
        raise InputError(f"{hub_id}: {folder} holds no {what}")
    raise SetupRequiredError(
        f"the data set {hub_id!r} is not whole in the hub's cache: {folder} holds no {what}, and the hub"
        " cannot be reached; download it where there is a network, or give a local folder"
    )


def _missing_parts(found: list[Path], pattern: str) -> list[str]:
    """Name the files that the pattern asks for and that sets like ``test-00000-of-00003.parquet`` lack."""
    last = pattern.rpartition("/")[2]
    expected = {
        file.with_name(f"{part['stem']}{index:05}-of-{part['total']}{part['rest']}")
        for file in found
        if (part := _PART.fullmatch(file.name))
        for index in range(int(part["total"]))
    }
    wanted = {file for file in expected if fnmatchcase(file.name, last)}
    return sorted(file.name for file in wanted.difference(found))


def _reachable(hub_id: str, revision: str | None) -> bool:
    """Whether the hub says what a data set holds; the cache of one that it does not name may lack files."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError

    try:
        snapshot_download(hub_id, repo_type="dataset", revision=revision, dry_run=True)
    except DryRunError:
        return False
    return True


def _download(hub_id: str, pattern: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise BackendUnavailableError(
            "data sets on the hub need huggingface_hub; pip install 'calbench[torch]'"
        ) from error
    try:
        return Path(
            snapshot_download(hub_id, repo_type="dataset", revision=revision, allow_patterns=[pattern])
        )
    except HFValidationError:
        raise InputError(f"{hub_id!r} is neither a folder here nor a hub id") from None
    except LocalEntryNotFoundError as error:
        raise SetupRequiredError(
            f"the data set {hub_id!r} is not in the hub's cache and the hub cannot be reached;"
            " download it where there is a network, or give a local folder"
        ) from error
    except GatedRepoError as error:
        raise SetupRequiredError(
            f"the hub gives the data set {hub_id!r} only to those who accepted its terms; do that on its page"
            " there, and log in with 'hf auth login'"
        ) from error
    except HfHubHTTPError as error:
        raise InputError(f"the hub refused {hub_id!r}: {error}") from error
