"""Models asked again: what is stored must be what they say."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from calbench import Predictions, models, tasks
from calbench.models import ModelSource
from calbench.report import rerun
from calbench.runs import PROFILES, Runner
from calbench.store import Store
from calbench.tasks import Item, SequenceClassification
from tests.report.rows import evidence

ITEMS = [Item(f"i{n:02}", f"w{n} w{n + 1}", n % 2) for n in range(40)]


@pytest.fixture
def stored(tiny_encoder, tmp_path):
    """A record of a model on a task, and the evidence that names it."""
    known = {"max_length": 64, "classes": ("no", "yes")}
    models.registry.register("again")(
        lambda: ModelSource("again", "sequence-classification", str(tiny_encoder), **known)
    )
    asked = SequenceClassification("asked", ("no", "yes"), lambda: ITEMS, n_quantization=4)
    tasks.registry.register("asked")(lambda: asked)
    store = Store(tmp_path / "store")
    record = Runner(store, PROFILES["full"]).record("again", "bnb-int8", "asked")
    (tmp_path / "evidence.json").write_text(json.dumps(evidence({record.key: dict(record.identity)})))
    return SimpleNamespace(folder=tmp_path, store=store, record=record, known=known)


def kept_instead(stored, shift, provenance=None):
    """Keep predictions whose second logit is shifted under the record's identity."""
    record = stored.record.predictions
    logits = record.logits + np.array([0.0, shift], np.float32)
    predictions = Predictions(record.item_ids, logits, record.labels, record.metadata)
    other = Store(stored.folder / "other")
    other.put(stored.record.identity, predictions, provenance or stored.record.provenance)
    return other


def test_a_model_that_says_the_same_again_is_the_same(stored):
    (found,) = rerun(stored.folder, stored.store, 5)
    assert (found.state, found.why) == ("same", "")
    assert found.what.startswith("again::asked::bnb-int8: record ")


def test_predictions_that_the_model_never_made_differ(stored):
    (found,) = rerun(stored.folder, kept_instead(stored, 0.5), 5)
    assert found.state == "differs"
    assert "logits of 6 of 6 items moved by more than" in found.why


def test_what_is_within_the_noise_of_batches_is_the_same(stored):
    """In float32; arithmetic that rounds activations may be off by a step."""
    plain = {**stored.record.provenance, "quantization": {"kernel": "torch linear, float32 compute"}}
    noisy = {**plain, "noise_floor": 0.001}
    assert [f.state for f in rerun(stored.folder, kept_instead(stored, 0.003, plain), 5)] == ["differs"]
    other = stored.folder / "other"
    other.rename(stored.folder / "first")
    assert [f.state for f in rerun(stored.folder, kept_instead(stored, 0.003, noisy), 5)] == ["same"]


def test_another_model_of_the_same_name_is_not_asked_but_named(stored):
    stored.known["max_length"] = 32
    (found,) = rerun(stored.folder, stored.store, 5)
    assert (found.state, "another max_length" in found.why) == ("open", True)


def test_a_record_that_is_not_here_or_from_elsewhere_is_said(stored):
    (found,) = rerun(stored.folder, Store(stored.folder / "empty"), 5)
    assert found.state == "missing"
    (stored.folder / "evidence.json").write_text(json.dumps(evidence({"a" * 64: {"origin": "a file"}})))
    (found,) = rerun(stored.folder, stored.store, 5)
    assert (found.state, "from elsewhere" in found.why) == ("open", True)
