"""Labelled data, and how a model is asked."""

from calbench.tasks.classification import ClassificationRequest, SequenceClassification
from calbench.tasks.items import Dataset, Item, Partition, Split, split_evaluation
from calbench.tasks.registry import get, names, registry, task

__all__ = [
    "ClassificationRequest",
    "Dataset",
    "Item",
    "Partition",
    "SequenceClassification",
    "Split",
    "get",
    "names",
    "registry",
    "split_evaluation",
    "task",
]
