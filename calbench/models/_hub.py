"""A model's files from the hub, or from its cache."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from calbench.errors import BackendUnavailableError, InputError, SetupRequiredError

TEXT_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
_FILES = ("*.safetensors", *TEXT_FILES)


def download(hub_id: str, revision: str | None, patterns: Iterable[str] = _FILES) -> Path:
    """Fetch a model's files from the hub, or from its cache where there is no network.

    Raises
    ------
    SetupRequiredError
        The hub cannot be reached, or gives the model only to those who accepted its terms.
    InputError
        There is no such model.
    """
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
            "models need transformers and torch; pip install 'calbench[torch]'"
        ) from error
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(patterns)))
    except HFValidationError:
        raise InputError(
            f"{hub_id!r} is neither a folder here ({Path(hub_id).absolute()}) nor a hub id"
        ) from None
    except LocalEntryNotFoundError as error:
        raise SetupRequiredError(
            f"{hub_id!r} is not in the hub's cache and the hub cannot be reached;"
            " download it where there is a network, or give a local folder"
        ) from error
    except GatedRepoError as error:
        raise SetupRequiredError(
            f"the hub gives {hub_id!r} only to those who accepted its terms; do that on its page there, and"
            " log in with 'hf auth login'"
        ) from error
    except HfHubHTTPError as error:
        raise InputError(f"the hub refused {hub_id!r}: {error}") from error
