"""llama.cpp in a child process, over a GGUF file with the weights that torch has."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="models need torch")
pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")

from calbench import tasks
from calbench.errors import InputError, ServerError
from calbench.inference import NoShards
from calbench.models import ModelSource
from calbench.runtimes import (
    LlamaCppRuntime,
    LlamaOptions,
    ServedRuntime,
    TorchRuntime,
    connected,
    serving,
    write_gguf,
)
from calbench.runtimes._gguf_writing import _file_type
from calbench.runtimes._tokens import Tokenised

pytestmark = pytest.mark.embedded


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


def test_a_grammar_and_forced_tokens_agree(llama):
    context, option = [8060, 42, 339, 2606], [1035, 2731, 6392]
    walked = llama.log_probs(context, option)
    forced = [llama.log_probs([*context, *option[:i]], [token])[0] for i, token in enumerate(option)]
    assert walked == pytest.approx(forced, abs=1e-3)


def test_more_requests_than_slots_change_no_number(llama):
    """A request that names a slot, and waits for it, is answered wrongly after its first token."""
    with ThreadPoolExecutor(6) as pool:
        rows = [[*range(5 + n, 30), 8060, 42, 339 + n] for n in range(6)]
        alone = [llama.log_probs(row[:-4], row[-4:]) for row in rows]
        crowd = list(pool.map(lambda row: llama.log_probs(row[:-4], row[-4:]), rows * 4))
    assert crowd == [pytest.approx(one, abs=1e-3) for one in alone * 4]


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


def test_doctor_finds_that_a_real_llama_server_can_be_trusted(llama, monkeypatch):
    from typer.testing import CliRunner

    from calbench.cli import app

    monkeypatch.setenv("CALBENCH_API_KEY", llama.client.key)
    done = CliRunner().invoke(app, ["doctor", str(llama.client.address), "--json"])
    (test,) = json.loads(done.stdout)
    assert done.exit_code == 0
    assert {check["outcome"] for check in test["checks"]} <= {"ok", "noted"}
    assert test["facts"]["runtime"] == "llama-server"
    assert llama.client.key not in done.stdout


def test_a_server_asked_at_its_address_says_what_the_runtime_says(smollm2, llama):
    """With the server's own tokenizer, over HTTP: the very tokens and so the very numbers."""
    asked, tokenizer = tasks.get("tweets"), smollm2.load_tokenizer()
    items, request = asked.partition.evaluation[:3], asked.request(smollm2)
    ask = {"shards": NoShards(), "on_progress": lambda *_: None}
    own = ServedRuntime("llama.cpp", lambda r, i: Tokenised.of(tokenizer, smollm2, r, i).prepared(llama), 2)
    ours = own.score(request, items, **ask)
    with connected(llama.client.address, key=llama.client.key) as found:
        theirs = found.runtime(smollm2).score(request, items, **ask)
    assert np.abs(ours.logits - theirs.logits).max() <= 1e-3 + 2 * found.test.noise


@pytest.mark.parametrize(
    ("types", "named"),
    [
        ({}, "ALL_F32"),
        ({"Q4_0": 14}, "MOSTLY_Q4_0"),
        ({"Q4_K": 14}, "MOSTLY_Q4_K_S"),
        ({"Q4_K": 12, "Q6_K": 2}, "MOSTLY_Q4_K_M"),
        ({"MXFP4": 14}, "MOSTLY_MXFP4_MOE"),
    ],
)
def test_a_written_file_says_of_which_type_it_is(types, named):
    import gguf

    assert _file_type(gguf, Counter(types)) == gguf.LlamaFileType[named]


def test_a_float_file_does_not_keep_the_type_of_the_one_it_was_decoded_from(float_file):
    import gguf

    fields = gguf.GGUFReader(float_file).fields
    assert fields["general.file_type"].contents() == gguf.LlamaFileType.ALL_F32


def test_a_model_that_comes_from_no_gguf_file_is_refused(tiny_decoder, tmp_path):
    source = ModelSource("tiny", "causal-lm", str(tiny_decoder))
    with pytest.raises(InputError, match=r"convert_hf_to_gguf\.py"):
        write_gguf(source, None, tmp_path / "x.gguf")


def test_a_cache_type_that_llama_cpp_does_not_have_is_refused():
    with pytest.raises(InputError, match="q8_0"):
        LlamaOptions(kv="int3")
