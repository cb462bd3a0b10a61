"""From a loaded model and a task to predictions."""

from calbench.inference.generation import Generated, generate
from calbench.inference.scoring import Scored, encode_texts, score

__all__ = ["Generated", "Scored", "encode_texts", "generate", "score"]
