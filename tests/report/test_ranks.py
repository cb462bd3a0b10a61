"""Calibrators are ranked among those measured on the same items."""

from __future__ import annotations

import numpy as np

from calbench.report import merge
from calbench.report._diagrams import packed_resamples, unpacked_resamples
from tests.report.rows import estimate, row

RNG = np.random.default_rng(0)


def ranked_row(calibrator, value, **changes):
    made = row(calibrator=calibrator, **changes)
    made["arms"]["transferred"]["ece"] = estimate(value)
    made["ranked"] = {
        "value": value,
        "n": made["n_test"],
        "resamples": packed_resamples(value + 0.01 * RNG.normal(size=200)),
    }
    return made


def test_entries_that_noise_cannot_tell_apart_share_ranks():
    rows = merge([ranked_row("a", 0.05), ranked_row("b", 0.051), ranked_row("c", 0.5)])
    assert [(r["calibrator"], r["rank"]["rank"], r["rank"]["interval"]) for r in rows] == [
        ("a", 1, [1, 2]),
        ("b", 2, [1, 2]),
        ("c", 3, [3, 3]),
    ]
    assert not any("ranked" in r for r in rows)


def test_quantizers_are_ranked_apart():
    rows = merge([ranked_row("a", 0.05), ranked_row("a", 0.01, quantizer="gptq-int4")])
    assert not any("rank" in r for r in rows)


def test_resamples_travel_as_text():
    values = RNG.normal(size=7)
    np.testing.assert_allclose(unpacked_resamples(packed_resamples(values)), values, rtol=1e-6)
