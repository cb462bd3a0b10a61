"""Does the gate keep its promise? Simulated worlds where the truth is known.

python benchmarks/gate_simulation.py [draws] [--only PART] [--statistic NAME]     (make simulate: 2,000 draws)

A world draws confidences for a reference and a candidate and, from their true accuracies, whether the
answers are right. The true binned calibration error comes from four million items. Each row says how often
95% bounds lie above the truth and below it; either may happen with a chance of .025. All rows are then
judged together: an exact binomial test each, Holm's correction over all, and no rate above 1.1 of what is
allowed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from batched_bounds import ECE, SHARED, Statistic, bounds, check, moments
from scipy.special import ndtr
from scipy.stats import binomtest
from tabulate import tabulate

from calbench.metrics import Outcomes, get
from calbench.statistics import Resamples, holm, own_bounds, resample
from calbench.statistics._intervals import difference_bounds

LEVEL = 0.95
SMALL_LEVELS = (0.99, 0.998)  # what first looks have
SIZES = (200, 1_000, 4_000, 10_000)
N_RESAMPLES = 400
MARGIN = 0.02
STATISTICS = {
    "ece": ECE,
    "shared": SHARED,
    "shared of 15": Statistic(15, shared=True),
    "shared of 10": Statistic(10, shared=True),
    "ece of 5": Statistic(5),
    "triangular of 5": Statistic(5, triangular=True),
    "triangular of 10": Statistic(10, triangular=True),
}
TOLERATED = 1.1  # of what is allowed, before chance
ITEMS_AT_A_TIME = 500_000
Answers = tuple[np.ndarray, np.ndarray]  # confidences, correctness (r, n)
Draw = Callable[[tuple[int, int], np.random.Generator], tuple[Answers, Answers]]


@dataclass(frozen=True)
class World:
    """Where confidences come from, how far accuracy lies below them, and how the models differ."""

    name: str
    reference_gap: float
    candidate_gap: float
    noise: float | None = 0.3  # on the candidate's logits; None for another model with luck of its own
    source: str = "broad"
    candidate_source: str = ""  # where another model's come from
    shape: str = "flat"  # of the gaps over confidence
    candidate_shape: str = ""
    flips: float = 0.0  # share of answers that are drawn anew
    blind: bool = False  # the candidate answers as the reference does, whatever it says
    spoiled: float = 0.0  # share of right answers that turn wrong

    def draw(self, shape, rng):
        luck = rng.random(shape)
        reference = SOURCES[self.source](shape, rng)
        if self.noise is None:
            candidate = SOURCES[self.candidate_source or self.source](shape, rng)
            its_luck = rng.random(shape)
        else:
            logits = np.log(reference / (1 - reference)) + self.noise * rng.normal(size=shape)
            candidate = np.clip(1 / (1 + np.exp(-logits)), 0.01, 0.999)
            its_luck = (
                np.where(rng.random(shape) < self.flips, rng.random(shape), luck) if self.flips else luck
            )
        theirs = _gap(self.reference_gap, reference, self.shape)
        ours = _gap(self.candidate_gap, candidate, self.candidate_shape or self.shape)
        right = luck < reference - theirs
        its_right = its_luck < (reference - theirs if self.blind else candidate - ours)
        if self.spoiled:
            its_right &= rng.random(shape) >= self.spoiled
        return (candidate, its_right), (reference, right)

    @property
    def unchanged(self) -> bool:
        """Whether the true difference is 0 for every statistic, if not by how much noise tells."""
        return self.reference_gap == self.candidate_gap == 0 and not (self.spoiled or self.blind)


SOURCES = {
    "broad": lambda shape, rng: rng.uniform(0.3, 0.999, shape),
    "sharp": lambda shape, rng: rng.uniform(0.97, 0.999, shape),
    "binary": lambda shape, rng: 0.5 + 0.499 * rng.beta(1.5, 0.8, shape),
    "skewed": lambda shape, rng: 0.25 + 0.745 * rng.beta(5, 1.2, shape),
    "spoken": lambda shape, rng: rng.integers(4, 10, shape) / 10,  # .4, .5 ... .9: on edges, or near them
}


def _gap(gap, confidences, shape):
    if shape == "alternating":
        return gap * np.where(np.ceil(confidences * 15) % 2 == 0, 1, -1)
    if shape == "ramp":
        return gap * (4 * (confidences - 0.3) / 0.7 - 2)
    if shape == "temperature":  # accuracies follow the confidences' logits, divided by 1 + gap
        return confidences - 1 / (1 + np.exp(-np.log(confidences / (1 - confidences)) / (1 + gap)))
    return gap * (confidences > 0.65) if shape == "half" else gap


WORLDS = (
    World("both calibrated", 0, 0),
    World("both overconfident", 0.05, 0.05),
    World("both underconfident", -0.05, -0.05),
    World("over -> underconfident", 0.05, -0.05),
    World("over -> alternating", 0.05, 0.05, candidate_shape="alternating"),
    World("sharp -> broad, both calibrated", 0, 0, None, "sharp", "broad"),
    World("broad -> sharp, both calibrated", 0, 0, None, "broad", "sharp"),
    World("calibrated -> .02 over", 0, 0.02),
    World("calibrated -> .05 over", 0, 0.05),
    World("calibrated -> .05 under", 0, -0.05),
    World(".05 -> .07 over", 0.05, 0.07),
    World(".05 -> .10 over", 0.05, 0.10),
    World("-.05 -> -.10 (under)", -0.05, -0.10),
    *(
        World(f"{name}, noise {noise:g}", *gaps, noise=noise, shape=shape, flips=flips)
        for noise in (0.02, 0.05, 0.1)
        for name, gaps, shape, flips in (
            ("calibrated", (0, 0), "flat", 0),
            (".01 over", (0.01, 0.01), "flat", 0),
            (".02 over", (0.02, 0.02), "flat", 0),
            (".04 over", (0.04, 0.04), "flat", 0),
            (".04 under", (-0.04, -0.04), "flat", 0),
            (".04 alternating", (0.04, 0.04), "alternating", 0),
            (".04 ramp", (0.04, 0.04), "ramp", 0),
            (".05 in the upper half", (0.05, 0.05), "half", 0),
            (".04 over, 3% of answers anew", (0.04, 0.04), "flat", 0.03),
            (".04 -> .05 over", (0.04, 0.05), "flat", 0),
            ("calibrated -> .01 over", (0, 0.01), "flat", 0),
        )
    ),
)

# Worlds that no constant was chosen on.
OTHER_WORLDS = (
    World("spoiled 1%, noise 0.02", 0, 0, 0.02, spoiled=0.01),
    World("spoiled 5%, noise 0.1", 0, 0, 0.1, spoiled=0.05),
    World("spoiled 5%, from .05 over", 0.05, 0.05, 0.1, spoiled=0.05),
    World("blind to noise 0.3", 0, 0, 0.3, blind=True),
    World("blind to noise 1", 0, 0, 1.0, blind=True),
    World("blind to noise 0.3, temperature 1.5", 0.5, 0.5, 0.3, blind=True, shape="temperature"),
    World("temperature 1.3 -> 1.6", 0.3, 0.6, shape="temperature"),
    World("temperature 1 -> 1.4, two classes", 0, 0.4, source="binary", shape="temperature"),
    World("temperature 1.4, two classes, 20% anew", 0.4, 0.4, 0.1, "binary", shape="temperature", flips=0.2),
    World("calibrated, two classes, 20% anew", 0, 0, 0.1, "binary", flips=0.2),
    World("calibrated, two classes, 3% anew", 0, 0, 0.05, "binary", flips=0.03),
    World("skewed, .03 over, 10% anew", 0.03, 0.03, 0.1, "skewed", flips=0.1),
    World("skewed, calibrated -> .03 over", 0, 0.03, 0.1, "skewed"),
    World("skewed, .10 -> .05 over", 0.10, 0.05, 0.1, "skewed"),
    World("skewed, others, both .03 over", 0.03, 0.03, None, "skewed"),
    World("broad, others, .02 -> .05 over", 0.02, 0.05, None),
    World("sharp .02 over, noise 0.3", 0.02, 0.02, 0.3, "sharp"),
    World("sharp -> broad, .02 over", 0.02, 0.02, None, "sharp", "broad"),
    World("spoken, .04 over, noise 0.02", 0.04, 0.04, 0.02, "spoken"),
    World("spoken, calibrated, noise 0.02", 0, 0, 0.02, "spoken"),
    World("spoken, alternating, noise 0.02", 0.05, 0.05, 0.02, "spoken", shape="alternating"),
    World("ramp -> flat", 0.04, 0.04, 0.1, shape="ramp", candidate_shape="flat"),
    World("half -> ramp", 0.05, 0.04, 0.1, shape="half", candidate_shape="ramp"),
)


@cache
def true_difference(world: World, statistic: Statistic = ECE) -> float:
    """Return the difference of the true errors: with four million items, and 0 where it must be."""
    if world.unchanged:
        return 0.0
    rng = np.random.default_rng(1)
    totals = sum(moments(*world.draw((1, 200_000), rng), None, statistic).sums[0] for _ in range(20))
    ours, theirs = np.abs(totals).reshape(2, -1).sum(axis=1) / 4e6
    # A calibrated model's measured error is chance; on the candidate's bins too, if luck is its own.
    ours = 0.0 if world.candidate_gap == 0 and not (world.spoiled or world.blind) else ours
    return float(ours - (0.0 if world.reference_gap == 0 else theirs))


def bounds_of(
    draw: Draw, n: int, n_draws: int, levels=(LEVEL,), clusters=None, statistic=ECE, seed=7
) -> np.ndarray:
    """Return bounds of the difference, ``(n_draws, n_levels, 2)``; the first draws are checked."""
    rng = np.random.default_rng([n, seed])
    step = max(1, ITEMS_AT_A_TIME // n)
    found = []
    for start in range(0, n_draws, step):
        pair = draw((min(step, n_draws - start), n), rng)
        if not start:
            check(*pair, clusters, statistic=statistic)
        found.append(bounds(moments(*pair, clusters, statistic), levels))
    return np.concatenate(found)


def errors(bounds: np.ndarray, truth: float) -> dict[str, float]:
    low, high = bounds.T
    return {"above": float(np.mean(low > truth + 1e-12)), "below": float(np.mean(high < truth - 1e-12))}


def simulate(n_draws: int, worlds=WORLDS, sizes=SIZES, statistic=ECE, seed=7) -> Iterator[dict[str, object]]:
    """Yield a row for each world and size: the errors at each level, and what a margin of .02 finds."""
    for n in sizes:
        for world in worlds:
            truth = true_difference(world, statistic)
            found = bounds_of(world.draw, n, n_draws, (LEVEL, *SMALL_LEVELS), statistic=statistic, seed=seed)
            low, high = found[:, 0].T
            shown = {
                "world": world.name,
                "n": n,
                "Δ": f"{truth:+.3f}",
                **errors(found[:, 0], truth),
                "passes": float(np.mean(high <= MARGIN)),
                "fails": float(np.mean(low > MARGIN)),
            }
            for number, level in enumerate(SMALL_LEVELS, start=1):
                small = errors(found[:, number], truth)
                shown |= {f"{side} at {level:g}": rate for side, rate in small.items()}
            yield shown


def verdict(rows: list[dict[str, object]], n_draws: int) -> list[str]:
    """Return which rates are more than what is allowed: by Holm's test over all, or 1.1 times it."""
    allowed = {"": 1 - LEVEL, **{f" at {level:g}": 1 - level for level in SMALL_LEVELS}}
    rates = {
        f"{row['world']} / {row['n']} / {side}{suffix}": (
            float(row[side + suffix]),
            alpha / 2,
            int(row.get("draws", n_draws)),
        )
        for row in rows
        for suffix, alpha in allowed.items()
        for side in ("above", "below")
        if side + suffix in row
    }

    def chance(rate, share, draws):
        return binomtest(round(rate * draws), draws, share, alternative="greater").pvalue

    adjusted = holm({name: chance(*found) for name, found in rates.items()})
    odd = []
    for name, (rate, share, draws) in rates.items():
        if adjusted[name] < 0.05:
            odd.append(f"{name}: {rate:.4f} for {share:.4f} (Holm p = {adjusted[name]:.3f})")
        elif rate > TOLERATED * share:
            p = chance(rate, TOLERATED * share, draws)
            odd.append(f"{name}: {rate:.4f} is above {TOLERATED * share:.4f} (p = {p:.2f} by itself)")
    return odd


CLUSTERS = {
    "10 clusters of 100": ([100] * 10, 0.3),
    "20 clusters of 50": ([50] * 20, 0.3),
    "50 clusters of 20": ([20] * 50, 0.3),
    "100 clusters of 10": ([10] * 100, 0.1),
    "20 clusters of 1 to 380": (
        [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 17, 20, 24, 30, 40, 55, 79, 110, 180, 380],
        0.3,
    ),
    "50 clusters of 1 to 115": (np.exp(np.linspace(0, np.log(115), 50)).astype(int), 0.3),
}


def clustered(clusters: np.ndarray, correlation: float) -> Draw:
    """Draw two independent models, each with luck that its items share within a cluster."""
    n_clusters = int(clusters.max()) + 1

    def one(shape, rng):
        confidences = rng.uniform(0.4, 0.95, shape)
        shared = np.sqrt(correlation) * rng.normal(size=(shape[0], n_clusters))[:, clusters]
        luck = ndtr(shared + np.sqrt(1 - correlation) * rng.normal(size=shape))
        return confidences, luck < confidences

    return lambda shape, rng: (one(shape, rng), one(shape, rng))


def simulate_clusters(n_draws: int) -> Iterator[dict[str, object]]:
    """Yield rows of clustered worlds: two calibrated models, neither better; and one model by itself."""
    for name, (sizes, correlation) in CLUSTERS.items():
        clusters = np.repeat(np.arange(len(sizes)), sizes)
        n, n_clusters = len(clusters), len(sizes)
        draw = clustered(clusters, correlation)
        world = f"{name}, correlation {correlation:g}"
        for shown, units in ((f"{world}: ece", clusters), (f"{world}: ece, as items", None)):
            yield {"world": shown, "n": n, **errors(bounds_of(draw, n, n_draws, clusters=units)[:, 0], 0.0)}
        ids = [f"{i:06d}" for i in range(n)]
        rng = np.random.default_rng([n_clusters, 5])
        kept = {"accuracy": [], "brier_toplabel": [], "accuracy of one model": []}
        draws = max(n_draws // 2, 1)
        for _ in range(draws):
            resamples = Resamples.draw(ids, n_resamples=N_RESAMPLES, seed=rng, clusters=clusters)
            pair = [
                resample(["accuracy", "brier_toplabel"], Outcomes.from_top_label(c[0], k[0]), resamples)
                for c, k in draw((1, n), rng)
            ]
            for metric in ("accuracy", "brier_toplabel"):
                # The interval proper, not the one that is widened to hold the value.
                kept[metric].append(difference_bounds(pair[1][metric], pair[0][metric], level=LEVEL))
            kept["accuracy of one model"].append(own_bounds(pair[0]["accuracy"], level=LEVEL))
        for metric, found in kept.items():
            truth = 0.675 if "one" in metric else 0.0
            row = {"world": f"{world}: {metric}", "n": n, **errors(np.array(found), truth), "draws": draws}
            yield row


def real_cells(folder: Path) -> Iterator[tuple[str, Draw, float]]:
    """Yield pairs of full and 8-bit precision in a folder of two-record cells, resampled item by item.

    The folder holds ``NAME.reference.parquet`` and ``NAME.candidate.parquet``; the items in them are all
    there are in the world, so its truth is what they show.
    """
    from calbench.records import read_record

    for path in sorted(folder.glob("*.reference.*")):
        other = path.with_name(path.name.replace(".reference.", ".candidate."))
        whole = [Outcomes.from_record(read_record(p)) for p in (other, path)]

        def draw(shape, rng, whole=whole):
            rows = rng.integers(len(whole[0]), size=shape)
            return tuple((w.confidences[rows], w.correct[rows]) for w in whole)

        values = [get("ece").absolute_sums(items).sums() for items in whole]
        truth = float(np.abs(values[0]).sum() - np.abs(values[1]).sum()) / len(whole[0])
        yield path.name.split(".")[0], draw, truth


def simulate_real(folder: Path, n_draws: int) -> Iterator[dict[str, object]]:
    for name, draw, truth in real_cells(folder):
        for n in (1_000, 4_000):
            found = bounds_of(draw, n, n_draws)[:, 0]
            yield {"world": name, "n": n, "ΔECE": f"{truth:+.4f}", **errors(found, truth)}


def coverage(scale, n, n_draws):
    """Coverage of one model's intervals; labels follow softmax(z), the model says softmax(scale z)."""
    metrics = ("nll", "brier", "accuracy", "ece")
    rng = np.random.default_rng([n, 11])
    probs, labels = _four_classes(1_000_000, scale, rng)
    truth = {m: get(m)(probs, labels) for m in metrics}
    hits = {(m, how): 0 for m in metrics for how in ("percentile", "bounds")}
    for _ in range(n_draws):
        items = Outcomes.from_probs(*_four_classes(n, scale, rng))
        resamples = Resamples.draw(range(n), n_resamples=N_RESAMPLES, seed=rng)
        for name, result in resample(metrics, items, resamples).items():
            for how in ("percentile", "bounds"):
                low, high = result.estimate(LEVEL, method=how, items=items).interval
                hits[name, how] += low <= truth[name] + 1e-12 and high >= truth[name] - 1e-12
    return {(m, how): count / n_draws for (m, how), count in hits.items()}


def _four_classes(n, scale, rng):
    z = rng.normal(size=(n, 4)) * 2
    true = np.exp(z - z.max(axis=1, keepdims=True))
    true /= true.sum(axis=1, keepdims=True)
    labels = np.minimum((rng.random((n, 1)) > np.cumsum(true, axis=1)).sum(axis=1), 3)
    probs = true**scale
    return probs / probs.sum(axis=1, keepdims=True), labels


def coverages(n_draws: int) -> Iterator[dict[str, object]]:
    for world, scale in (("calibrated", 1.0), ("overconfident", 1.5), ("underconfident", 0.6)):
        for n in (200, 1_000, 10_000):
            found = coverage(scale, n, n_draws)
            row = {"world": world, "n": n}
            row |= {f"{m} percentile": found[m, "percentile"] for m in ("nll", "brier", "accuracy")}
            yield row | {f"ece {how}": found["ece", how] for how in ("percentile", "bounds")}


def show(title: str, rows: list[dict[str, object]], n_draws: int) -> None:
    print(f"\n{title}\n")
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".4f", missingval=""))
    if rows and "above" in rows[0]:
        judged = [row for row in rows if "as items" not in str(row["world"])]
        odd = verdict(judged, n_draws)
        print("\n" + ("\n".join(odd) or "Every rate is within what is allowed."), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("draws", type=int, nargs="?", default=400)
    parser.add_argument("--only", choices=("worlds", "clusters", "coverage", "real"))
    parser.add_argument("--statistic", choices=STATISTICS, default="ece")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--cells", type=Path, help="folder of NAME.reference.* and NAME.candidate.* records")
    options = parser.parse_args()
    n = options.draws
    print(f"{n} draws; {1 - LEVEL:.2f} / 2 is allowed on each side", flush=True)
    if options.only in (None, "worlds"):
        chosen = STATISTICS[options.statistic]
        for title, worlds in (
            ("Bounds", WORLDS),
            ("Bounds, in worlds that no constant was chosen on", OTHER_WORLDS),
        ):
            rows = list(simulate(n, worlds, options.sizes, chosen, options.seed))
            show(f"{title} ({options.statistic}):", rows, n)
    if options.only in (None, "clusters"):
        show("Clusters:", list(simulate_clusters(n)), n)
    if options.cells and options.only in (None, "real"):
        show("Cells at 8 bits, resampled:", list(simulate_real(options.cells, n)), n)
    if options.only in (None, "coverage"):
        show("Coverage of one model's 95% intervals, four classes:", list(coverages(max(n // 5, 1))), n)


if __name__ == "__main__":
    main()
