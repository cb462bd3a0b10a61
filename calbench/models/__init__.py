"""Where models come from."""

from calbench.models.registry import get, model, names, registry
from calbench.models.sources import ModelSource

__all__ = ["ModelSource", "get", "model", "names", "registry"]
