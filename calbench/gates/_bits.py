"""How many bits a record says that its model has: what a swapped pair is known by."""

from __future__ import annotations

import math
import re
import warnings

from calbench.records import AnyRecord

# fp32, bf16, bnb-int8, bnb-nf4, fp8-e4m3, 3bit, 4-bit
_IN_A_NAME = re.compile(r"(?:fp|bf|int|nf|float)(\d+)|(\d+)[-_]?bits?\b")


def bits_of(record: AnyRecord) -> float | None:
    """Return the effective bits that a record's metadata tell, by number or by its quantizer's name.

    >>> from calbench.records import TopLabelPredictions
    >>> bits_of(TopLabelPredictions([1], [0.5], [True], metadata={"quantizer": "bnb-nf4"}))
    4.0
    """
    said = record.metadata.get("effective_bits")
    if isinstance(said, int | float) and not isinstance(said, bool) and math.isfinite(said):
        return float(said)
    found = _IN_A_NAME.search(str(record.metadata.get("quantizer") or ""))
    return float(found[1] or found[2]) if found else None


def order_problem(reference: AnyRecord, candidate: AnyRecord) -> str:
    """Say that two records seem to be swapped: the candidate has more bits; ``""`` if it has not."""
    first, second = bits_of(reference), bits_of(candidate)
    if first is None or second is None or second <= first:
        return ""
    return (
        f"the candidate has more effective bits ({second:g}) than the reference ({first:g}); the reference"
        " comes first: are the two swapped?"
    )


def warn_of_order(reference: AnyRecord, candidate: AnyRecord) -> None:
    """Warn where two records seem to be swapped."""
    if problem := order_problem(reference, candidate):
        warnings.warn(problem, UserWarning, stacklevel=3)
