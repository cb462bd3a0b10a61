"""Random damage to files: bytes flipped, cut, doubled, moved, and values put where others belong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from calbench import Predictions, TopLabelPredictions
from calbench.errors import CalbenchError
from calbench.interchange import read
from calbench.metrics import evaluate
from calbench.records import ColumnNames, digest, open_columns

SPLICES = (
    b"NaN",
    b"null",
    b"-1e999",
    b'"',
    b"[",
    b"}",
    b",",
    b"\x00",
    b"\xff",
    b"\n",
    b"1e308",
    b"true",
    b"{}",
)
Record = Predictions | TopLabelPredictions


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Return content with one to three kinds of damage."""
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at, other = (int(i) for i in rng.integers(0, max(len(damaged), 1), size=2))
        match rng.integers(0, 6):
            case 0:
                for place in rng.integers(0, max(len(damaged), 1), size=rng.integers(1, 5)):
                    if damaged:
                        damaged[place] ^= 1 << int(rng.integers(0, 8))
            case 1:
                del damaged[at:]
            case 2:
                del damaged[min(at, other) : min(at, other) + int(rng.integers(1, 40))]
            case 3:
                damaged[at:at] = damaged[min(at, other) : min(at, other) + int(rng.integers(1, 40))]
            case 4:
                damaged[at : at + int(rng.integers(0, 6))] = SPLICES[int(rng.integers(len(SPLICES)))]
            case 5:
                damaged[at : at + 4] = rng.bytes(4)
    return bytes(damaged)


def outcome(path: Path, columns: ColumnNames, *, original: Record | None = None) -> str:
    """Read a damaged file: ``"refused"`` by a CalbenchError, or ``"read"`` as a record that is valid.

    ``original`` is what the file held, where the format carries a checksum: as long as that is there,
    nothing else may be read from it.
    """
    try:
        record = read(path, columns=columns)
    except CalbenchError:
        return "refused"
    check_valid(record)
    if original is not None and open_columns(path).digest:  # a lost checksum makes it anybody's file
        assert record.item_ids.tolist() == original.item_ids.tolist()
        assert digest(record.with_metadata({})) == digest(original.with_metadata({}))
    return "read"


def check_valid(record: Record) -> None:
    """Assert what every record promises."""
    assert len(set(record.item_ids.tolist())) == len(record) > 0
    confidences = np.asarray(record.confidences)
    assert np.isfinite(confidences).all()
    assert ((confidences >= 0) & (confidences <= 1)).all()
    if isinstance(record, Predictions):
        np.testing.assert_allclose(record.probs.sum(axis=1), 1.0, atol=1e-9)
        assert ((record.labels >= 0) & (record.labels < record.n_classes)).all()
    assert 0 <= evaluate("ece", record) <= 1


def run(
    path: Path,
    columns: ColumnNames,
    n: int,
    *,
    seed: int = 0,
    original: Record | None = None,
    name: Callable[[Path], Path] = lambda path: path,
) -> Mapping[str, int]:
    """Damage a file ``n`` times, and count what became of it."""
    content, rng = path.read_bytes(), np.random.default_rng(seed)
    counts = {"refused": 0, "read": 0}
    target = name(path)
    for _ in range(n):
        target.write_bytes(mutated(content, rng))
        counts[outcome(target, columns, original=original)] += 1
    path.write_bytes(content)
    return counts
