"""Which cells there are, and the runner that fills the store."""

from calbench.runs._availability import Availability, Unavailable
from calbench.runs._cells import (
    AXES,
    DEFAULT_MODELS,
    PROFILES,
    Cell,
    Grid,
    Profile,
    Selection,
    grid_of,
    quantizer_order,
)
from calbench.runs._declarations import REFERENCE, Turns, declared_source, reference_of
from calbench.runs._estimate import division, estimate_text, served_estimate
from calbench.runs._imported import ALL_ITEMS, ImportedRunner, read_records
from calbench.runs._inference_run import NOISE_PROMISED, InferenceRun, n_near_duplicates, unreported
from calbench.runs._looks import CellLook, cell_looks
from calbench.runs._measured import Measured
from calbench.runs._progress import Advance, Progress, Silence
from calbench.runs._result_cache import ResultCache, about
from calbench.runs._runner import N_PROBE, QUANTIZATION_SEED, Runner, Span
from calbench.runs.executors import Failure, Job, RayExecutor, jobs_of, run_job

__all__ = [
    "ALL_ITEMS",
    "AXES",
    "DEFAULT_MODELS",
    "NOISE_PROMISED",
    "N_PROBE",
    "PROFILES",
    "QUANTIZATION_SEED",
    "REFERENCE",
    "Advance",
    "Availability",
    "Cell",
    "CellLook",
    "Failure",
    "Grid",
    "ImportedRunner",
    "InferenceRun",
    "Job",
    "Measured",
    "Profile",
    "Progress",
    "RayExecutor",
    "ResultCache",
    "Runner",
    "Selection",
    "Silence",
    "Span",
    "Turns",
    "Unavailable",
    "about",
    "cell_looks",
    "declared_source",
    "division",
    "estimate_text",
    "grid_of",
    "jobs_of",
    "n_near_duplicates",
    "quantizer_order",
    "read_records",
    "reference_of",
    "run_job",
    "served_estimate",
    "unreported",
]
