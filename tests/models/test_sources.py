"""Weights come from folders in the hub's layout; their identity is their content."""

from __future__ import annotations

import json
import shutil

import pytest

from calbench.errors import InputError, SetupRequiredError
from calbench.models import ModelSource
from calbench.models import _embedded as embedded


def test_a_folder_resolves_and_loads_in_evaluation_mode(tiny_encoder):
    source = ModelSource("tiny", "sequence-classification", str(tiny_encoder)).resolve()
    model = source.load()
    assert not model.training
    assert {str(p.dtype) for p in model.parameters()} == {"torch.float32"}


def test_identity_follows_content_not_place(tiny_encoder, tmp_path):
    copy = shutil.copytree(tiny_encoder, tmp_path / "copy")
    ours, theirs = (ModelSource("x", "sequence-classification", str(f)) for f in (tiny_encoder, copy))
    assert (ours.weights_hash, ours.tokenizer_hash) == (theirs.weights_hash, theirs.tokenizer_hash)
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    changed = ModelSource("x", "sequence-classification", str(copy))
    assert changed.weights_hash != ours.weights_hash
    assert changed.tokenizer_hash == ours.tokenizer_hash
    (copy / "tokenizer.json").write_text((copy / "tokenizer.json").read_text() + " ")
    assert ModelSource("x", "causal-lm", str(copy)).tokenizer_hash != ours.tokenizer_hash


def test_pickled_weights_are_refused(tiny_encoder, tmp_path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        ModelSource("x", "sequence-classification", str(folder)).resolve()


@pytest.mark.parametrize("missing", [("tokenizer.json",), ("tokenizer.json", "tokenizer_config.json")])
def test_a_folder_without_a_tokenizer_is_refused(tiny_encoder, tmp_path, missing):
    folder = shutil.copytree(tiny_encoder, tmp_path / "mute")
    for name in missing:
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"tokenizer files are missing in .*mute"):
        ModelSource("x", "sequence-classification", str(folder)).load_tokenizer()


def test_a_vocabulary_of_its_own_kind_is_a_tokenizer(tiny_encoder, tmp_path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "words")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\n")
    tokenizer = ModelSource("x", "sequence-classification", str(folder)).load_tokenizer()
    assert tokenizer("hello")["input_ids"] == [2, 5, 3]


def test_a_hub_model_that_is_not_cached_says_so_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SetupRequiredError, match="some-org/some-model"):
        ModelSource("x", "causal-lm", "some-org/some-model").resolve()


def test_a_hub_model_is_found_in_the_hubs_cache(tiny_encoder, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--some-org--some-model"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    shutil.copytree(tiny_encoder, repo / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    source = ModelSource("x", "sequence-classification", "some-org/some-model").resolve()
    assert source.folder.name == commit
    assert source.load().num_labels == 2


def test_what_is_neither_folder_nor_hub_id_is_refused():
    with pytest.raises(InputError, match=r"neither a folder here \(.*\) nor a hub id"):
        ModelSource("x", "causal-lm", "/no/such/folder/at/all").resolve()


def test_an_unknown_architecture_is_refused():
    with pytest.raises(InputError, match="diffusion"):
        ModelSource("x", "diffusion", "nowhere")  # type: ignore[arg-type]


def test_a_model_that_reads_no_token_is_refused():
    with pytest.raises(InputError, match="max_length is 0"):
        ModelSource("x", "causal-lm", "nowhere", max_length=0)


def test_embedded_models_say_what_to_do_when_the_cache_is_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path))
    with pytest.raises(SetupRequiredError, match=r"calbench setup.*CALBENCH_CACHE"):
        embedded.minilm().resolve()


def test_the_shipped_adapter_has_the_recorded_hash():
    import hashlib

    weights = embedded.ADAPTER / "adapter_model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == embedded.ADAPTER_SHA256


def test_weights_that_would_be_drawn_at_random_are_refused(tiny_decoder):
    with pytest.raises(InputError, match=r"no weights for .*score"):
        ModelSource("x", "sequence-classification", str(tiny_decoder)).load()


def test_an_adapter_is_refused(tiny_encoder, tmp_path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "adapter")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"adapter_model\.safetensors"):
        ModelSource("x", "sequence-classification", str(folder)).resolve()


def with_labels(tiny_encoder, folder, labels):
    shutil.copytree(tiny_encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = dict(enumerate(labels))
    config["label2id"] = {label: index for index, label in enumerate(labels)}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def declared(folder, *classes):
    return ModelSource("x", "sequence-classification", str(folder), classes=classes)


@pytest.mark.parametrize("classes", [("a", "b", "c"), ("a",)])
def test_a_head_with_another_number_of_outputs_than_classes_is_refused(classes, tiny_encoder):
    with pytest.raises(InputError, match=rf"2 outputs .* {len(classes)} classes are declared"):
        declared(tiny_encoder, *classes).load()


def test_a_decoder_has_no_head_whose_outputs_could_be_other_classes(tiny_decoder):
    ModelSource("x", "causal-lm", str(tiny_decoder), classes=("a", "b", "c")).load()


def test_classes_in_another_order_than_the_heads_own_are_refused(tiny_encoder, tmp_path):
    folder = with_labels(tiny_encoder, tmp_path / "model", ["Negative", "Positive"])
    with pytest.raises(InputError, match=r"outputs Negative, Positive, .* declared as positive, negative"):
        declared(folder, "positive", "negative").load()


@pytest.mark.parametrize("labels", [["NEGATIVE", "Positive"], ["LABEL_0", "LABEL_1"], ["bad", "good"]])
def test_classes_in_the_heads_order_or_under_other_names_are_accepted(labels, tiny_encoder, tmp_path):
    assert declared(with_labels(tiny_encoder, tmp_path / "model", labels), "negative", "positive").load()


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def made_by_remote_code(file):
    custom = {"model_type": "unheard-of", "auto_map": {"AutoConfig": "configuration_x.X"}}
    file.write_text(json.dumps({**json.loads(file.read_text()), **custom}))


def of_another_size(file):
    file.write_text(json.dumps({**json.loads(file.read_text()), "hidden_size": "many"}))


@pytest.mark.parametrize(
    ("name", "damage", "load"),
    [
        ("model.safetensors", cut, ModelSource.load),
        ("config.json", made_by_remote_code, ModelSource.load),
        ("config.json", made_by_remote_code, ModelSource.skeleton),
        ("config.json", of_another_size, ModelSource.load),
        ("tokenizer.json", cut, ModelSource.load_tokenizer),
    ],
)
def test_what_cannot_be_loaded_is_named_with_its_cause(name, damage, load, tiny_encoder, tmp_path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "model")
    damage(folder / name)
    with pytest.raises(InputError, match=rf"'x' in {folder} cannot be loaded \(.*make sure") as caught:
        load(declared(folder))
    assert type(caught.value.__cause__).__name__ in str(caught.value)
