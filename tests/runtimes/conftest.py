"""A tiny decoder whose tokenizer puts a BOS first, and servers over it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from calbench.runtimes import _self_test, _token_test
from tests.runtimes.crowds import CrowdingPool


@pytest.fixture(autouse=True)
def _said_when_a_self_test_asks_at_once(monkeypatch):
    for module in (_self_test, _token_test):
        monkeypatch.setattr(module, "ThreadPoolExecutor", CrowdingPool)


@pytest.fixture(scope="session")
def bos_decoder(tmp_path_factory):
    pytest.importorskip("torch", reason="models need torch")
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    from tests.tiny_models import write_decoder

    folder = write_decoder(tmp_path_factory.mktemp("models") / "bos")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.bos_token = "w0"
    bos = tokenizer.convert_tokens_to_ids("w0")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="w0 $A", special_tokens=[("w0", bos)]
    )
    tokenizer.save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("w1 w2")["input_ids"][0] == bos
    return folder


@pytest.fixture
def serve(bos_decoder):
    """Start a completions server with faults; gives its address, with ``/v1``, and the server."""
    from tests.runtimes.completions_server import CompletionsServer, listening

    with ExitStack() as running:

        def serve(*faults, **options):
            server = CompletionsServer(bos_decoder, faults, **options)
            return running.enter_context(listening(server)) + "/v1", server

        yield serve


N_BLOCKS = 2


def _is_kept(name):
    block = re.search(r"(?:blk|layers)\.(\d+)\.", name)
    return block is None or int(block[1]) < N_BLOCKS


@pytest.fixture(scope="session")
def shipped_file(tmp_path_factory):
    """The first two blocks of the embedded model's file: the same tokenizer and kernels, sooner."""
    gguf = pytest.importorskip("gguf", reason="GGUF files need it")
    from calbench import models

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
        if _is_kept(tensor.name):
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(scope="session")
def smollm2(shipped_file, tmp_path_factory):
    """What the file decodes to, from the whole model's folder: decoding a vocabulary takes half a minute."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    from calbench import models
    from calbench.models import ModelSource

    whole, folder = models.get("smollm2").resolve().folder, tmp_path_factory.mktemp("hf")
    for file in whole.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": N_BLOCKS}))
    with safe_open(whole / "model.safetensors", "np") as weights:
        kept = {name: weights.get_tensor(name) for name in weights.keys() if _is_kept(name)}  # noqa: SIM118
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return ModelSource("shallow", "causal-lm", str(folder), gguf=str(shipped_file))


@pytest.fixture(scope="session")
def module(smollm2):
    return smollm2.load()


@pytest.fixture(scope="session")
def float_file(smollm2, module, tmp_path_factory):
    from calbench.runtimes import write_gguf

    file = tmp_path_factory.mktemp("gguf") / "float.gguf"
    write_gguf(smollm2, module, file)
    return file


@pytest.fixture(scope="session")
def llama(shipped_file):
    """A llama-server over the file, for every test that only asks."""
    from calbench.runtimes import LlamaOptions, serving

    with serving(shipped_file, LlamaOptions(threads=1, slots=2, context=512)) as server:
        yield server


@pytest.fixture(scope="session")
def servers():
    """The addresses of jevcompat's mock, clean and under each of its faults."""
    python = Path(__file__).parents[2] / ".venv-jevcompat" / "bin" / "python"
    if not python.is_file():
        pytest.skip("jevcompat has an environment of its own: make jevcompat")
    child = subprocess.Popen(
        [python, Path(__file__).with_name("jevcompat_servers.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield json.loads(child.stdout.readline())
    child.kill()  # an orderly end waits half a second for each of the servers
    child.communicate()
