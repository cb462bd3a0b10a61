"""Adaptation: LoRA adapters over full-precision and quantized models, from labels or from a teacher.

Importing this package imports neither torch nor peft.
"""

from __future__ import annotations

from calbench.adaptation._answers import Student
from calbench.adaptation._data import TrainingData
from calbench.adaptation._effects import METRICS
from calbench.adaptation._lora import attach, set_adapter
from calbench.adaptation._merged import merged_source
from calbench.adaptation._recipe import Distillation, Recipe
from calbench.adaptation._result import VariantStudy
from calbench.adaptation._runner import AdaptationRunner
from calbench.adaptation._stored import StoredAdapter, adapter_identity, folder_of
from calbench.adaptation._training import Teacher, compute_dtype, train
from calbench.adaptation._variants import CONTRASTS, VARIANTS, Variant

__all__ = [
    "CONTRASTS",
    "METRICS",
    "VARIANTS",
    "AdaptationRunner",
    "Distillation",
    "Recipe",
    "StoredAdapter",
    "Student",
    "Teacher",
    "TrainingData",
    "Variant",
    "VariantStudy",
    "adapter_identity",
    "attach",
    "compute_dtype",
    "folder_of",
    "merged_source",
    "set_adapter",
    "train",
]
