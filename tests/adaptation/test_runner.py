"""Arms of tiny models, really trained and really quantized."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("peft", reason="adapters need peft")
pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes")

import torch

from calbench import calibrators, models, quantizers, tasks
from calbench.adaptation import (
    CONTRASTS,
    VARIANTS,
    AdaptationRunner,
    Distillation,
    Recipe,
    Student,
    attach,
    set_adapter,
)
from calbench.adaptation._budgets import Budget
from calbench.adaptation._runner import _Setting
from calbench.adaptation._variants import contrasts_of, variants
from calbench.errors import InputError, ModelLoadingForbiddenError, UnknownNameError
from calbench.inference import score
from calbench.models import ModelSource
from calbench.runs import Profile, Runner
from calbench.store import Store
from calbench.tasks import Item, SequenceClassification

SIZES = {"sequence-classification": 60, "causal-lm": 60}
PROFILE = Profile("quick", SIZES, {"sequence-classification": 120, "causal-lm": 120})
BUDGET = Budget(64, 40, Recipe(rank=4, batch_size=16, epochs=4, learning_rate=1e-2), Distillation(alpha=0.7))
BUDGETS = {"sequence-classification": BUDGET, "causal-lm": BUDGET}
TASK = "arms-majority"


def load() -> list[Item]:
    rng = np.random.default_rng(0)
    rows = rng.integers(60, size=(300, 9))
    return [
        Item(f"i{i:03}", " ".join(f"w{w}" for w in row), int((row < 30).sum() > 4))
        for i, row in enumerate(rows)
    ]


@pytest.fixture(scope="module", autouse=True)
def registered(tiny_encoder: Path, tiny_decoder: Path) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def encoder() -> ModelSource:
        return ModelSource(
            "arms-encoder", "sequence-classification", str(tiny_encoder), classes=("no", "yes"), max_length=64
        )

    def decoder() -> ModelSource:
        return ModelSource("arms-decoder", "causal-lm", str(tiny_decoder), max_length=64)

    def majority() -> SequenceClassification:
        return SequenceClassification(
            TASK,
            ("no", "yes"),
            load,
            prompt="Text: {text} Sentiment:",
            label_words=("no", "yes"),
            n_training=80,
            n_quantization=16,
        )

    models.model("arms-encoder")(encoder)
    models.model("arms-decoder")(decoder)
    tasks.task(TASK)(majority)
    yield
    for registry, name in (
        (models.registry, "arms-encoder"),
        (models.registry, "arms-decoder"),
        (tasks.registry, TASK),
    ):
        del registry._entries[name]
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def runner(store: Store, **options) -> AdaptationRunner:
    return AdaptationRunner(Runner(store, PROFILE, n_resamples=200, **options), BUDGETS)


@pytest.fixture(scope="module", params=["arms-encoder", "arms-decoder"])
def model(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def compared(model, store):
    return runner(store).compare(model, TASK, "bnb-nf4", seed=42)


def test_every_arm_answers_the_same_items(compared):
    assert [variant.id for variant in compared.variants] == list(VARIANTS)
    assert {record.predictions.items_hash for record in compared.records.values()} == {
        compared.records["base"].predictions.items_hash
    }
    assert {len(side.test) for side in compared.splits.values()} == {120}
    assert len({record.key for record in compared.records.values()}) == len(VARIANTS)


def test_every_arm_says_how_far_batches_move_its_answers(compared):
    for record in compared.records.values():
        assert 0 <= record.provenance["noise_floor"] < 1e-3


def test_every_adapter_had_the_same_budget(compared):
    trained = compared.training
    assert set(trained) == {arm.id for arm in VARIANTS.values() if arm.adapter != "none"}
    assert {history["n_steps"] for history in trained.values()} == {16}
    assert len({history["n_parameters"] for history in trained.values()}) == 1
    same = {name: trained[name]["adapter"] for name in ("tuned", "tuned-ptq", "ptq-lora")}
    assert len(set(same.values())) == 1
    assert len({history["adapter"] for history in trained.values()}) == 4


def test_an_untuned_arm_is_distilled_without_labels(model, store):
    setting = _Setting(runner(store).runner, model, TASK, "bnb-nf4", 42, BUDGET)
    assert setting._recipe("distilled-base").distillation.alpha == 1
    assert setting._recipe("distilled").distillation == BUDGET.distillation


def test_tuning_helps(compared):
    for arm in ("tuned", "qlora", "tuned-distilled"):
        change = compared.comparison.difference("nll", arm=arm, against="base")
        assert change.value < 0


def test_an_arm_is_measured_unmerged_over_the_bits_it_was_trained_on(compared, model, store):
    setting = _Setting(runner(store).runner, model, TASK, "bnb-nf4", 42, BUDGET)
    module = quantizers.get("bnb-nf4").build(setting.source, samples=None, seed=0)
    attach(module, setting._recipe("quantized"))
    set_adapter(module, setting._trained("quantized").state())
    student = Student(module, setting.open.tokenizer, setting.source, setting.request)
    logits = score(module, student.tokenizer, student.source, student.request, setting.items).logits
    np.testing.assert_array_equal(logits, compared.records["qlora"].predictions.logits)


def test_the_same_lora_differs_beside_and_inside_quantized_weights(compared):
    beside, inside = (compared.records[arm].predictions.logits for arm in ("ptq-lora", "tuned-ptq"))
    assert np.abs(beside - inside).max() > 1e-3


def test_a_second_run_loads_nothing(compared, model, store):
    again = runner(store, replay=True).compare(model, TASK, "bnb-nf4", seed=42)
    for arm, record in compared.records.items():
        assert again.records[arm].key == record.key


def test_another_seed_has_adapters_of_its_own(model, store):
    with pytest.raises(ModelLoadingForbiddenError, match="no stored record of the arm 'qlora'"):
        runner(store, replay=True).compare(model, TASK, "bnb-nf4", seed=7, arms=["qlora"])


def test_calibrators_compose_with_arms(compared):
    side = compared.splits["qlora"]
    fit = calibrators.get("temperature").fit(side.calibration.logits, side.calibration.labels)
    expected = fit(side.test.logits)
    np.testing.assert_allclose(compared.comparison.arm("qlora+temperature").outcomes.probs, expected)


def test_unknown_arms_are_refused(compared, model, store):
    with pytest.raises(UnknownNameError, match="did you mean 'qlora'"):
        runner(store).compare(model, TASK, "bnb-nf4", seed=42, arms=["qlor"])
    with pytest.raises(UnknownNameError, match="did you mean 'tuned-ptq'"):
        compared.comparison.estimate("ece", arm="tuned-pt")


def test_a_task_without_training_items_is_refused(model, store, monkeypatch):
    none = {name: Budget(0, 40, BUDGET.recipe, BUDGET.distillation) for name in BUDGETS}
    with pytest.raises(InputError, match="there are no training items"):
        AdaptationRunner(runner(store).runner, none).compare(model, TASK, "bnb-nf4", seed=42)


def test_a_budget_may_ask_fewer_items_than_the_profile(model, store):
    short = {name: replace(budget, n_asked=(30, 50)) for name, budget in BUDGETS.items()}
    found = AdaptationRunner(runner(store).runner, short).compare(
        model, TASK, "bnb-nf4", seed=42, arms=("base", "base-ptq")
    )
    for side in found.splits.values():
        assert (len(side.calibration), len(side.test)) == (30, 50)
    assert {len(record.predictions) for record in found.records.values()} == {80}


@pytest.mark.parametrize(("n_training", "sizes", "left"), [(120, (76, 114), 94), (None, (91, 137), 56)])
def test_items_are_left_to_train_on_where_a_task_sets_none_aside(
    model, store, monkeypatch, n_training, sizes, left
):
    task = replace(tasks.get(TASK), n_training=0)
    monkeypatch.setattr(tasks, "get", lambda name: task)
    wide = Runner(store, replace(PROFILE, n_calibration=None, n_test=None))
    setting = _Setting(wide, model, TASK, "bnb-nf4", 42, replace(BUDGET, n_training=n_training))
    found = len(setting.split.calibration), len(setting.split.test)
    assert (found, len(setting.data.training)) == (sizes, left)


def test_the_training_that_the_docs_show_runs_as_it_stands_there(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "adaptation.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "train(" in block]
    names = {}
    exec(code.replace('"smollm2"', f'"{model}"').replace('"tweets"', f'"{TASK}"'), names)
    assert names["adapter"].history["losses"]
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


def test_a_profile_without_a_budget_is_refused(model, store):
    own = Runner(store, replace(PROFILE, name="mine"))
    with pytest.raises(InputError, match="'mine' has no budget"):
        AdaptationRunner(own).compare(model, TASK, "bnb-nf4", seed=42)


def test_items_that_the_profile_does_not_ask_may_be_trained_on(model, store):
    bench_of_all = runner(store).runner
    setting = _Setting(bench_of_all, model, TASK, "bnb-nf4", 42, replace(BUDGET, n_training=None))
    partition = tasks.get(TASK).partition
    assert setting.data.training == (*partition.training, *partition.evaluation[180:])
    assert len(partition.evaluation) > 180 == len(setting.items)


def test_arms_keep_one_order_and_contrasts_need_their_arms():
    assert [arm.id for arm in variants(["qlora", "base"])] == ["base", "qlora"]
    assert not contrasts_of(["base", "tuned"])
    assert [c.id for c in contrasts_of(["qlora", "tuned-ptq"])] == ["qlora - tuned-ptq"]
    for contrast in CONTRASTS.values():
        assert sum(contrast.weights.values()) == 0
