"""From a loaded model and a task to predictions."""

from calbench.inference._agreement import Way
from calbench.inference._choice_tokens import Choices, encode_choices
from calbench.inference._choices import divisors, option_log_probs, ways_of
from calbench.inference._classification import padding_token
from calbench.inference._generation import ENGINE, Generated, generate
from calbench.inference._heads import vocabulary_logits
from calbench.inference._methods import at_last_token, check_device, device_of, padded
from calbench.inference._scoring import Request, Scored, encode_texts, moved_by_asking, score
from calbench.inference._shards import NoShards, Shards
from calbench.inference._tokens import encode, label_tokens

__all__ = [
    "ENGINE",
    "Choices",
    "Generated",
    "NoShards",
    "Request",
    "Scored",
    "Shards",
    "Way",
    "at_last_token",
    "check_device",
    "device_of",
    "divisors",
    "encode",
    "encode_choices",
    "encode_texts",
    "generate",
    "label_tokens",
    "moved_by_asking",
    "option_log_probs",
    "padded",
    "padding_token",
    "score",
    "vocabulary_logits",
    "ways_of",
]
