"""What a label plan saves, and whether its intervals hold.

    python benchmarks/label_plan.py CELLS             published cells, MODEL__PRECISION__TASK.parquet
    python benchmarks/label_plan.py --simulate DRAWS  worlds where the truth is known

The cells are those of the MLX study: its labels are hidden, and shown where a plan asks for them. A row is a
precision, the mean over its models and tasks, against bf16.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tabulate import tabulate

from calbench.interchange import read
from calbench.metrics import Outcomes, get
from calbench.records import Answers, ColumnNames, Predictions
from calbench.statistics import LabelSample, allocation, labelled_accuracy, labelled_change
from calbench.studies import plan_labels

COLUMNS = ColumnNames(label="answer_idx", logits="logprobs")
PRECISIONS = {"8": "affine_b8_g64", "6": "affine_b6_g64", "4": "affine_b4_g64", "3": "affine_b3_g64"}
N_LABELS = 200
REPEATS = 10
METRICS = ("accuracy", "overconfidence_gap", "ece[n_bins=1]", "ece_shared_bins", "ece")
WORLDS = {
    "8% flip": {"noise": 0.25},
    "14% flip": {"noise": 0.6, "scale": 1.3},
    "22% flip, much worse": {"noise": 1.2, "scale": 1.5, "before": 1.0},
    "underconfident": {"noise": 0.3, "scale": 0.8},
    "calibrated -> over": {"noise": 0.6, "scale": 1.0, "before": 1.0},
    "two classes": {"noise": 0.6, "n_classes": 2, "sharp": 3.0},
}


def width(change) -> float:
    low, high = change.interval
    return high - low


def everything(reference: Predictions, candidate: Predictions, rows) -> LabelSample:
    """Label these rows, and take them for all that there are."""
    flips = (reference.predicted != candidate.predicted)[rows]
    right = (r.correct[rows] for r in (reference, candidate))
    return LabelSample(
        reference.confidences[rows], candidate.confidences[rows], flips, np.arange(len(rows)), *right
    )


def cell(reference: Predictions, candidate: Predictions) -> dict[str, float]:
    n = len(reference)
    flips = int((reference.predicted != candidate.predicted).sum())
    labels = dict(zip(reference.item_ids.tolist(), map(str, reference.labels.tolist()), strict=True))
    found = defaultdict(list)
    for seed in range(REPEATS):
        plan = plan_labels(*map(Answers.of_record, (reference, candidate)), N_LABELS, seed=seed)
        planned = plan.judged(labels[str(plan.reference.item_ids[row])] for row in plan.rows)
        drawn = everything(reference, candidate, np.random.default_rng(seed).permutation(n)[:N_LABELS])
        for metric in ("accuracy", "ece_shared_bins"):
            found[f"{metric}, planned"].append(width(labelled_change(planned, metric)))
            found[f"{metric}, at random"].append(width(labelled_change(drawn, metric)))
    whole = everything(reference, candidate, np.arange(n))
    return {
        "flip": flips / n,
        "worth": float(plan.worth),
        **{f"{m}, all": width(labelled_change(whole, m)) for m in ("accuracy", "ece_shared_bins")},
        **{name: float(np.mean(widths)) for name, widths in found.items()},
    }


def saved(folder: Path) -> Iterator[dict[str, object]]:
    for bits, precision in PRECISIONS.items():
        cells = []
        for path in sorted(folder.glob(f"*__{precision}__*.parquet")):
            full = read(path.with_name(path.name.replace(precision, "bf16")), columns=COLUMNS)
            cells.append(cell(full, read(path, columns=COLUMNS)))
        mean = {name: float(np.mean([c[name] for c in cells])) for name in cells[0]}
        yield {
            "bits": bits,
            "flip": f"{mean['flip']:.1%}",
            f"{N_LABELS} labels are worth": f"{mean['worth']:.0f}",
            **{
                f"{metric}: {how}": f"{mean[f'{metric}, {how}']:.3f}"
                for metric in ("accuracy", "ece_shared_bins")
                for how in ("at random", "planned", "all")
            },
        }


def world(n_items, rng, *, noise, scale=1.2, before=None, n_classes=4, sharp=2.0):
    z = sharp * rng.normal(size=(n_items, n_classes))
    true = np.exp(z - z.max(axis=1, keepdims=True))
    true /= true.sum(axis=1, keepdims=True)
    labels = np.minimum((rng.random((n_items, 1)) > np.cumsum(true, axis=1)).sum(axis=1), n_classes - 1)
    sides = []
    for spread, sharpness in ((0.2, before or scale), (noise, scale)):
        said = sharpness * z + spread * rng.normal(size=z.shape)
        said = np.exp(said - said.max(axis=1, keepdims=True))
        said /= said.sum(axis=1, keepdims=True)
        sides.append((said.max(axis=1), said.argmax(axis=1)))
    return sides, labels, true


def drawn(sides, labels, _, n_labels, rng) -> LabelSample:
    (p, said), (q, now) = sides
    flips = said != now
    wanted = allocation(int(flips.sum()), int((~flips).sum()), n_labels, rest_share=0.25)
    strata = zip((flips, ~flips), wanted, strict=True)
    rows = np.concatenate([rng.permutation(np.flatnonzero(places))[:n] for places, n in strata])
    return LabelSample(p, q, flips, rows, (said == labels)[rows], (now == labels)[rows])


def truth(metric, sides, true) -> float:
    """Of the world's chances: a million labels drawn by them err by .03 of the error of 1,000."""
    rows = np.arange(len(true))
    ours, theirs = ((c, true[rows, answers]) for c, answers in sides[::-1])
    wanted = get(metric)
    if wanted.to_absolute_sums is None:
        sign, gap = (1, 0) if metric == "accuracy" else (-1, np.mean(ours[0] - theirs[0]))
        return float(gap + sign * (ours[1].mean() - theirs[1].mean()))
    sizes = []
    for c, right in (ours, theirs):
        binned = ours[0] if wanted.shared_groups else c
        groups = wanted.absolute_sums(Outcomes.from_top_label(binned, np.zeros(len(c), bool))).groups[:, 0]
        sizes.append(np.abs(np.bincount(groups, c - right)).sum())
    return float(sizes[0] - sizes[1]) / len(true)


def simulate(n_draws: int, n_items=1000, n_labels=N_LABELS) -> Iterator[dict[str, object]]:
    for name, options in WORLDS.items():
        sides, _, chances = world(1_000_000, np.random.default_rng(99), **options)
        true = {metric: truth(metric, sides, chances) for metric in METRICS}
        accuracy = float(chances[np.arange(len(chances)), sides[1][1]].mean())
        rng = np.random.default_rng(5)
        found = defaultdict(list)
        for _ in range(n_draws):
            sample = drawn(*world(n_items, rng, **options), n_labels, rng)
            for metric in METRICS:
                found[metric].append(labelled_change(sample, metric).interval)
            found["candidate's accuracy"].append(labelled_accuracy(sample, 0))
        for metric, intervals in found.items():
            low, high = np.array(intervals).T
            at = true.get(metric, accuracy)
            errors = {"above": float(np.mean(low > at)), "below": float(np.mean(high < at))}
            yield {"world": name, "metric": metric, **errors, "width": float(np.mean(high - low))}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", type=Path, nargs="?")
    parser.add_argument("--simulate", type=int, metavar="DRAWS")
    options = parser.parse_args()
    if options.cells:
        print(tabulate(list(saved(options.cells)), headers="keys", tablefmt="github", disable_numparse=True))
    if options.simulate:
        rows = list(simulate(options.simulate))
        print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".4f"))


if __name__ == "__main__":
    main()
