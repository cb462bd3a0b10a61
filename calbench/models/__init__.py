"""Where models come from."""

from calbench.models._named import declared, get, is_candidate, is_place, named
from calbench.models._quiet import quiet
from calbench.models._registry import model, names, registry
from calbench.models._sources import ARCHITECTURES, Architecture, ModelSource
from calbench.models._whole_files import quantization_settings

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "ModelSource",
    "declared",
    "get",
    "is_candidate",
    "is_place",
    "model",
    "named",
    "names",
    "quantization_settings",
    "quiet",
    "registry",
]
