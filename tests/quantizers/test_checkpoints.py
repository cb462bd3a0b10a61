import json
import multiprocessing
import os

import pytest

pytest.importorskip("transformers", reason="quantizers need transformers")

import torch

from calbench.errors import CorruptRecordError
from calbench.models import ModelSource
from calbench.quantizers import get, probe_logits, quantize

GPTQ = "gptq-int4[n_samples=16]"


@pytest.fixture
def made(encoder, samples, probe, tmp_path):
    """A checkpoint, its folder, and how to ask for it again."""

    def again():
        return quantize(get(GPTQ), encoder, samples=samples, probe=probe, checkpoint_dir=tmp_path)

    first = again()
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    return first, folder, again


def test_a_reloaded_model_is_bit_identical(made, probe):
    first, _, again = made
    second = again()
    assert not first.report.from_checkpoint
    assert second.report.from_checkpoint
    assert second.report.tensors_hash == first.report.tensors_hash
    assert torch.equal(probe_logits(second.module, probe), probe_logits(first.module, probe))
    assert second.report.proof == first.report.proof


def test_a_reloaded_model_reports_what_it_took_to_make(made):
    first, _, again = made
    second = again()
    assert second.report.seconds["build"] == first.report.seconds["build"]
    assert "reload" in second.report.seconds
    assert second.report.checkpoint_bytes == first.report.checkpoint_bytes > 0


@pytest.mark.parametrize("name", ["gptq-int3[n_samples=16]", "gptq-int8[n_samples=16,act_order=false]"])
def test_both_architectures_reload_at_every_width(name, source, samples, probe, tmp_path):
    first, second = (
        quantize(get(name), source, samples=samples, probe=probe, checkpoint_dir=tmp_path) for _ in range(2)
    )
    assert second.report.from_checkpoint
    assert torch.equal(probe_logits(second.module, probe), probe_logits(first.module, probe))


def test_making_it_twice_gives_the_same_file(encoder, samples, probe, tmp_path):
    files = []
    for place in ("a", "b"):
        quantize(get(GPTQ), encoder, samples=samples, probe=probe, checkpoint_dir=tmp_path / place)
        files.append(next((tmp_path / place).rglob("quantized.safetensors")).read_bytes())
    assert files[0] == files[1]


def test_other_arguments_samples_and_weights_have_folders_of_their_own(
    encoder, decoder, samples, probe, tmp_path
):
    def folders(name, source, given):
        quantize(get(name), source, samples=given, probe=probe, checkpoint_dir=tmp_path)
        return len([path for path in tmp_path.iterdir() if path.is_dir()])

    other = type(samples)(samples.token_ids[::-1])
    assert folders(GPTQ, encoder, samples) == 1
    assert folders(GPTQ, encoder, other) == 2
    assert folders("gptq-int4[n_samples=16,sym=false]", encoder, samples) == 3
    assert folders(GPTQ, decoder, samples) == 4
    assert folders(GPTQ, encoder, samples) == 4


def test_cheap_quantizers_leave_nothing_on_disk(encoder, probe, tmp_path):
    quantize(get("bf16"), encoder, probe=probe, checkpoint_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_flipped_byte_is_found(made):
    _, folder, again = made
    file = folder / "quantized.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptRecordError, match=r"quantized.safetensors does not match.*delete the folder"):
        again()


def test_a_missing_file_is_named(made):
    _, folder, again = made
    (folder / "quantized.safetensors").unlink()
    with pytest.raises(CorruptRecordError, match=r"quantized.safetensors is missing"):
        again()


def test_a_stray_file_is_named(made):
    _, folder, again = made
    (folder / "extra.bin").touch()
    with pytest.raises(CorruptRecordError, match=r"extra.bin is not in the manifest"):
        again()


def test_a_truncated_manifest_is_refused(made):
    _, folder, again = made
    manifest = folder / "calbench-manifest.json"
    manifest.write_text(manifest.read_text()[:-20])
    with pytest.raises(CorruptRecordError, match="manifest cannot be read"):
        again()


def test_a_checkpoint_of_another_identity_is_refused(made):
    _, folder, again = made
    manifest = folder / "calbench-manifest.json"
    content = json.loads(manifest.read_text())
    content["facts"]["samples"] = "0" * 64
    manifest.write_text(json.dumps(content))
    with pytest.raises(CorruptRecordError, match="made for another samples"):
        again()


def test_a_model_that_differs_from_the_saved_one_is_refused(made):
    _, folder, again = made
    manifest = folder / "calbench-manifest.json"
    content = json.loads(manifest.read_text())
    content["tensors_hash"] = "0" * 64
    manifest.write_text(json.dumps(content))
    with pytest.raises(CorruptRecordError, match="not bit-identical"):
        again()


def test_a_failed_save_leaves_nothing_behind(encoder, samples, probe, tmp_path, monkeypatch):
    def fail(model, folder):
        (folder / "half").touch()
        raise OSError("disk full")

    monkeypatch.setattr("calbench.quantizers.gptq._files.save", fail)
    with pytest.raises(OSError, match="disk full"):
        quantize(get(GPTQ), encoder, samples=samples, probe=probe, checkpoint_dir=tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def _make(location, tokens, probe, place, results):
    from calbench.quantizers import QuantizationSamples

    source = ModelSource("tiny", "sequence-classification", location)
    report = quantize(
        get(GPTQ), source, samples=QuantizationSamples(tokens), probe=probe, checkpoint_dir=place
    ).report
    results.put((os.getpid(), report.from_checkpoint, report.tensors_hash))


def test_two_processes_make_it_once(encoder, samples, probe, tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = (encoder.location, samples.token_ids, probe, tmp_path, results)
    workers = [context.Process(target=_make, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(reloaded for _, reloaded, _ in found) == [False, True]
    assert len({digest for _, _, digest in found}) == 1
