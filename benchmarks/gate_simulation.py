"""Does the gate keep its promise? Simulated worlds where the truth is known.

python benchmarks/gate_simulation.py [repetitions]     (400 take about five minutes on one core)

A world draws confidences for a reference and a candidate and, from their true accuracies, whether
the answers are right. The true binned calibration error comes from four million items.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from calbench import statistics
from calbench.metrics import Outcomes, get

LEVEL = 0.95
SIZES = (200, 1_000, 10_000)
N_RESAMPLES = 400


@dataclass(frozen=True)
class World:
    """Confidences in [0.3, 1] or ``sharp`` ones in [0.97, 1); an answer's accuracy is c - gap."""

    name: str
    reference_gap: float
    candidate_gap: float
    reference_sharp: bool = False
    candidate_sharp: bool = False
    alternating: bool = False  # the candidate's gap changes sign from bin to bin
    same_model: bool = True  # the candidate is the reference with noise on its logits

    def draw(self, n, rng):
        shared = rng.random(n)
        reference = _confidences(n, rng, sharp=self.reference_sharp)
        if self.same_model:
            logits = np.log(reference / (1 - reference)) + 0.3 * rng.normal(size=n)
            candidate = np.clip(1 / (1 + np.exp(-logits)), 0.01, 0.999)
        else:
            candidate = _confidences(n, rng, sharp=self.candidate_sharp)
        gap = self.candidate_gap
        if self.alternating:
            gap = gap * np.where(np.ceil(candidate * 15) % 2 == 0, 1, -1)
        luck = shared if self.same_model else rng.random(n)
        return (
            Outcomes.from_top_label(candidate, luck < candidate - gap),
            Outcomes.from_top_label(reference, shared < reference - self.reference_gap),
        )


def _confidences(n, rng, *, sharp):
    return rng.uniform(0.97, 0.999, n) if sharp else rng.uniform(0.3, 0.999, n)


WORLDS = (
    World("both calibrated", 0, 0),
    World("both overconfident", 0.05, 0.05),
    World("both underconfident", -0.05, -0.05),
    World("over -> underconfident", 0.05, -0.05),
    World("over -> alternating", 0.05, 0.05, alternating=True),
    World("sharp -> broad, both calibrated", 0, 0, reference_sharp=True, same_model=False),
    World("broad -> sharp, both calibrated", 0, 0, candidate_sharp=True, same_model=False),
    World("calibrated -> .02 over", 0, 0.02),
    World("calibrated -> .05 over", 0, 0.05),
    World("calibrated -> .05 under", 0, -0.05),
    World(".05 -> .07 over", 0.05, 0.07),
    World(".05 -> .10 over", 0.05, 0.10),
    World("-.05 -> -.10 (under)", -0.05, -0.10),
)


def true_values(world, metric):
    rng = np.random.default_rng(1)
    totals = np.zeros((2, 15))
    if metric == "ece":
        for _ in range(20):
            for row, items in zip(totals, world.draw(200_000, rng), strict=True):
                bins = np.clip(np.ceil(items.confidences * 15).astype(int) - 1, 0, None)
                np.add.at(row, bins, items.gaps)
        return np.abs(totals).sum(axis=1) / 4e6
    big = world.draw(400_000, rng)
    return np.array([get(metric).weighted(items)(np.ones((len(items), 1)))[0] for items in big])


def simulate(world, n, repetitions, metric="ece"):
    candidate_true, reference_true = true_values(world, metric)
    truth = candidate_true - reference_true
    rng = np.random.default_rng([n, 7])
    bounds, plain = [], []
    for _ in range(repetitions):
        candidate, reference = world.draw(n, rng)
        resamples = statistics.Resamples.draw(range(n), n_resamples=N_RESAMPLES, rng=rng)
        pair = [statistics.resample([metric], items, resamples)[metric] for items in (candidate, reference)]
        bounds.append(statistics.difference(*pair, level=LEVEL).interval)
        plain.append(statistics.difference(*pair, level=LEVEL, method="percentile").interval)
    low, high = np.array(bounds).T
    plain_low, plain_high = np.array(plain).T
    edge = max(truth, 0.0)  # the least margin that the candidate keeps: where false alarms are likeliest
    return {
        "world": world.name,
        "n": n,
        "ΔECE" if metric == "ece" else "Δ": f"{truth:+.3f}",
        "false alarms": np.mean(low > edge + 1e-12),
        "false passes": np.mean(high < truth - 1e-12) if truth > 0.001 else None,
        "fails, margin 0": np.mean(low > 0),
        "passes, margin Δ+.02": np.mean(high <= truth + 0.02),
        "covers": np.mean((low <= truth + 1e-12) & (high >= truth - 1e-12)),
        "percentile: false alarms": np.mean(plain_low > edge + 1e-12),
        "percentile: covers": np.mean((plain_low <= truth) & (plain_high >= truth)),
    }


def coverage(scale, n, repetitions):
    """Coverage of one model's intervals; labels follow softmax(z), the model says softmax(scale z)."""
    metrics = ("nll", "brier", "accuracy", "ece")
    rng = np.random.default_rng([n, 11])
    probs, labels = _four_classes(1_000_000, scale, rng)
    truth = {m: get(m)(probs, labels) for m in metrics}
    hits = {(m, how): 0 for m in metrics for how in ("percentile", "bca", "bounds")}
    for _ in range(repetitions):
        items = Outcomes.from_probs(*_four_classes(n, scale, rng))
        resamples = statistics.Resamples.draw(range(n), n_resamples=N_RESAMPLES, rng=rng)
        for name, result in statistics.resample(metrics, items, resamples).items():
            for how in ("percentile", "bca", "bounds"):
                if how == "bca" and n > 1_000:
                    continue
                low, high = result.estimate(LEVEL, method=how, items=items).interval
                hits[name, how] += low <= truth[name] + 1e-12 and high >= truth[name] - 1e-12
    return {(m, how): count / repetitions for (m, how), count in hits.items()}


def _four_classes(n, scale, rng):
    z = rng.normal(size=(n, 4)) * 2
    true = np.exp(z - z.max(axis=1, keepdims=True))
    true /= true.sum(axis=1, keepdims=True)
    labels = np.minimum((rng.random((n, 1)) > np.cumsum(true, axis=1)).sum(axis=1), 3)
    probs = true**scale
    return probs / probs.sum(axis=1, keepdims=True), labels


def main(repetitions):
    error = np.sqrt((1 - LEVEL) * LEVEL / repetitions)
    print(f"{repetitions} repetitions; alpha = {1 - LEVEL:.2f}, 2 standard errors = {2 * error:.3f}\n")
    print("The gate on ece (15 bins), at level 95%:\n")
    rows = [simulate(w, n, repetitions) for n in SIZES for w in WORLDS]
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3f", missingval=""))
    worst = max(row["false alarms"] for row in rows)
    print(f"\nworst false alarm rate {worst:.3f} (allowed {1 - LEVEL + 2 * error:.3f})\n")
    print("Other calibration errors, which have the general allowance (n = 200 and 1,000):\n")
    few = [w for w in WORLDS if w.name in OTHER_WORLDS]
    others = [
        {"metric": m, **simulate(w, n, max(repetitions // 4, 1), m)}
        for m in ("smece", "ks", "ece[norm=l2]")
        for n in SIZES[:2]
        for w in few
    ]
    print(tabulate(others, headers="keys", tablefmt="github", floatfmt=".3f", missingval=""))
    print("\nCoverage of one model's 95% intervals, four classes:\n")
    table = []
    for world, scale in (("calibrated", 1.0), ("overconfident", 1.5), ("underconfident", 0.6)):
        for n in SIZES:
            found = coverage(scale, n, repetitions)
            row = {"world": world, "n": n}
            row |= {f"{m} percentile": found[m, "percentile"] for m in ("nll", "brier", "accuracy")}
            row |= {f"ece {how}": found["ece", how] for how in ("percentile", "bca", "bounds")}
            table.append(row)
            if n > 1_000:
                table[-1]["ece bca"] = None
    print(tabulate(table, headers="keys", tablefmt="github", floatfmt=".3f", missingval=""))


OTHER_WORLDS = (
    "both calibrated",
    "both overconfident",
    "sharp -> broad, both calibrated",
    "calibrated -> .05 over",
)

if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
