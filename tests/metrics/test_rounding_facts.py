"""Hand-derived facts on what rounding logits can do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from calbench import metrics
from calbench.errors import InputError
from calbench.records import Predictions, softmax


@pytest.mark.parametrize("n_classes", [2, 4, 50])
def test_no_rounding_moves_the_top_probability_beyond_the_bound(n_classes, rng):
    epsilon = 1e-4  # small, so that second order is below a percent
    logits = rng.normal(size=(2000, n_classes)) * 3
    error = rng.uniform(-1, 1, size=logits.shape)
    worst = np.where(np.arange(n_classes) == logits.argmax(axis=1)[:, None], 1, -1)
    bound = metrics.probability_shift_bound(logits, epsilon=epsilon)
    top = logits.argmax(axis=1)[:, None]
    size = epsilon * metrics.centred_norm(logits)[:, None]
    for direction in (error, worst, -worst):
        moved = np.take_along_axis(softmax(logits + size * direction) - softmax(logits), top, 1)[:, 0]
        assert (np.abs(moved) <= bound * 1.01).all()
    # and the worst direction attains it
    assert np.abs(moved) == pytest.approx(bound, rel=0.01)


def test_distortion_peaks_where_the_model_is_confident_but_not_saturated():
    def distortion(margin):
        return metrics.probability_shift_bound([[margin, 0.0]], epsilon=1.0)[0]

    peak = optimize.minimize_scalar(lambda m: -distortion(m), bounds=(0.1, 10), method="bounded").x
    assert peak == pytest.approx(1.543, abs=1e-3)
    assert peak * np.tanh(peak / 2) == pytest.approx(1, abs=1e-5)
    assert softmax([[peak, 0.0]])[0, 0] == pytest.approx(0.824, abs=5e-4)
    assert metrics.peak_distortion() == pytest.approx((peak, softmax([[peak, 0.0]])[0, 0]), abs=1e-5)


@pytest.mark.parametrize(
    ("n_classes", "dtype", "expected"),
    [(2, "float16", 8.32), (2, "bfloat16", 6.24), (1000, "float16", 15.22), (1000, "bfloat16", 13.15)],
)
def test_gradients_underflow_beyond_the_margin(n_classes, dtype, expected):
    margin = metrics.underflow_margin(n_classes, dtype)
    assert margin == pytest.approx(expected, abs=5e-3)
    logits = np.zeros((2, n_classes))
    logits[:, 0] = margin - 0.01, margin + 0.01
    assert metrics.underflow_fraction(logits, dtype=dtype) == 0.5


def test_the_margin_is_where_float16_itself_rounds_to_one():
    margin = metrics.underflow_margin(2, "float16")
    below, above = softmax([[margin - 0.01, 0.0], [margin + 0.01, 0.0]])[:, 0].astype(np.float16)
    assert below < 1
    assert above == 1


def test_padding_is_no_class():
    padded = [[2.0, 0.0, -np.inf]]
    assert metrics.centred_norm(padded) == metrics.centred_norm([[2.0, 0.0]])
    assert metrics.probability_shift_bound(padded, epsilon=0.1) == pytest.approx(
        metrics.probability_shift_bound([[2.0, 0.0]], epsilon=0.1)
    )


def test_observed_shift_beside_its_bound(rng):
    ids, labels = range(500), rng.integers(3, size=500)
    logits = rng.normal(size=(500, 3)) * 2
    reference = Predictions(ids, logits, labels)
    error = rng.uniform(-1, 1, logits.shape) * 0.01 * metrics.centred_norm(logits)[:, None]
    candidate = Predictions(ids, logits + error, labels)
    found = metrics.shift_by_norm(reference, candidate, epsilon=0.01)
    assert found.logit_error == pytest.approx(0.01 * metrics.centred_norm(logits), rel=1e-5)
    # the bound is of first order; at this epsilon the second is small
    assert (found.shift <= 1.1 * found.bound + 1e-6).all()
    assert found.share_within > 0.98


@pytest.mark.parametrize(("dtype", "epsilon"), [("float16", 2.0**-11), ("bfloat16", 2.0**-8)])
def test_rounding_logits_moves_confidence_within_the_bound(rng, dtype, epsilon):
    padded = np.where(rng.random((2000, 1)) < 0.3, [0, 0, 0, -np.inf], 0.0)
    record = Predictions(range(2000), rng.normal(size=(2000, 4)) * 3 + 20 + padded, np.zeros(2000, dtype=int))
    found = metrics.shift_by_rounding(record, dtype=dtype)
    assert found.logit_error == pytest.approx(epsilon * metrics.centred_norm(record.logits), rel=1e-5)
    assert (found.shift <= found.bound * (1 + 2 * found.logit_error) + 1e-7).all()
    assert found.shift.max() > 0.01 * found.bound.max()  # it does round


def test_bfloat16_is_rounded_as_torch_rounds_it(rng):
    torch = pytest.importorskip("torch", reason="the comparison is with torch")
    from calbench.metrics._rounding import _rounded

    values = (rng.normal(size=(500, 3)) * 10).astype(np.float32)
    expected = torch.from_numpy(values).to(torch.bfloat16).to(torch.float64).numpy()
    np.testing.assert_array_equal(_rounded(values.astype(np.float64), "bfloat16"), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.underflow_margin(1, "float16"), "n_classes=1"),
        (lambda: metrics.underflow_margin(2, "fp8"), "dtype='fp8'"),
        (lambda: metrics.probability_shift_bound([[1.0, 0.0]], epsilon=-1), "epsilon=-1"),
        (lambda: metrics.centred_norm([[np.nan, 0.0]]), r"logits\[0\]"),
        (lambda: metrics.centred_norm([1.0, 0.0]), "logits has shape"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
