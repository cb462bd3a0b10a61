"""Where models come from."""

from calbench.models._quiet import quiet
from calbench.models._registry import get, model, names, registry
from calbench.models._sources import ARCHITECTURES, Architecture, ModelSource, quantization_settings

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "ModelSource",
    "get",
    "model",
    "names",
    "quantization_settings",
    "quiet",
    "registry",
]
