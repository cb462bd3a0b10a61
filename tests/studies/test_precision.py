"""The table of precisions, from a tiny model that is really quantized."""

import json
import sys

import numpy as np
import pytest

from calbench import Predictions, cli, models, quantizers, tasks
from calbench.metrics import kl_divergence
from calbench.models import ModelSource
from calbench.studies._precision import chance_accuracy, kl_items, mean_logit_change
from calbench.tasks import Item, SequenceClassification

pytest.importorskip("torch", reason="models need torch")


def items(n=160):
    rng = np.random.default_rng(3)
    return [Item(f"i{i:03}", " ".join(f"w{k}" for k in rng.integers(60, size=9)), i % 2) for i in range(n)]


@pytest.fixture(scope="module")
def table(tiny_encoder, tmp_path_factory):
    """Run the command on a tiny model; what was stored stays for the next test."""
    if "precision-tiny" not in models.names():
        models.model("precision-tiny")(
            lambda: ModelSource(
                "precision-tiny",
                "sequence-classification",
                str(tiny_encoder),
                classes=("no", "yes"),
                default_tasks=("precision-coin",),
                quantization_task="precision-coin",
            )
        )
        tasks.task("precision-coin")(
            lambda: SequenceClassification("precision-coin", ("no", "yes"), items, n_quantization=20)
        )
    store = str(tmp_path_factory.mktemp("store"))

    def run(*options, capsys, monkeypatch):
        arguments = ["calbench", "run", "--models", "precision-tiny", "--store", store, *options]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    yield run
    models.registry._entries.pop("precision-tiny")
    tasks.registry._entries.pop("precision-coin")


@pytest.fixture
def run(table, capsys, monkeypatch):
    return lambda *options: table(*options, capsys=capsys, monkeypatch=monkeypatch)


GPTQ = "gptq-int4[n_samples=20]"


def test_every_figure_of_a_row_can_be_traced(run):
    code, out, _ = run("--quantizers", f"bf16,{GPTQ}", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["quantizer"] for row in rows] == ["fp32", "bf16", GPTQ]
    reference, bf16, gptq = rows
    assert reference["kl_divergence"]["value"] == reference["flip_rate"] == reference["logit_change"] == 0
    assert 0 < bf16["kl_divergence"]["value"] < gptq["kl_divergence"]["value"]
    assert 0 < bf16["logit_change"] < gptq["logit_change"]
    assert 4 < gptq["quantization"]["effective_bits"] < 5
    assert gptq["quantization"]["resident_bytes"] < reference["quantization"]["resident_bytes"]
    for row in rows:
        assert row["n_test"] == 140  # as they are: no item is held back to fit anything
        assert row["records"]["reference"] == reference["records"]["candidate"]
        for name in ("kl_divergence", "accuracy", "ece"):
            low, high = row[name]["interval"]
            assert low <= row[name]["value"] <= high


def test_a_coin_is_marked_as_chance(run):
    _, out, _ = run("--quantizers", "bf16")
    assert "† at chance" in out
    assert "| bf16 " in out


def test_calibrators_are_fitted_besides(run):
    code, out, _ = run("--quantizers", "bf16", "--calibrators", "temperature,platt")
    assert code == 0
    assert "| fp32        | platt" in out
    assert "Δ ECE" in out


def test_a_missing_backend_is_skipped_by_name_and_reason(run, monkeypatch):
    from calbench.errors import BackendUnavailableError
    from calbench.quantizers._bnb import FourBit

    def check_available(self):
        raise BackendUnavailableError("bnb-nf4 needs bitsandbytes, which is not installed")

    monkeypatch.setattr(FourBit, "check_available", check_available)
    code, out, err = run("--quantizers", "bf16,bnb-nf4")
    assert code == 0
    assert "| bf16 " in out
    assert "skipped: precision-tiny × bnb-nf4 on precision-coin: bnb-nf4 needs bitsandbytes" in err


def test_what_does_not_fit_is_refused_before_its_model_is_loaded(run, monkeypatch):
    run("--quantizers", "fp32")
    monkeypatch.setattr(ModelSource, "load", lambda *_: pytest.fail("weights were read"))
    code, _, err = run("--quantizers", "gptq-int4[group_size=48]")
    assert code == 2
    assert "refused: precision-tiny × gptq-int4[group_size=48]" in err
    assert "group_size=48 does not divide the 64 inputs" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--quantizers", "bnb-nf5"), "did you mean 'bnb-nf4'"),
        (("--quantizers", "bnb-nf4[skp=x]"), "did you mean 'skip'"),
        (("--calibrators", "temprature"), "did you mean 'temperature'"),
    ],
)
def test_wrong_names_exit_2_at_once(run, options, message):
    code, _, err = run(*options)
    assert code == 2
    assert message in err


def test_check_fits_names_the_layers_without_weights(tiny_decoder):
    source = ModelSource("tiny", "causal-lm", str(tiny_decoder))
    found = quantizers.check_fits(quantizers.get("bnb-nf4[skip=q_proj]"), source)
    assert len(found) == 12
    assert "model.layers.0.self_attn.k_proj" in found


def test_a_tied_output_layer_is_seen_without_weights(tiny_decoder):
    from calbench.errors import QuantizationError

    source = ModelSource("tiny", "causal-lm", str(tiny_decoder))
    with pytest.raises(QuantizationError, match="lm_head shares its weights"):
        quantizers.check_fits(quantizers.get("bnb-nf4[include=lm_head]"), source)


def test_kl_of_items_averages_to_the_metric_and_padding_is_left_out():
    rng = np.random.default_rng(0)
    logits, moved = rng.normal(size=(2, 50, 4))
    logits[::3, 3] = moved[::3, 3] = -np.inf
    records = [Predictions([f"i{n}" for n in range(50)], z, [0] * 50) for z in (logits, moved)]
    expected = kl_divergence(records[0].probs, records[1].probs)
    assert kl_items(*records).mean() == pytest.approx(expected, rel=1e-12)
    real = np.isfinite(logits)
    assert mean_logit_change(*records) == pytest.approx(np.abs(moved[real] - logits[real]).mean(), rel=1e-6)


def test_chance_is_guessing_where_labels_are_even():
    record = Predictions(["a", "b"], [[0.0, 1.0, -np.inf], [0.0, 1.0, 2.0]], [0, 1])
    assert chance_accuracy(record) == 0.5
    four = Predictions(list("abcd"), np.zeros((4, 2)), [0, 1, 0, 1])
    assert chance_accuracy(four) == 0.5
