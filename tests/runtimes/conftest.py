"""A tiny decoder whose tokenizer puts a BOS first, and servers over it."""

from __future__ import annotations

from contextlib import ExitStack

import pytest


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
