"""Sensitivity, on a tiny encoder that is really quantized group by group."""

import itertools
import json
import sys

import numpy as np
import pytest

pytest.importorskip("bitsandbytes", reason="bnb quantizers need bitsandbytes")

from calbench import cli, models, tasks
from calbench.errors import InputError
from calbench.models import ModelSource
from calbench.quantizers import module_groups
from calbench.runs import PROFILES, Runner
from calbench.statistics import Estimate
from calbench.store import Store
from calbench.studies import Change, GroupCost, Sensitivity
from calbench.studies._sensitivity import best_set
from calbench.tasks import Item, SequenceClassification

QUANTIZER = "gptq-int3[group_size=32,n_samples=20]"
BLOCKS = ("bert.encoder.layer.0", "bert.encoder.layer.1")
OUTSIDE = ("bert.pooler.dense", "classifier")


def items(n=160):
    rng = np.random.default_rng(5)
    return [Item(f"i{i:03}", " ".join(f"w{k}" for k in rng.integers(60, size=9)), i % 2) for i in range(n)]


@pytest.fixture(scope="module")
def runner(tiny_encoder, tmp_path_factory):
    if "sensitive-tiny" not in models.names():
        models.model("sensitive-tiny")(
            lambda: ModelSource(
                "sensitive-tiny",
                "sequence-classification",
                str(tiny_encoder),
                classes=("no", "yes"),
                quantization_task="sensitive-coin",
            )
        )
        tasks.task("sensitive-coin")(
            lambda: SequenceClassification("sensitive-coin", ("no", "yes"), items, n_quantization=20)
        )
    return Runner(Store(tmp_path_factory.mktemp("store")), PROFILES["default"], n_resamples=200)


@pytest.fixture(scope="module")
def study(runner):
    return Sensitivity(runner, "sensitive-tiny", "bnb-nf4", "sensitive-coin")


@pytest.fixture(scope="module")
def costs(study):
    return list(study.costs())


def test_groups_are_blocks_and_the_layers_outside_of_them(tiny_encoder, tiny_decoder):
    found = module_groups(ModelSource("e", "sequence-classification", str(tiny_encoder)).skeleton())
    assert tuple(found) == (*BLOCKS, *OUTSIDE)
    assert [len(layers) for layers in found.values()] == [6, 6, 1, 1]
    # The decoder's output layer is tied to its embedding.
    decoder = module_groups(ModelSource("d", "causal-lm", str(tiny_decoder)).skeleton())
    assert tuple(decoder) == ("model.layers.0", "model.layers.1")


def test_each_group_is_quantized_alone(study, costs, runner):
    assert [cost.name for cost in costs] == [*BLOCKS, *OUTSIDE]
    for cost in costs:
        report = runner.record("sensitive-tiny", cost.quantizer, "sensitive-coin").provenance["quantization"]
        assert tuple(report["modules"]) == cost.layers
        assert cost.change.kl_divergence.value > 0
    # Blocks are larger than the pooler, and the pooler than the head.
    saved = [cost.saved_bytes for cost in costs]
    assert saved[0] == saved[1] > saved[2] > saved[3] > 0


def test_the_suggestion_fits_the_budget_and_lowers_kl_on_items_it_was_not_chosen_on(study, costs, runner):
    suggestion = study.suggest(costs)
    assert suggestion.uniform_bytes < suggestion.size_bytes <= suggestion.budget_bytes
    assert suggestion.change.kl_divergence.value < suggestion.uniform_change.kl_divergence.value
    report = runner.record("sensitive-tiny", suggestion.quantizer, "sensitive-coin").provenance[
        "quantization"
    ]
    kept = {layer for name in suggestion.keep for layer in study.groups[name]}
    assert kept.isdisjoint(report["modules"])
    assert len(report["modules"]) == 14 - len(kept)


def test_a_budget_for_everything_keeps_everything_and_one_for_nothing_is_refused(study, costs):
    assert study.suggest(costs, budget_bytes=10**9).quantizer == "fp32"
    with pytest.raises(InputError, match=r"budget of 0\.0 MiB is below the .* MiB that sensitive-tiny takes"):
        study.suggest(costs, budget_bytes=1)


def group(name, saved, kl):
    estimate = Estimate(kl, (kl, kl))
    return GroupCost(name, (name,), f"id-{name}", saved, Change(estimate, estimate, estimate))


def prices(costs):
    return {cost.name: cost.saved_bytes for cost in costs}


def test_the_best_set_is_the_best_of_all_sets():
    rng = np.random.default_rng(1)
    costs = [group(str(i), int(rng.integers(1, 200)), float(rng.uniform())) for i in range(10)]
    spare = 400
    sets = [s for n in range(11) for s in itertools.combinations(costs, n)]
    allowed = [s for s in sets if sum(c.saved_bytes for c in s) <= spare]
    best = max(allowed, key=lambda s: sum(c.change.kl_divergence.value for c in s))
    assert best_set(costs, prices(costs), spare) == tuple(c.name for c in best)


def test_greed_by_share_would_be_wrong():
    costs = [group("dense", 60, 10.0), group("a", 50, 8.0), group("b", 50, 8.0)]
    assert best_set(costs, prices(costs), 100) == ("a", "b")
    assert best_set(costs, prices(costs), 10) == ()


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [("bf16", "cannot leave layers out"), ("bnb-nf4[skip=key]", "leave skip, include and int8 out")],
)
def test_a_quantizer_that_cannot_be_narrowed_is_refused_before_any_work(runner, quantizer, message):
    with pytest.raises(InputError, match=message):
        Sensitivity(runner, "sensitive-tiny", quantizer, "sensitive-coin")


def test_a_group_that_cannot_be_quantized_is_refused_before_any_work(runner):
    with pytest.raises(InputError, match="group_size=48 does not divide"):
        Sensitivity(runner, "sensitive-tiny", "gptq-int4[group_size=48]", "sensitive-coin")


def test_groups_can_be_raised_to_8_bits_for_few_bytes(runner):
    study = Sensitivity(runner, "sensitive-tiny", QUANTIZER, "sensitive-coin", kept_at="int8")
    costs = list(study.costs())
    suggestion = study.suggest(costs)
    assert suggestion.uniform_bytes <= suggestion.size_bytes <= suggestion.budget_bytes
    everything = study.suggest(costs, budget_bytes=10**9)
    assert set(everything.keep) == set(study.groups)
    assert everything.change.kl_divergence.value < everything.uniform_change.kl_divergence.value / 10
    one = study.suggest(costs, budget_bytes=(suggestion.uniform_bytes + everything.size_bytes) // 2)
    report = runner.record("sensitive-tiny", one.quantizer, "sensitive-coin").provenance["quantization"]
    raised = {layer for name in one.keep for layer in study.groups[name]}
    assert raised
    formats = {layer: "int8-g32" if layer in raised else "int3-g32" for layer in report["modules"]}
    assert report["modules"] == formats
    assert len(formats) == 14
    assert one.size_bytes <= one.budget_bytes
    assert one.change.kl_divergence.value < one.uniform_change.kl_divergence.value


def test_8_bits_for_single_layers_need_a_quantizer_that_can(runner):
    with pytest.raises(InputError, match="bnb-nf4 cannot give single layers 8 bits"):
        Sensitivity(runner, "sensitive-tiny", "bnb-nf4", "sensitive-coin", kept_at="int8")


def test_the_command_prints_the_ranking_and_the_suggestion(runner, costs, monkeypatch, capsys):
    def run(*options):
        arguments = ["sensitivity", "sensitive-tiny", "bnb-nf4", "sensitive-coin", *options]
        monkeypatch.setattr(sys, "argv", ["calbench", *arguments, "--store", str(runner.store.root)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == 0
        return capsys.readouterr().out

    text = run("--n-resamples", "200")
    assert "| classifier " in text
    assert "costly" in text
    assert "\nquantizer: bnb-nf4" in text
    shown = json.loads(run("--n-resamples", "200", "--json"))
    assert [g["name"] for g in shown["groups"]] == [cost.name for cost in costs]
    assert shown["suggestion"]["quantizer"] in text
