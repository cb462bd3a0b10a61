"""Other people's files: predictions that were made elsewhere, and results for others to read."""

from calbench.interchange._harness_results import lm_eval_results
from calbench.interchange._inspect_logs import read_inspect
from calbench.interchange._lm_eval import is_samples, read_lm_eval, tasks_of
from calbench.interchange._model_card import front_matter, model_index
from calbench.interchange._pairing import Paired, pair
from calbench.interchange._sources import read, read_answers

__all__ = [
    "Paired",
    "front_matter",
    "is_samples",
    "lm_eval_results",
    "model_index",
    "pair",
    "read",
    "read_answers",
    "read_inspect",
    "read_lm_eval",
    "tasks_of",
]
