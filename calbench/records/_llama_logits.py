"""What llama-perplexity saves of each token, the base of its ``--kl-divergence``."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from calbench.errors import InputError
from calbench.records._content import bytes_of

_HEADER = struct.Struct("<8s3i")


def next_tokens(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns of a file of log-probabilities, a row a predicted token, and its metadata.

    The file holds, of the second half of each chunk, the log-probabilities of the whole vocabulary in
    16 bits: ``scale * code + least``. Of each the largest is kept, whose token, and the token that came.

    Raises
    ------
    InputError
        The file is cut off.
    """
    content = bytes_of(path)
    _, n_context, n_vocabulary, n_chunks = _HEADER.unpack_from(content)
    n_rows = n_context - 1 - n_context // 2
    width = 2 * ((n_vocabulary + 1) // 2) + 4  # 16-bit words a row, of which four hold scale and least
    n_bytes = _HEADER.size + 4 * n_context * n_chunks + 2 * width * n_rows * n_chunks
    if min(n_context, n_vocabulary, n_chunks, n_rows) < 1 or len(content) < n_bytes:
        raise InputError(
            f"{path}: was cut off ({len(content):,} of {n_bytes:,} bytes); write it again with"
            " llama-perplexity"
            " --save-all-logits"
        )
    tokens = np.frombuffer(content, "<i4", n_context * n_chunks, _HEADER.size).reshape(n_chunks, n_context)
    came = tokens[:, n_context // 2 + 1 :].ravel()
    words = np.frombuffer(content, "<u2", width * n_rows * n_chunks, _HEADER.size + tokens.nbytes)
    rows = words.reshape(n_rows * n_chunks, width)
    scales = np.ascontiguousarray(rows[:, :4]).view("<f4").T
    if not np.isfinite(scales).all():
        raise InputError(f"{path}: holds numbers that are no log-probabilities; write the file again")
    scale, least = scales.astype(np.float64)
    codes = rows[:, 4 : 4 + n_vocabulary]
    best = codes.argmax(axis=1)
    largest = scale * codes[np.arange(len(codes)), best] + least
    return {
        "item_id": [f"{chunk}/{place}" for chunk in range(n_chunks) for place in range(n_rows)],
        "confidence": np.exp(np.minimum(largest, 0.0)),
        "predicted": best.astype(np.int64),
        "label": came.astype(np.int64),
        "correct": best == came,
    }, {"confidence_of": "the most probable next token", "n_vocabulary": n_vocabulary}
