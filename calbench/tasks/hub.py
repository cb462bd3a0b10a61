"""Files of data sets on the hub: csv, jsonl and parquet only; no data set's own code is ever run."""

from __future__ import annotations

from pathlib import Path

from calbench.errors import BackendUnavailableError, InputError, SetupRequiredError


def hub_files(hub_id: str, pattern: str, *, revision: str | None = None) -> list[Path]:
    """Return a data set's files that match a pattern, from the hub's cache or else the hub.

    A local folder in the hub's layout is used as it is.

    Raises
    ------
    InputError
        It is no hub id, the hub refuses it, or no file matches.
    SetupRequiredError
        It is not in the cache and the hub cannot be reached, or wants its terms accepted first.
    """
    folder = Path(hub_id).expanduser()
    if not folder.is_dir():
        folder = _download(hub_id, pattern, revision)
    found = sorted(folder.glob(pattern))
    if not found:
        raise InputError(f"{hub_id}: {folder} holds no file {pattern!r}")
    return found


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
