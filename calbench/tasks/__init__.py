"""Labelled data, and how a model is asked."""

from calbench.tasks.classification import ClassificationRequest, SequenceClassification
from calbench.tasks.generation import Generation, GenerationRequest, OpenQuestion
from calbench.tasks.items import Dataset, Item, LabelledItem, Partition, Split, split_evaluation
from calbench.tasks.multiple_choice import ChoiceRequest, MultipleChoice, Question
from calbench.tasks.registry import ClosedTask, Task, closed, get, names, registry, task

__all__ = [
    "ChoiceRequest",
    "ClassificationRequest",
    "ClosedTask",
    "Dataset",
    "Generation",
    "GenerationRequest",
    "Item",
    "LabelledItem",
    "MultipleChoice",
    "OpenQuestion",
    "Partition",
    "Question",
    "SequenceClassification",
    "Split",
    "Task",
    "closed",
    "get",
    "names",
    "registry",
    "split_evaluation",
    "task",
]
