"""How often does the default suite fail although nothing is wrong?

python benchmarks/false_alarms.py [repetitions]     (5 take about ten minutes on one core)

Every gate of suites/test_transfer.py is asked of models that are the full-precision model itself,
re-seeded: the stored fp32 logits of each embedded model and task of the default profile, with noise of
their own. Any failure is a false alarm, and what the summary line of a run prints bounds their number.

noise floor    the reference against itself with the noise of another batch size, measured here.
exchangeable   reference and candidate both are the model with noise of the size that int8 has, and
               labels are drawn from the model's own probabilities: neither is better in any way.
"""

from __future__ import annotations

import sys
from unittest import mock

import numpy as np
from tabulate import tabulate

from calbench import Predictions, calibrators, models, tasks
from calbench.cache import cache_dir
from calbench.gates import FittedSplit, split_items, transfer_between
from calbench.inference import _classification as classification
from calbench.inference import score
from calbench.runs import PROFILES, Runner
from calbench.statistics import exceedance_p_value, expected_false_alarms, resamples_for, survivors
from calbench.store import Store

CELLS = [("minilm", task) for task in ("amazon", "movie", "nyt", "tweets")]
CELLS += [("smollm2", task) for task in ("amazon", "tweets")]
N_QUANTIZERS = 3  # of the default suite, besides fp32
MARGIN = 0.02  # of the suite
N_RESAMPLES = 400
INT8_NOISE = 0.1  # standard deviation; bnb-int8 moves MiniLM's logits by up to this (SmolLM2's by more)


def noise_floor(n_items=200):
    """Return the largest change of a MiniLM logit when batches are formed otherwise."""
    source = models.get("minilm").resolve()
    task = tasks.get("tweets")
    items = task.partition.evaluation[:n_items]
    module, tokenizer = source.load(), source.load_tokenizer()
    module.eval()
    ask = (module, tokenizer, source, task.request(source), items)
    usual = score(*ask).logits
    with mock.patch.object(classification, "TOKENS_PER_BATCH", classification.TOKENS_PER_BATCH // 8):
        other = score(*ask).logits
    return float(np.abs(usual - other).max())


def noisy(record, spread, rng, labels=None):
    logits = record.logits + spread * rng.normal(size=record.logits.shape)
    return Predictions(record.item_ids, logits, record.labels if labels is None else labels)


def nulls(record, floor, rng):
    yield "noise floor", record, noisy(record, floor, rng)
    fitted = calibrators.get("temperature").fit(record.logits, record.labels)
    p = fitted(record.logits)
    labels = (rng.random((len(p), 1)) > np.cumsum(p, axis=1)).sum(axis=1).clip(max=p.shape[1] - 1)
    pair = [noisy(record, INT8_NOISE, rng, labels) for _ in range(2)]
    yield "exchangeable", *pair


def side(record, sizes, seed):
    split = split_items(record.item_ids.tolist(), n_calibration=sizes, seed=seed)
    return FittedSplit.of(
        record,
        split,
        resamples=resamples_for(split.test, n_resamples=N_RESAMPLES, seed=seed),
        epsilon=1 / 254,
        fit_seed=seed,
    )


def judged(compared):
    """Yield each margin, and whether its gate failed and with which p-value."""
    both = [compared.arm(arm).resampled("ece") for arm in ("calibrated_reference", "transferred")]
    for margin in (0.0, MARGIN):
        failed = compared.decide("ece", max_increase=margin).outcome == "fail"
        yield margin, (failed, exceedance_p_value(*both, limit=margin) if failed else 1.0)


def run(runner, floor, repetition):
    """Return, for each null, the decisions of one run of the whole suite at both margins."""
    found = {}
    for model, task in CELLS:
        record = runner.record(model, "fp32", task).predictions
        n_calibration = runner.profile.sizes(models.get(model).architecture, len(record))[0]
        for quantizer in range(N_QUANTIZERS):
            rng = np.random.default_rng([repetition, quantizer, len(found)])
            for null, reference, candidate in nulls(record, floor, rng):
                pair = [side(r, n_calibration, 42 + repetition) for r in (reference, candidate)]
                for name in calibrators.names():
                    for margin, decided in judged(transfer_between(*pair, name)):
                        found.setdefault((null, margin), []).append(decided)
    return found


def main(repetitions):
    runner = Runner(Store(cache_dir() / "store"), PROFILES["default"])
    floor = noise_floor()
    print(f"measured noise floor: {floor:.1e} (largest change of a logit, other batches)\n")
    runs = [run(runner, floor, repetition) for repetition in range(repetitions)]
    rows = []
    for null, margin in runs[0]:
        gates = [r[null, margin] for r in runs]
        counts = [sum(failed for failed, _ in g) for g in gates]
        corrected = [
            len(survivors({str(i): p for i, (_, p) in enumerate(g)}, {str(i): 0.95 for i in range(len(g))}))
            for g in gates
        ]
        rows.append(
            {
                "null": null,
                "margin": margin,
                "gates a run": len(gates[0]),
                "expected at most": expected_false_alarms([0.95] * len(gates[0])),
                "false alarms, mean of runs": np.mean(counts),
                "most in a run": max(counts),
                "runs with any after Holm": f"{sum(c > 0 for c in corrected)} of {repetitions}",
            }
        )
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
