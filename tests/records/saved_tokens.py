"""What llama-perplexity saves of each token, written as it does."""

from __future__ import annotations

import struct

import numpy as np


def kld(path, logits, tokens, n_context):
    """Write what llama-perplexity --save-all-logits does: 16 bits a log-probability, by its own rule."""
    n_chunks, n_vocab = len(tokens) // n_context, logits.shape[-1]
    parts = [struct.pack("<8s3i", b"_logits_", n_context, n_vocab, n_chunks), tokens.astype("<i4").tobytes()]
    for row in logits.reshape(-1, n_vocab):
        least = max(row.min(), row.max() - 16)
        norm = row.max() + np.log(np.exp(row - row.max()).sum())
        scale = (row.max() - least) / 65535
        codes = np.zeros(2 * ((n_vocab + 1) // 2), "<u2")
        codes[:n_vocab] = np.where(row > least, np.rint((row - least) / scale), 0)
        parts += [struct.pack("<ff", scale, least - norm), codes.tobytes()]
    path.write_bytes(b"".join(parts))
