"""Other people's files: predictions that were made elsewhere, and results for others to read."""

from calbench.interchange.harness_results import lm_eval_results
from calbench.interchange.inspect_logs import read_inspect
from calbench.interchange.lm_eval import read_lm_eval
from calbench.interchange.model_card import front_matter, model_index
from calbench.interchange.pairing import Paired, pair
from calbench.interchange.sources import read

__all__ = [
    "Paired",
    "front_matter",
    "lm_eval_results",
    "model_index",
    "pair",
    "read",
    "read_inspect",
    "read_lm_eval",
]
