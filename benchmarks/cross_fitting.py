"""Does a paired difference keep its promise where all items are both fitted on and scored, in folds?

    OMP_NUM_THREADS=1 python benchmarks/cross_fitting.py [draws] [--sizes N ...] [--parameters P ...]
    OMP_NUM_THREADS=1 python benchmarks/cross_fitting.py --cifar DIR    (*val*.pt and *test*.pt)

A world draws logits of a reference, labels from known probabilities, and a candidate's logits; a logistic
curve of 1 (a temperature) to 20 parameters (as free as a table of bins) is fitted to 40% of n items, or in 5
folds. The truths are what the very fits do to 4,000 further items of known probabilities: the mean over
the folds' fits (``folds``), and the fit on all items (``kept``). Each row is of all worlds: what was measured
less the truth on average and in the worst world, the share of 95% intervals above and below the truth in
the worst world (.025 each is allowed), and the intervals' median width.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from batched_bounds import ECE, SHARED, bounds, moments
from scipy.special import expit
from tabulate import tabulate

from calbench import Predictions, calibrators, gates
from calbench.calibrators import CalibrationContext, softmax, unit_error
from calbench.metrics import expected_calibration_error, get
from calbench.metrics._binning import uniform_bins
from calbench.statistics import resamples_for

FOLDS = 5
SIZES = (500, 1_000, 2_200)
METRICS = ("ece", "ece_shared_bins", "nll", "brier", "accuracy")
CONTRASTS = {
    "degradation": ("transferred", "calibrated_reference"),
    "regret": ("transferred", "refitted"),
}
N_RESAMPLES = 200
N_BEYOND = 4_000
SLACK = 5e-4  # of the truths, which 4,000 items show
CHUNK = 100  # draws at a time
STATISTICS = {"ece": ECE, "ece_shared_bins": SHARED}
PARAMETERS = (1, 2, 5, 10, 20)  # of curves


@dataclass(frozen=True)
class World:
    """``k`` classes; a reference that says ``over`` times the true logits; a candidate that moves them."""

    name: str
    k: int = 2
    over: float = 1.5
    noise: float = 0.1  # added to the candidate's logits
    scale: float = 1.0  # of the candidate's logits
    bias: float = 0.0  # added to its first class
    spread: float = 1.5  # of the true logits

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return logits of both models and the true probabilities, each ``(n, k)``."""
        true = self.spread * rng.normal(size=(n, self.k))
        reference = self.over * true
        candidate = self.scale * reference + self.noise * rng.normal(size=true.shape)
        candidate[:, 0] += self.bias
        return reference, candidate, softmax(true)


WORLDS = (
    World("int8, two classes"),
    World("int8, two classes, calibrated", over=1.0),
    World("sharper, two classes", scale=1.3),
    World("flatter, two classes", scale=0.7),
    World("shifted, two classes", bias=0.6),
    World("noisy, two classes", noise=1.5),
    World("int8, four classes", k=4),
    World("sharper and shifted, four classes", k=4, scale=1.3, bias=0.6),
)


def summaries(name: str, n: int, found) -> Iterator[dict[str, object]]:
    """Yield a row for each key of what was found, by world: errors, above, below and widths."""
    for (contrast, metric, target), by_world in found.items():
        draws = np.array([np.concatenate(chunks, axis=1) for chunks in by_world.values()])
        errors, above, below, widths = draws.transpose(1, 0, 2)
        bias = errors.mean(axis=1)
        yield {
            "calibrator": name,
            "n": n,
            "contrast": contrast,
            "metric": metric,
            "target": target,
            "bias": bias.mean(),
            "largest bias": bias[np.abs(bias).argmax()],
            "above": above.mean(axis=1).max(),
            "below": below.mean(axis=1).max(),
            "width": np.median(widths),
        }


def basis(margins: np.ndarray, n_parameters: int) -> np.ndarray:
    """Return what a logistic curve of ``n_parameters`` is linear in, ``(..., n_parameters)``.

    One is a temperature; two add a bias; more are hat functions of the margin, as free as a table of bins.
    """
    if n_parameters <= 2:
        return np.stack([margins, np.ones_like(margins)], axis=-1)[..., :n_parameters]
    knots = np.linspace(-6, 6, n_parameters)
    step = knots[1] - knots[0]
    return np.clip(1 - np.abs(np.clip(margins, -6, 6)[..., None] - knots) / step, 0, None)


def fit(features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the coefficients ``(r, p)`` of least log-loss of each draw, by Newton's method."""
    r, _, p = features.shape
    coefficients = np.zeros((r, p))
    if p <= 2:
        coefficients[:, 0] = 1.0
    ridge = 1e-3 * np.eye(p)  # hats without items
    turned = features.swapaxes(1, 2)
    for _ in range(12):
        probs = expit((features @ coefficients[:, :, None])[..., 0])
        slope = (turned @ (weights * (probs - labels))[..., None])[..., 0] + 1e-3 * coefficients * (p > 2)
        bend = (turned * (weights * probs * (1 - probs))[:, None, :]) @ features + ridge
        step = np.linalg.solve(bend, slope[..., None])[..., 0]
        coefficients -= np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    return coefficients


@dataclass(frozen=True)
class Curves:
    """Fitted curves of both models in one chunk of draws, applied: probabilities of class 1 of three arms."""

    calibrated_reference: np.ndarray
    transferred: np.ndarray
    refitted: np.ndarray

    @classmethod
    def of(cls, fits, features) -> Curves:
        (first, second), (reference, candidate) = fits, features
        values = [x @ c[..., None] for x, c in ((reference, first), (candidate, first), (candidate, second))]
        return cls(*(expit(value[..., 0]) for value in values))

    def answers(self, arm: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probs = getattr(self, arm)
        return np.maximum(probs, 1 - probs), (probs > 0.5) == labels


def loss_of(metric: str, probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each item's loss; ``labels`` may be probabilities of class 1."""
    if metric == "accuracy":
        return np.where(probs > 0.5, labels, 1 - labels)
    if metric == "brier":
        return 2 * (probs**2 - 2 * labels * probs + labels)
    inside = np.clip(probs, 1e-300, 1 - 1e-16)
    return -(labels * np.log(inside) + (1 - labels) * np.log1p(-inside))


def measured(metric: str, ours: str, theirs: str, curves: Curves, labels: np.ndarray):
    """Return values ``(r,)`` and 95% intervals ``(r, 2)`` of a paired difference."""
    if metric in STATISTICS:
        found = moments(
            curves.answers(ours, labels), curves.answers(theirs, labels), None, STATISTICS[metric]
        )
        sides = [np.abs(found.sums[:, side]).sum(axis=1) for side in found.sides]
        return (sides[0] - sides[1]) / found.n, bounds(found)[:, 0]
    one, other = (loss_of(metric, getattr(curves, arm), labels) for arm in (ours, theirs))
    values, error = (one - other).mean(axis=1), 1.96 * (one - other).std(axis=1) / np.sqrt(one.shape[1])
    return values, np.stack([values - error, values + error], axis=1)


def known(metric: str, ours: str, theirs: str, curves: Curves, true: np.ndarray) -> np.ndarray:
    """Return the true differences ``(r,)``, of items whose probability of class 1 is known."""
    if metric not in STATISTICS:
        one, other = (loss_of(metric, getattr(curves, arm), true) for arm in (ours, theirs))
        return (one - other).mean(axis=1)
    pair = []
    for arm in (ours, theirs):
        probs = getattr(curves, arm)
        pair.append((np.maximum(probs, 1 - probs), np.where(probs > 0.5, true, 1 - true)))
    n_bins = STATISTICS[metric].n_bins
    sums = []
    for confidences, accuracy in pair:
        places = pair[0][0] if STATISTICS[metric].shared else confidences
        bins = uniform_bins(places, n_bins) + n_bins * np.arange(len(places))[:, None]
        gaps = np.bincount(bins.ravel(), (confidences - accuracy).ravel(), n_bins * len(places))
        sums.append(np.abs(gaps.reshape(-1, n_bins)).sum(axis=1) / places.shape[1])
    return sums[0] - sums[1]


def curve_rows(n_parameters: int, n: int, n_draws: int) -> Iterator[dict[str, object]]:
    """Yield a row for each contrast, metric and target, over the worlds of two classes."""
    found = defaultdict(lambda: defaultdict(list))
    for number, world in enumerate(world for world in WORLDS if world.k == 2):
        rng = np.random.default_rng([n, number])
        *logits, probs = world.draw(N_BEYOND, np.random.default_rng(1))
        further = [basis(z[:, 1] - z[:, 0], n_parameters)[None] for z in logits]
        for start in range(0, n_draws, CHUNK):
            size = min(CHUNK, n_draws - start)
            *logits, true = (part.reshape(size, n, 2) for part in world.draw(size * n, rng))
            labels = (rng.random((size, n)) < true[..., 1]).astype(float)
            features = [basis(z[..., 1] - z[..., 0], n_parameters) for z in logits]
            folds = rng.integers(FOLDS, size=n)
            first = round(0.4 * n)  # draws are alike in any order

            def fits(weights, features=features, labels=labels):
                return [fit(x, labels, np.broadcast_to(weights, labels.shape)) for x in features]

            split = fits((np.arange(n) < first).astype(float))
            parts = [fits((folds != fold).astype(float)) for fold in range(FOLDS)]
            kept = fits(np.ones(n))
            each = [Curves.of(part, features) for part in parts]
            crossed = Curves(
                *(
                    sum(getattr(c, arm) * (folds == f) for f, c in enumerate(each))
                    for arm in Curves.__annotations__
                )
            )
            tested = Curves.of(split, [x[:, first:] for x in features])
            beyond_of = {
                "one split": [Curves.of(split, further)],
                "folds": [Curves.of(part, further) for part in parts],
                "kept": [Curves.of(kept, further)],
            }
            for contrast, (ours, theirs) in CONTRASTS.items():
                for metric in METRICS:
                    one = measured(metric, ours, theirs, tested, labels[:, first:])
                    all_of = measured(metric, ours, theirs, crossed, labels)
                    for target, curves in beyond_of.items():
                        truth = np.mean(
                            [known(metric, ours, theirs, c, probs[None, :, 1]) for c in curves], 0
                        )
                        values, interval = one if target == "one split" else all_of
                        low, high = interval.T
                        row = values - truth, low > truth + SLACK, high < truth - SLACK, high - low
                        found[contrast, metric, target][world].append(np.array(row, dtype=float))
    yield from summaries(f"{n_parameters} parameters", n, found)


def cifar(folder: Path) -> list[dict[str, object]]:
    """Return ECE, NLL and accuracy of every calibrator: on the test file, and in folds of the fitted one."""
    import torch

    files = [next(folder.glob(f"*{part}*.pt")) for part in ("val", "test")]
    loaded = [torch.load(path, weights_only=True, map_location="cpu") for path in files]
    fit, score = [Predictions(range(len(y)), z.numpy(), y.numpy()) for z, y in loaded]
    split = gates.split_items(fit.item_ids.tolist())
    all_of, of_split = (
        resamples_for(ids, n_resamples=100, seed=42) for ids in (fit.item_ids.tolist(), split.test)
    )
    rows = []
    for name in calibrators.names():
        context = CalibrationContext(epsilon=unit_error("fp32"))
        fitted = calibrators.get(name).fit(fit.logits, fit.labels, context=context)
        held_out = fitted(score.logits)
        sides = [
            gates.CrossFitted.divided(fit, FOLDS, resamples=all_of, epsilon=context.epsilon),
            gates.FittedSplit.of(fit, split, resamples=of_split, epsilon=context.epsilon),
        ]
        crossed, once = (side.calibrated(name, calibrators.get(name)) for side in sides)
        in_sample = fitted(fit.logits)
        rows.append(
            {
                "calibrator": name,
                "parameters": fitted.n_parameters,
                "held out": 100 * expected_calibration_error(held_out, score.labels),
                "cross-fitted": 100 * crossed.resampled("ece").value,
                "one split": 100 * once.resampled("ece").value,
                "in sample": 100 * expected_calibration_error(in_sample, fit.labels),
                "nll held out": get("nll")(held_out, score.labels),
                "nll cross-fitted": crossed.resampled("nll").value,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("draws", type=int, nargs="?", default=50)
    parser.add_argument("--parameters", type=int, nargs="+", default=PARAMETERS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--cifar", type=Path, metavar="DIR")
    options = parser.parse_args()
    if options.cifar:
        print(tabulate(cifar(options.cifar), headers="keys", tablefmt="github", floatfmt=".4f"))
        return
    for n_parameters in options.parameters:
        rows = [row for n in options.sizes for row in curve_rows(n_parameters, n, options.draws)]
        print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".4f") + "\n", flush=True)


if __name__ == "__main__":
    main()
