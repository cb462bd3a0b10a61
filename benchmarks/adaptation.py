"""What training an adapter costs here, and how much distillation gives back over several seeds.

``python benchmarks/adaptation.py cost`` times QLoRA of SmolLM2-135M on 500 short examples.
``python benchmarks/adaptation.py recovery`` distils each embedded model, at full precision, into its own
nf4 version: the teacher is the student's reference. Everything is kept in calbench's store, so a second
run only reads.
``python benchmarks/adaptation.py interaction`` simulates how often an interaction of tuning and
quantization is found that is there, and that is not.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from tabulate import tabulate

from calbench import Predictions, models, quantizers, tasks
from calbench.adaptation import AdaptationRunner, Recipe, Student, TrainingData, train
from calbench.cache import cache_dir
from calbench.metrics import Outcomes
from calbench.report import TerminalProgress
from calbench.runs import PROFILES, Runner
from calbench.statistics import Estimate, Resamples, contrast, resample
from calbench.store import Store

QUANTIZER, TASK = "bnb-nf4", "tweets"
SEEDS = (42, 123, 456)
ARMS = ("base", "base-ptq", "base-distilled")


def cost(n_items: int) -> None:
    """Train once, outside of the store, and print time and memory."""
    source, task = models.get("smollm2").resolve(), tasks.get(TASK)
    method = quantizers.get(QUANTIZER)
    started = time.perf_counter()
    student = Student(
        method.build(source, samples=None, seed=0), source.load_tokenizer(), source, task.request(source)
    )
    data = TrainingData.of(
        task.partition.training[:n_items],
        calibration=task.partition.evaluation[:96],
        test=task.partition.evaluation[400:1000],
    )
    loaded = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        stored = train(student, method, data, Recipe(), folder=Path(name) / "adapter", identity={})
    seconds = time.perf_counter() - loaded
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    history = stored.history
    print(f"load and quantize: {loaded - started:.0f} s")
    print(
        f"train on {len(data.training)} items, {history['n_steps']} steps: {seconds:.0f} s,"
        f" peak {peak:.2f} GiB"
    )
    print(f"loss {history['losses'][0]:.3f} -> {history['losses'][-1]:.3f}; looks {history['looks']}")


def recovery(names: Sequence[str], profile: str) -> None:
    """Print the recovered fraction per model, seed and metric."""
    store = Store(cache_dir() / "store")
    runner = AdaptationRunner(
        Runner(store, PROFILES[profile], progress=TerminalProgress(Console(stderr=True)))
    )
    rows = []
    for name in names:
        for seed in SEEDS:
            compared = runner.compare(name, TASK, QUANTIZER, seed=seed, arms=ARMS).comparison
            for metric in ("ece", "brier", "nll"):
                found = compared.recovered(
                    metric, reference="base", quantized="base-ptq", restored="base-distilled"
                )
                values = [f"{compared.estimate(metric, arm=arm).value:.3f}" for arm in ARMS]
                shown = _shown(found.fraction) if found.fraction else f"refused: {found.refused}"
                rows.append([name, seed, metric, *values, _shown(found.cost), shown])
    headers = ["model", "seed", "metric", *ARMS, "cost", "recovered"]
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))


# How much each arm's logits are too large: tuned and quantized, tuned, quantized, neither.
WORLDS = {
    "none, all calibrated": (1.0, 1.0, 1.0, 1.0),
    "none, all overconfident": (2.5, 2.5, 2.5, 2.5),
    "none, quantization hurts both alike": (2.5, 1.5, 2.5, 1.5),
    "small": (2.5, 1.5, 1.5, 1.0),
    "large": (5.0, 1.0, 1.0, 1.0),
}


def interaction(n_worlds: int) -> None:
    """Print how often the interval of the interaction leaves out 0, and how often it holds the truth."""
    rows = []
    for name, sharpness in WORLDS.items():
        truth = {m: e.value for m, e in _interaction(sharpness, n=200_000, seed=10**6, n_resamples=1).items()}
        for n in (600, 1300):
            found = [_interaction(sharpness, n=n, seed=seed, n_resamples=400) for seed in range(n_worlds)]
            for metric, value in truth.items():
                intervals = np.array([each[metric].interval for each in found])
                held = (intervals[:, 0] <= value) & (value <= intervals[:, 1])
                shown = (intervals[:, 0] > 0) | (intervals[:, 1] < 0)
                rows.append([name, n, metric, f"{value:+.3f}", f"{shown.mean():.3f}", f"{held.mean():.3f}"])
    headers = ["interaction", "n", "metric", "truth", "found", "interval holds the truth"]
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))


def _interaction(sharpness: Sequence[float], *, n: int, seed: int, n_resamples: int) -> dict[str, Estimate]:
    rng = np.random.default_rng(seed)
    true = rng.normal(size=n) * 2
    labels = (rng.random(n) < 1 / (1 + np.exp(-true))).astype(int)
    draw = Resamples.draw(range(n), n_resamples=n_resamples, seed=rng)
    arms = []
    for factor in sharpness:
        z = factor * true + 0.5 * rng.normal(size=n)
        items = Outcomes.from_record(Predictions(range(n), np.column_stack([np.zeros(n), z]), labels))
        arms.append(resample(("ece", "nll"), items, draw))
    weights = (1.0, -1.0, -1.0, 1.0)
    return {
        metric: contrast([(w, arm[metric]) for w, arm in zip(weights, arms, strict=True)])
        for metric in ("ece", "nll")
    }


def _shown(estimate: Estimate) -> str:
    low, high = estimate.interval
    return f"{estimate.value:+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("cost", "recovery", "interaction"))
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--models", default="minilm,smollm2")
    parser.add_argument("--profile", choices=tuple(PROFILES), default="default")
    arguments = parser.parse_args()
    if arguments.what == "cost":
        cost(arguments.items)
    elif arguments.what == "interaction":
        interaction(arguments.worlds)
    else:
        recovery(arguments.models.split(","), arguments.profile)


if __name__ == "__main__":
    main()
