"""From a loaded model and a task to predictions."""

from calbench.inference.scoring import Scored, encode_texts, score

__all__ = ["Scored", "encode_texts", "score"]
