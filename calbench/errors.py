"""The errors that calbench raises on purpose: each names the value at fault and the remedy."""

from __future__ import annotations


class CalbenchError(Exception):
    """Base of every error that calbench raises on purpose."""


class InputError(CalbenchError, ValueError):
    """Data, an option or an argument cannot be used as given."""


class UnanswerableError(InputError):
    """A model is of a kind that cannot be asked a task."""


class UnknownNameError(CalbenchError, LookupError):
    """An id is not registered."""


class DuplicateNameError(CalbenchError):
    """Two components claim one id."""


class BrokenPluginError(CalbenchError):
    """An installed plugin could not be imported."""


class BackendUnavailableError(CalbenchError):
    """A package or device that a component needs is missing on this machine."""


class SetupRequiredError(CalbenchError):
    """Models or data have to be fetched first, where there is a network."""


class LeakageError(CalbenchError):
    """Items that something was fitted on would also be scored."""


class QuantizationError(CalbenchError):
    """A model was not quantized as claimed."""


class TrainingError(CalbenchError):
    """Training an adapter cannot go on; the last good one is kept."""


class ModelLoadingForbiddenError(CalbenchError):
    """A model would have to be loaded although only stored records may be used."""


class CorruptRecordError(CalbenchError):
    """A stored record does not match its checksum or its schema."""


class StoreError(CalbenchError):
    """A store cannot be written or reached."""


class ServerError(CalbenchError):
    """A server cannot be reached, or does not answer as it should."""


class GateFailedError(CalbenchError, AssertionError):
    """A requirement is shown not to hold."""


class BaselineRefusedError(CalbenchError):
    """A baseline is missing, damaged, or was made from something that cannot be compared."""


def as_refusal(what: str, error: Exception) -> CalbenchError:
    """Return an error as it is, and one of a third party as one that names what it befell."""
    if isinstance(error, CalbenchError):
        return error
    refusal = CalbenchError(f"{what}: {type(error).__name__}: {error}")
    refusal.__cause__ = error
    return refusal
