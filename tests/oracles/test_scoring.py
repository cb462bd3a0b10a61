"""lm-evaluation-harness finds the same log-likelihoods on the same items."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed; pip install 'calbench[oracles]'")

from benchmarks.scoring import harness, peer_scores
from calbench import models, packages, tasks
from calbench.inference import score

# float32 sums in another order, on log-likelihoods of order 1 to 100
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def smollm2():
    source = models.get("smollm2")
    if not (packages.QUESTIONS.folder.is_dir() and source.location and source.folder.is_dir()):
        pytest.skip("the embedded models and questions are not in the cache; run 'calbench setup'")
    return source.load(), source.load_tokenizer(), source


@pytest.mark.embedded
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("name", "n"), [("piqa", 20), ("siqa", 20), ("mmlu[n_shots=5]", 5), ("mmlu[n_shots=5,rule=sum]", 5)]
)
def test_log_likelihoods_equal_the_harness(name, n, smollm2):
    model, tokenizer, source = smollm2
    task = tasks.get(name)
    if task.rule.startswith("mean"):
        task = dataclasses.replace(task, rule="sum")
    request, items = task.request(source), task.partition.evaluation[:n]
    ours = score(model, tokenizer, source, request, items).logits
    lm = harness(model, tokenizer, batch_size=4, max_length=source.max_length)
    theirs = peer_scores(lm, request, items)
    known = np.isfinite(theirs)
    np.testing.assert_array_equal(np.isfinite(ours), known)
    np.testing.assert_allclose(ours[known], theirs[known], atol=TOLERANCE)
    np.testing.assert_array_equal(ours.argmax(axis=1), theirs.argmax(axis=1))
