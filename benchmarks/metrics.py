"""calbench and its peers on the same arrays, alternating; a row is the ratio of their best times.

python benchmarks/metrics.py                (peers that are not installed are left out)
python benchmarks/metrics.py --stream 100000000   shows the peak memory of a long stream as well
"""

from __future__ import annotations

import argparse
import importlib
import resource
import time
import warnings

import numpy as np
from tabulate import tabulate

from calbench import metrics, statistics
from calbench.metrics import Outcomes, ReliabilityBins


def best_ms(ours, theirs, rounds):
    """Alternate, so that a busy moment hits both; the least of each is what it costs."""
    times = [], []
    for _ in range(rounds):
        for call, found in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            call()
            found.append(1e3 * (time.perf_counter() - start))
    return min(times[0]), min(times[1])


def answers(n, n_classes=None, seed=0):
    rng = np.random.default_rng(seed)
    if n_classes is None:
        confidences = rng.uniform(0.3, 1, n)
        return confidences, rng.random(n) < np.where(confidences < 0.6, confidences - 0.1, confidences)
    probs = rng.dirichlet(np.full(n_classes, 0.5), n)
    return probs, np.minimum((rng.random((n, 1)) > np.cumsum(probs, axis=1)).sum(axis=1), n_classes - 1)


def row(what, ours, theirs, wanted):
    return {
        "what": what,
        "calbench ms": ours,
        "peer ms": theirs,
        "ratio": theirs / ours,
        "wanted": wanted,
    }


def resampled_ece():
    """1,000 resamples of ECE at n = 10,000, per resample; the draw is paid once for all metrics."""
    n, n_resamples = 10_000, 1_000
    confidences, correct = answers(n)
    items = Outcomes.from_top_label(confidences, correct)
    resamples = statistics.resamples_for(range(n), n_resamples=n_resamples, seed=0)
    rng = np.random.default_rng(0)

    def ours():
        statistics.resample(["ece"], items, resamples)

    def numpy_rows():
        for _ in range(20):
            rows = rng.integers(n, size=n)
            c, right = confidences[rows], correct[rows]
            bins = np.minimum((c * 15).astype(int), 14)
            np.abs(np.bincount(bins, c, 15) - np.bincount(bins, right, 15)).sum() / n

    a, b = best_ms(ours, numpy_rows, 7)
    rows = [row("resample of ece, against numpy rows", a / n_resamples, b / 20, ">= 10")]
    start = time.perf_counter()
    statistics.Resamples.draw(range(n), n_resamples=n_resamples, seed=rng)
    draw = 1e3 * (time.perf_counter() - start)
    rows.append(row("the same, our draw included", (a + draw) / n_resamples, b / 20, ""))
    utils = peer("calibration.utils")
    if utils is not None:
        data = list(zip(confidences, correct.astype(float), strict=True))
        edges = ((np.arange(15) + 1) / 15).tolist()

        def theirs():
            utils.bootstrap_uncertainty(
                data, lambda d: utils.plugin_ce(utils.bin(d, edges), power=1), num_samples=3
            )

        a, b = best_ms(ours, theirs, 3)
        # their call evaluates the data itself twice as well
        rows.append(row("resample of ece, against uncertainty-calibration", a / n_resamples, b / 5, ">= 300"))
    return rows


def large_ece():
    """ECE of a million items against one bare bincount over the confidences."""
    confidences, correct = answers(1_000_000)
    bins = np.minimum((confidences * 15).astype(int), 14)
    items = Outcomes.from_top_label(confidences, correct)

    def bare():
        np.bincount((confidences * 15).astype(np.intp), weights=confidences, minlength=16)

    a, b = best_ms(lambda: metrics.evaluate("ece", items), bare, 15)
    rows = [row("ece of 10^6 items, against a bincount that makes its bins", a, b, ">= 0.5")]
    a, b = best_ms(lambda: metrics.evaluate("ece", items), lambda: np.bincount(bins, weights=confidences), 40)
    rows.append(row("the same, bins given to the bincount", a, b, ">= 0.5"))
    probs, labels = answers(1_000_000, 10)
    a, b = best_ms(
        lambda: metrics.expected_calibration_error(probs, labels),
        lambda: (probs.argmax(axis=1), probs.max(axis=1)),
        5,
    )
    rows.append(row("ece of probs (10^6, 10), checks and all, against argmax and max", a, b, ""))
    return rows


def large_smooth_error():
    relplot = peer("relplot.metrics")
    if relplot is None:
        return []
    confidences, correct = answers(1_000_000)
    items, y = Outcomes.from_top_label(confidences, correct), correct.astype(float)
    a, b = best_ms(lambda: metrics.evaluate("smece", items), lambda: relplot.smECE(confidences, y), 3)
    return [row("smece of 10^6 items, against relplot", a, b, "> 1")]


def five_arms():
    """What one arm of a transfer experiment costs: four metrics on 2,000 resamples of 1,500 items."""
    probs, labels = answers(1_500, 4)
    resamples = statistics.resamples_for(range(1_500), n_resamples=2_000, seed=0)
    names = ["ece", "nll", "brier", "accuracy"]

    def arm():
        statistics.resample(names, Outcomes.from_probs(probs, labels), resamples)

    a, _ = best_ms(arm, lambda: None, 15)
    return [
        {
            "what": "ece, nll, brier, accuracy: n = 1,500, 2,000 resamples",
            "calbench ms": a,
            "wanted": "< 10 ms",
        }
    ]


def stream_memory(n_items):
    part = 1_000_000
    confidences, correct = answers(part)
    ReliabilityBins.of(confidences, correct)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parts = ((confidences, correct) for _ in range(n_items // part))
    state = ReliabilityBins.of_stream(parts)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"\nstream of {state.n_items:,} items: peak memory grew by {(after - before) / 1024:.1f} MB;"
          f" the state holds {state.weights.nbytes * 3} bytes")  # fmt: skip


def peer(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed: its rows are left out")
            return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stream", type=int, default=10_000_000)
    n_items = parser.parse_args().stream
    rows = [*resampled_ece(), *large_ece(), *large_smooth_error(), *five_arms()]
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3f", missingval=""))
    stream_memory(n_items)


if __name__ == "__main__":
    main()
