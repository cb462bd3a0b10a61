"""Which cells there are, and the runner that fills the store."""

from calbench.runs._availability import Obstacle, Obstacles
from calbench.runs._cells import (
    AXES,
    DEFAULT_MODELS,
    PROFILES,
    REFERENCE,
    Cell,
    Grid,
    Profile,
    Selection,
    grid_of,
    quantizer_order,
)
from calbench.runs._estimate import estimate_text, served_estimate
from calbench.runs._imported import ALL_ITEMS, ImportedBench, read_records
from calbench.runs._inference_run import Asking, unreported
from calbench.runs._result_cache import Memory, about
from calbench.runs._runner import N_PROBE, QUANTIZATION_SEED, Advance, Bench, Measured, Progress, Silence

__all__ = [
    "ALL_ITEMS",
    "AXES",
    "DEFAULT_MODELS",
    "N_PROBE",
    "PROFILES",
    "QUANTIZATION_SEED",
    "REFERENCE",
    "Advance",
    "Asking",
    "Bench",
    "Cell",
    "Grid",
    "ImportedBench",
    "Measured",
    "Memory",
    "Obstacle",
    "Obstacles",
    "Profile",
    "Progress",
    "Selection",
    "Silence",
    "about",
    "estimate_text",
    "grid_of",
    "quantizer_order",
    "read_records",
    "served_estimate",
    "unreported",
]
