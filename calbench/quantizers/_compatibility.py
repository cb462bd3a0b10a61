"""Whether a quantizer can be used on a model: asked of the model's structure, without its weights."""

from __future__ import annotations

from calbench.errors import CalbenchError, QuantizationError
from calbench.models import ModelSource
from calbench.quantizers._protocol import Quantizer


def check_fits(quantizer: Quantizer, source: ModelSource) -> tuple[str, ...]:
    """Return the names of the layers that would be quantized; takes no weights and no time.

    Parameters
    ----------
    quantizer, source
        As for :func:`calbench.quantizers.quantize`; the source must be resolved.

    Raises
    ------
    BackendUnavailableError
        A package is missing.
    InputError
        A pattern matches no layer, or a group size does not divide a layer's inputs.
    QuantizationError
        Nothing is left to quantize, or a tied output layer is included.
    """
    quantizer.check_available()
    skeleton = source.skeleton()
    try:
        return quantizer.targets(skeleton)
    except CalbenchError:
        raise
    except Exception as error:  # of a plugin, or over an architecture: it ends this cell, and no other
        raise QuantizationError(
            f"{quantizer.id} cannot be used on {source.id}: {type(error).__name__}: {error}"
        ) from error
