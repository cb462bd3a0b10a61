"""Labelled data, and how a model is asked."""

from calbench.tasks._classification import ClassificationRequest, SequenceClassification
from calbench.tasks._decision import Decision, DecisionRequest
from calbench.tasks._generation import (
    Generation,
    GenerationRequest,
    OpenQuestion,
    is_right,
    normal_form,
    open_question,
)
from calbench.tasks._harness import LM_EVAL_INCLUDE, use_harness
from calbench.tasks._harness_tasks import HarnessChoice, HarnessGeneration, HarnessRequest
from calbench.tasks._harness_yaml import TRUST_LM_EVAL_CODE
from calbench.tasks._items import (
    Dataset,
    Item,
    LabelledItem,
    Partition,
    clusters_of,
    hash_items,
    normalized,
)
from calbench.tasks._multiple_choice import ChoiceRequest, MultipleChoice, Question
from calbench.tasks._named import get, group_of, in_turns, is_place, named
from calbench.tasks._near_duplicates import near_duplicates
from calbench.tasks._own_data import declare, own_data
from calbench.tasks._registry import ClosedTask, Task, closed, names, registry, task

__all__ = [
    "LM_EVAL_INCLUDE",
    "TRUST_LM_EVAL_CODE",
    "ChoiceRequest",
    "ClassificationRequest",
    "ClosedTask",
    "Dataset",
    "Decision",
    "DecisionRequest",
    "Generation",
    "GenerationRequest",
    "HarnessChoice",
    "HarnessGeneration",
    "HarnessRequest",
    "Item",
    "LabelledItem",
    "MultipleChoice",
    "OpenQuestion",
    "Partition",
    "Question",
    "SequenceClassification",
    "Task",
    "closed",
    "clusters_of",
    "declare",
    "get",
    "group_of",
    "hash_items",
    "in_turns",
    "is_place",
    "is_right",
    "named",
    "names",
    "near_duplicates",
    "normal_form",
    "normalized",
    "open_question",
    "own_data",
    "registry",
    "task",
    "use_harness",
]
