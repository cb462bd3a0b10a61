"""Adaptation: LoRA adapters over full-precision and quantized models, from labels or from a teacher.

Importing this package imports neither torch nor peft.
"""

from __future__ import annotations

from calbench.adaptation.answers import Student
from calbench.adaptation.data import TrainingData
from calbench.adaptation.lora import attach, set_adapter
from calbench.adaptation.merged import merged_source
from calbench.adaptation.recipe import Distillation, Recipe
from calbench.adaptation.stored import StoredAdapter, adapter_identity, folder_of
from calbench.adaptation.training import Teacher, compute_dtype, train

__all__ = [
    "Distillation",
    "Recipe",
    "StoredAdapter",
    "Student",
    "Teacher",
    "TrainingData",
    "adapter_identity",
    "attach",
    "compute_dtype",
    "folder_of",
    "merged_source",
    "set_adapter",
    "train",
]
