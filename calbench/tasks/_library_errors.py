"""What ``datasets``, and what is beneath it, cannot read: in the project's words, with what to do next."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from calbench.errors import CalbenchError, InputError, SetupRequiredError


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
