"""Loading a model without the progress bars and notices of the libraries underneath."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from calbench.errors import BackendUnavailableError

_CHATTY = ("torchao", "torch.utils._pytree", "bitsandbytes", "peft", "accelerate")


@contextmanager
def quiet() -> Iterator[None]:
    """Show errors only: no progress bars, load reports or import notices, while the block runs.

    What concerns the user is said by calbench itself; a missing weight, say, is an error there.

    Raises
    ------
    BackendUnavailableError
        torch or transformers is not installed.
    """
    before = {name: logging.getLogger(name).level for name in _CHATTY}
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        # gptqmodel prints a banner when transformers or peft import it.
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                import transformers
            except ImportError as error:
                raise BackendUnavailableError(
                    "models need torch and transformers; pip install 'calbench[torch]'"
                ) from error

            verbosity = transformers.utils.logging.get_verbosity()
            transformers.utils.logging.set_verbosity_error()
            transformers.utils.logging.disable_progress_bar()
            try:
                yield
            finally:
                transformers.utils.logging.set_verbosity(verbosity)
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
