"""From a loaded model and a task to predictions."""

from calbench.inference._choice_tokens import Choices, encode_choices
from calbench.inference._choices import divisors, longest, option_log_probs, takes_trees
from calbench.inference._classification import encode, padding_token, single_tokens
from calbench.inference._generation import ENGINE, Generated, generate
from calbench.inference._heads import vocabulary_logits
from calbench.inference._methods import at_last_token, check_device, device_of, padded
from calbench.inference._scoring import Request, Scored, encode_texts, score
from calbench.inference._shards import NoShards, Shards

__all__ = [
    "ENGINE",
    "Choices",
    "Generated",
    "NoShards",
    "Request",
    "Scored",
    "Shards",
    "at_last_token",
    "check_device",
    "device_of",
    "divisors",
    "encode",
    "encode_choices",
    "encode_texts",
    "generate",
    "longest",
    "option_log_probs",
    "padded",
    "padding_token",
    "score",
    "single_tokens",
    "takes_trees",
    "vocabulary_logits",
]
