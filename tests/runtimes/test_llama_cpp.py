"""llama.cpp in a child process, over a GGUF file with the weights that torch has."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="models need torch")
pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")

from calbench import models, tasks
from calbench.errors import InputError, ServerError
from calbench.inference import NoShards
from calbench.models import ModelSource
from calbench.models._named import source_at
from calbench.runtimes import (
    LlamaCppRuntime,
    LlamaOptions,
    TokenRuntime,
    TorchRuntime,
    connected,
    serving,
    write_gguf,
)

pytestmark = pytest.mark.embedded
N_BLOCKS = 2


@pytest.fixture(scope="module")
def shipped_file(tmp_path_factory):
    """The first two blocks of the embedded model's file: the same tokenizer and kernels, sooner."""
    import gguf

    reader = gguf.GGUFReader(models.get("smollm2").resolve().gguf)
    file = tmp_path_factory.mktemp("gguf") / "shallow.gguf"
    architecture = reader.get_field("general.architecture").contents()
    writer = gguf.GGUFWriter(file, architecture)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            value = N_BLOCKS if field.name == f"{architecture}.block_count" else field.contents()
            writer.add_key_value(field.name, value, field.types[0], inner)
    for tensor in reader.tensors:
        if not tensor.name.startswith("blk.") or int(tensor.name.split(".")[1]) < N_BLOCKS:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(scope="module")
def smollm2(shipped_file, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CALBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return source_at(str(shipped_file)).resolve()


@pytest.fixture(scope="module")
def module(smollm2):
    return smollm2.load()


@pytest.fixture(scope="module")
def float_file(smollm2, module, tmp_path_factory):
    file = tmp_path_factory.mktemp("gguf") / "float.gguf"
    write_gguf(smollm2, module, file)
    return file


def both(task, n, smollm2, module, file):
    tokenizer, asked = smollm2.load_tokenizer(), tasks.get(task)
    items = asked.partition.evaluation[:n]
    runtimes = (
        TorchRuntime(module, tokenizer, smollm2),
        LlamaCppRuntime(file, tokenizer, smollm2, LlamaOptions(threads=1)),
    )
    request = asked.request(smollm2)
    return [r.score(request, items, shards=NoShards(), on_progress=lambda *_: None).logits for r in runtimes]


def test_the_same_weights_give_the_same_label_words(smollm2, module, float_file):
    here, there = both("tweets", 4, smollm2, module, float_file)
    margins = [logits[:, 1] - logits[:, 0] for logits in (here, there)]
    assert np.abs(margins[0] - margins[1]).max() < 2e-3  # float32 in two orders of summing: measured 1e-5


def test_the_same_weights_give_the_same_options(smollm2, module, float_file):
    here, there = both("piqa", 1, smollm2, module, float_file)
    assert np.abs(here - there).max() < 1e-3  # per byte; measured 4e-5


def test_a_grammar_and_forced_tokens_agree(shipped_file):
    context, option = [8060, 42, 339, 2606], [1035, 2731, 6392]
    with serving(shipped_file, LlamaOptions(threads=1, slots=1)) as server:
        walked = server.log_probs(context, option)
        forced = [server.log_probs([*context, *option[:i]], [token])[0] for i, token in enumerate(option)]
    assert walked == pytest.approx(forced, abs=1e-3)


def test_a_damaged_file_is_refused_before_native_code_sees_it(shipped_file, tmp_path):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(shipped_file.read_bytes()[:2_000_000])
    with pytest.raises(InputError, match="is cut off"), serving(cut):
        pass


def children():
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def asked_after_an_abort(file):
    before = children()
    with serving(file, LlamaOptions(threads=1, slots=1)) as server:
        (child,) = children() - before
        os.kill(child, signal.SIGABRT)
        server.log_probs([1, 2], [3])


def test_an_abort_in_native_code_ends_no_test(shipped_file):
    with pytest.raises(ServerError, match=r"llama\.cpp ended"):
        asked_after_an_abort(shipped_file)


def test_doctor_finds_that_a_real_llama_server_can_be_trusted(shipped_file, monkeypatch):
    from typer.testing import CliRunner

    from calbench.cli import app

    with serving(shipped_file, LlamaOptions(threads=2, slots=2)) as server:
        monkeypatch.setenv("CALBENCH_API_KEY", server.client.key)
        done = CliRunner().invoke(app, ["doctor", str(server.client.address), "--json"])
    (test,) = json.loads(done.stdout)
    assert done.exit_code == 0
    assert {check["outcome"] for check in test["checks"]} <= {"ok", "noted"}
    assert test["facts"]["runtime"] == "llama-server"
    assert server.client.key not in done.stdout


def test_a_server_asked_at_its_address_says_what_the_runtime_says(smollm2, shipped_file):
    """With the server's own tokenizer, over HTTP: the very tokens and so the very numbers."""
    asked = tasks.get("tweets")
    items, request = asked.partition.evaluation[:3], asked.request(smollm2)
    ask = {"shards": NoShards(), "on_progress": lambda *_: None}
    with serving(shipped_file, LlamaOptions(threads=2, slots=2)) as server:
        address, key = server.client.address, server.client.key
        tokenizer = smollm2.load_tokenizer()
        ours = TokenRuntime(server, tokenizer, smollm2, 2).score(request, items, **ask)
        with connected(address, key=key) as found:
            theirs = found.runtime(smollm2).score(request, items, **ask)
    assert np.abs(ours.logits - theirs.logits).max() <= 1e-3 + 2 * found.test.noise


def test_a_model_that_comes_from_no_gguf_file_is_refused(tiny_decoder, tmp_path):
    source = ModelSource("tiny", "causal-lm", str(tiny_decoder))
    with pytest.raises(InputError, match=r"convert_hf_to_gguf\.py"):
        write_gguf(source, None, tmp_path / "x.gguf")


def test_a_cache_type_that_llama_cpp_does_not_have_is_refused():
    with pytest.raises(InputError, match="q8_0"):
        LlamaOptions(kv="int3")
