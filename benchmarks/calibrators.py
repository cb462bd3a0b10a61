"""Calibrators against their peers, alternating in one process: time, and what the time buys.

    OMP_NUM_THREADS=1 python benchmarks/calibrators.py [--quick]
    python benchmarks/calibrators.py --table NAME=FORMAT:FILE[,FILE] ...

Peers that are not installed are named and left out. ``ratio`` is our median time over theirs.
With ``--table`` every calibrator is fitted on one half of each record (or on the first of two files)
and scored on the rest, in markdown; FORMAT is that of :func:`calbench.calibrators.unit_error`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from calbench import Predictions, calibrators
from calbench.calibrators import CalibrationContext, softmax, unit_error
from calbench.calibrators._beta import fit_beta
from calbench.calibrators._confidence import Samples
from calbench.calibrators._isotonic import fit_isotonic
from calbench.errors import InputError
from calbench.metrics import expected_calibration_error


def data(n: int, k: int, dtype: Any = np.float32) -> tuple[Any, Any]:
    """Logits of an overconfident model that is often right."""
    rng = np.random.default_rng(0)
    labels = rng.integers(k, size=n)
    logits = rng.normal(scale=2, size=(n, k))
    logits[np.arange(n), labels] += 3
    return (1.7 * logits).astype(dtype), labels


def nll(probs: Any, labels: Any) -> float:
    return float(-np.log(probs[np.arange(len(labels)), labels]).mean())


def alternate(
    ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int, warm_up: int = 1
) -> tuple[float, float, Any, Any]:
    """Median seconds of each and their last results, run in turn after runs to warm up."""
    times: tuple[list[float], list[float]] = ([], [])
    results: list[Any] = [None, None]
    for i in range(rounds + warm_up):
        for which, run in enumerate((ours, theirs)):
            start = time.perf_counter()
            results[which] = run()
            if i >= warm_up:
                times[which].append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1]), *results


def row(name: str, ours: float, theirs: float, goal: str, excess: float) -> None:
    print(
        f"{name:34s} {1e3 * ours:9.1f} ms {1e3 * theirs:10.1f} ms  ratio 1/{theirs / ours:<6.1f}"
        f" (goal {goal})  objective {excess:+.1e} against theirs",
        flush=True,
    )


def temperature(rounds: int) -> None:
    import torch
    from probmetrics.calibrators import TemperatureScalingCalibrator
    from probmetrics.distributions import CategoricalLogits

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    logits, labels = data(10_000, 100)
    theirs = CategoricalLogits(torch.from_numpy(logits)), torch.from_numpy(labels)

    def peer() -> Any:
        fitted = TemperatureScalingCalibrator(opt="bisection")
        fitted.fit_torch(*theirs)
        return float(fitted.invtemp_)

    method = calibrators.get("temperature")
    a, b, fitted, inverse = alternate(lambda: method.fit(logits, labels), peer, rounds)
    exact = logits.astype(np.float64)
    excess = nll(fitted(exact), labels) - nll(softmax(exact * inverse), labels)
    row("temperature 10k x 100", a, b, "1/10", excess)


def dirichlet_family(name: str) -> None:
    import jax

    from tests.oracles.dirichletcal_peer import regression

    logits, labels = data(5_000, 100, np.float64)
    inputs = logits if name == "matrix" else np.log(softmax(logits))

    def objective(probs: Any, weights: Any, bias: Any) -> float:
        if name == "affine":
            return nll(probs, labels)
        off = weights - np.diag(np.diag(weights))
        return nll(probs, labels) + float((off**2).sum()) / 9900 + float((bias**2).sum()) / 100

    method = calibrators.get(name)
    shown = "vector (log p)" if name == "affine" else name
    for which in ("first fit", "later"):
        if which == "first fit":
            jax.clear_caches()  # dirichletcal compiles in a process's first fit
        a, b, fitted, peer = alternate(
            lambda: method.fit(logits, labels), lambda: regression(name).fit(inputs, labels), 1, warm_up=0
        )
        weights = np.diag(fitted.scale) if name == "affine" else fitted.weights
        ours = objective(fitted(logits), weights, fitted.bias)
        theirs = objective(
            np.asarray(peer.predict_proba(inputs)), np.asarray(peer.coef_), np.asarray(peer.intercept_)
        )
        row(f"{shown} 5k x 100, {which}", a, b, "1/20", ours - theirs)


def maps(rounds: int) -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.01, 0.99, size=100_000)
    happened = rng.random(len(p)) < 1 / (1 + ((1 - p) / p) ** 0.6)
    from sklearn.isotonic import IsotonicRegression

    a, b, table, peer = alternate(
        lambda: fit_isotonic(p, happened),
        lambda: IsotonicRegression(out_of_bounds="clip").fit(p, happened),
        rounds,
    )
    gap = float(np.abs(np.interp(p, *table) - peer.predict(p)).max())
    row("isotonic 100k", a, b, "1", gap)
    from betacal import BetaCalibration

    odds = np.log(p) - np.log1p(-p)
    a, b, (abc, _), peer = alternate(
        lambda: fit_beta(Samples(odds, happened, ""), "abm"),
        lambda: BetaCalibration(parameters="abm").fit(p.reshape(-1, 1), happened),
        rounds,
    )

    def loss(q: Any) -> float:
        return float(-np.where(happened, np.log(q), np.log1p(-q)).mean())

    ours = 1 / (1 + np.exp(-(abc[0] * np.log(p) - abc[1] * np.log1p(-p) + abc[2])))
    row("beta 100k", a, b, "1", loss(ours) - loss(peer.predict(p)))


def alone(rounds: int) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(10_000, 3))
    labels = np.argmax(logits / 2 + rng.gumbel(size=logits.shape), axis=1)
    for name, goal in (("fuzzy", "500 ms"), ("fuzzy[form=matrix]", "none"), ("adaptive", "none")):
        method = calibrators.get(name)
        seconds, *_ = alternate(lambda m=method: m.fit(logits, labels), lambda: None, rounds)
        print(f"{name + ' 10k x 3':34s} {1e3 * seconds:9.1f} ms  (goal {goal})", flush=True)


def memory() -> None:
    logits, labels = data(50_000, 1_000)
    tracemalloc.start()
    calibrators.get("temperature").fit(logits, labels)
    peak = (tracemalloc.get_traced_memory()[1] + logits.nbytes) / logits.nbytes
    tracemalloc.stop()
    print(f"{'temperature 50k x 1000':34s} peak memory {peak:.2f} x the logits (goal 2)", flush=True)


def load(path: str) -> tuple[Any, Any]:
    """Logits and labels of a record, or of a torch file that holds the pair."""
    if path.endswith(".pt"):
        import torch

        logits, labels = torch.load(path, weights_only=True, map_location="cpu")
        return logits.numpy(), labels.numpy()
    record = Predictions.read(path, item_id="item_id", label="answer_idx", logits="logprobs")
    return record.logits, record.labels


def table(sources: list[str]) -> None:
    """Print ECE, NLL and accuracy of every calibrator on every source."""
    columns = {}
    for source in sources:
        name, _, rest = source.partition("=")
        number_format, _, files = rest.partition(":")
        parts = [load(path) for path in files.split(",")]
        if len(parts) == 1:
            order = np.random.default_rng(42).permutation(len(parts[0][1]))
            halves = order[: len(order) // 2], order[len(order) // 2 :]
            parts = [(parts[0][0][rows], parts[0][1][rows]) for rows in halves]
        columns[name] = (unit_error(number_format), *parts)
    print("| calibrator | parameters |" + "".join(f" {name} |" for name in columns))
    print("|---|---|" + "---|" * len(columns))
    for name in calibrators.names():
        cells, sizes = [], []
        for epsilon, fit, score in columns.values():
            try:
                fitted = calibrators.get(name).fit(*fit, context=CalibrationContext(epsilon=epsilon))
            except InputError as error:
                cells.append(str(error).partition(";")[0])
                continue
            probs = fitted(score[0])
            ece = expected_calibration_error(probs, score[1])
            accuracy = np.mean(probs.argmax(axis=1) == score[1])
            with np.errstate(divide="ignore"):
                cells.append(f"{100 * ece:.2f} / {nll(probs, score[1]):.4f} / {100 * accuracy:.2f}")
            sizes.append(str(fitted.n_parameters))
        print(f"| `{name}` | {', '.join(dict.fromkeys(sizes))} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out dirichletcal, which takes minutes")
    parser.add_argument("--table", nargs="+", metavar="NAME=FORMAT:FILE[,FILE]")
    options = parser.parse_args()
    if options.table:
        table(options.table)
        return
    quick = options.quick
    warnings.simplefilter("ignore")
    slow = ("affine", "matrix", "dirichlet")
    steps: list[Callable[[], None]] = [lambda: temperature(15), lambda: maps(7), lambda: alone(3), memory]
    if not quick:
        steps += [lambda name=name: dirichlet_family(name) for name in slow]  # type: ignore[misc]
    for step in steps:
        try:
            step()
        except BaseException as error:  # noqa: PERF203 (a skip is no Exception)
            if type(error).__name__ not in ("ModuleNotFoundError", "ImportError", "Skipped"):
                raise
            print(f"left out: {error}", flush=True)


if __name__ == "__main__":
    main()
