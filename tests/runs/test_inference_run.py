"""What is kept of a model that was asked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="models need torch")

from calbench.errors import InputError
from calbench.models import ModelSource
from calbench.records import Predictions
from calbench.runs import InferenceRun
from calbench.runs._inference_run import least_margin, noisy
from calbench.store import Store, StoredPredictions
from calbench.tasks import Item, SequenceClassification

ITEMS = [Item(f"i{n:02}", f"w{n} w{n + 1}", n % 2) for n in range(20)]
TASK = SequenceClassification("t", ("no", "yes"), lambda: ITEMS, n_quantization=1)


@pytest.fixture
def source(tiny_encoder):
    return ModelSource(
        "e", "sequence-classification", str(tiny_encoder), classes=("no", "yes"), max_length=64
    )


@pytest.fixture
def ask(source, tmp_path):
    def ask(module, step):
        loaded = SimpleNamespace(module=module, report=SimpleNamespace(to_dict=dict))
        asking = InferenceRun(source, source.load_tokenizer(), TASK, ITEMS)
        return asking.ask(loaded, Store(tmp_path), {"i": 1}, metadata={"model": "e"}, step=step)

    return ask


class Step:
    def __init__(self):
        self.done = []

    def __enter__(self):
        return self.done.append

    def __exit__(self, *_):
        return None


def test_a_record_says_how_it_came_about(ask, source, tmp_path):
    step = Step()
    record = ask(source.load(), step)
    assert step.done[-1] == len(ITEMS)
    assert (record.provenance["engine"], record.provenance["n_asked"]) == ("head", len(ITEMS))
    assert record.predictions.metadata["classes"] == ["no", "yes"]
    assert Store(tmp_path).get({"i": 1}).key == record.key


def test_what_an_interrupted_run_finished_is_used(ask, source, monkeypatch, tmp_path):
    monkeypatch.setattr("calbench.inference._scoring.TOKENS_PER_SHARD", 16)
    monkeypatch.setattr("calbench.inference._classification.TOKENS_PER_BATCH", 16)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "put", _full)
        with pytest.raises(OSError, match="full"):
            ask(source.load(), Step())
    record = ask(source.load(), Step())
    assert record.provenance["n_shards_reused"] == record.provenance["n_shards"] > 1


def _full(*_):
    raise OSError("full")


def test_a_model_on_another_device_gets_no_record(ask, source, tmp_path):
    with pytest.raises(InputError, match="on 'meta', and records are kept under 'cpu'"):
        ask(source.load().to("meta"), Step())
    assert Store(tmp_path).get({"i": 1}) is None


@pytest.mark.parametrize(("floor", "is_said"), [(0.5, True), (1e-5, False)])
def test_a_floor_above_the_promise_is_said(floor, is_said):
    predictions = Predictions(["a", "b"], [[0.9, 0.1], [0.4, 0.6]], [0, 1])
    provenance = {"noise_floor": floor, "quantization": {"kernel": "torch, float32"}}
    said = noisy(StoredPredictions("k", predictions, {}, provenance))
    assert ("alone moves a logit by up to 0.5" in said) == is_said


@pytest.mark.parametrize(("moved", "said"), [(0.004, "by 0.004 on average"), (1e-6, "")])
def test_a_margin_below_what_asking_twice_moves_is_warned_of(moved, said):
    predictions = Predictions(["a", "b"], [[1.0, 0.0], [0.0, 1.0]], [0, 1])
    found = least_margin(StoredPredictions("k", predictions, {}, {"confidence_floor": moved}))
    assert said in found
    assert bool(found) == bool(said)


def test_a_record_keeps_what_asking_twice_moves(ask, source):
    assert 0 <= ask(source.load(), Step()).provenance["confidence_floor"] < 1e-4
