"""Where models come from."""

from calbench.models._embedded import check_available as check_embedded
from calbench.models._embedded import prepare as prepare_embedded
from calbench.models._embedding import embedding_of
from calbench.models._gguf import GgufHeader, read_header
from calbench.models._named import declared, get, is_candidate, is_place, named
from calbench.models._quiet import quiet
from calbench.models._registry import model, names, registry
from calbench.models._served import (
    CHAT,
    DECISIONS,
    Address,
    has_credentials,
    is_address,
    is_chat,
    is_decision_server,
)
from calbench.models._sources import ARCHITECTURES, Architecture, ModelSource
from calbench.models._whole_files import quantization_settings

__all__ = [
    "ARCHITECTURES",
    "CHAT",
    "DECISIONS",
    "Address",
    "Architecture",
    "GgufHeader",
    "ModelSource",
    "check_embedded",
    "declared",
    "embedding_of",
    "get",
    "has_credentials",
    "is_address",
    "is_candidate",
    "is_chat",
    "is_decision_server",
    "is_place",
    "model",
    "named",
    "names",
    "prepare_embedded",
    "quantization_settings",
    "quiet",
    "read_header",
    "registry",
]
