"""What a user writes; type checkers must know each type, and find no error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from typing_extensions import reveal_type

import calbench

Floats = npt.NDArray[np.float64]


@calbench.metric("my-doubt", needs="top-label", range=(0, 1))
def my_doubt(
    confidences: Floats, correct: npt.NDArray[np.bool_], *, sample_weight: Floats | None = None
) -> float:
    return float(np.average(1 - confidences, weights=sample_weight))


@calbench.calibrator("my-halving")
class Halving:
    def fit(self, logits: Floats, labels: npt.NDArray[np.int64]) -> object:
        return lambda z: calbench.calibrators.softmax(z / 2)


@calbench.grid(models="minilm", tasks="tweets", quantizers="bnb-nf4")
def test_calibration() -> None: ...


def use() -> None:
    record = calbench.Predictions.from_probs(["a", "b"], [[0.9, 0.1], [0.2, 0.8]], [0, 0])
    top = calbench.TopLabelPredictions(["a", "b"], [0.9, 0.8], [True, False])
    reveal_type(calbench.__version__)
    reveal_type(record)
    reveal_type(record.probs)
    reveal_type(top.confidences)
    reveal_type(calbench.evaluate(record, metrics=["ece"]))
    reveal_type(calbench.evaluate(record, metrics=["ece"])["ece"].interval)
    reveal_type(calbench.metrics.get("ece")([[0.9, 0.1]], [0]))
    reveal_type(calbench.metrics.names())
    reveal_type(calbench.metrics.expected_calibration_error(record.probs, record.labels, n_bins=10))
    reveal_type(calbench.metrics.accuracy(record.probs, record.labels, sample_weight=[1.0, 2.0]))
    reveal_type(calbench.calibrators.get("temperature").fit(record.logits, record.labels))
    reveal_type(calbench.calibrators.names())
    reveal_type(calbench.compare(record, record))
    reveal_type(calbench.interchange.read_lm_eval)
    reveal_type(my_doubt)
    reveal_type(Halving)
    reveal_type(test_calibration)
    try:
        reveal_type(calbench.tasks.get("tweets").id)
        reveal_type(calbench.models.get("minilm").id)
        reveal_type(calbench.quantizers.get("bnb-nf4").id)
    except calbench.CalbenchError as error:
        reveal_type(error)
