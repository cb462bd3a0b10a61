"""Servers that answer as nobody documented: a clear line each, and nothing kept that is not whole."""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading

import pytest

pytest.importorskip("httpx", reason="servers are asked with httpx")
pytest.importorskip("torch", reason="models need torch")

from calbench.errors import CalbenchError, ServerError
from calbench.inference import NoShards
from calbench.models import Address, ModelSource
from calbench.runtimes import Client, Patience, connected
from calbench.tasks import Item, SequenceClassification

QUICK = Patience(seconds=20.0, n_tries=2, first_pause=0.001)
ITEMS = [Item(f"i{n:02}", f"w{n} w{n + 1}", 0) for n in range(40)]
TASK = SequenceClassification(
    "t", ("no", "yes"), lambda: ITEMS, prompt="{text} Sentiment:", label_words=("no", "yes"), n_quantization=0
)


class Kept(NoShards):
    """Notes what was kept."""

    def __init__(self):
        self.names = []

    def put(self, name, values):
        self.names.append(name)


@pytest.fixture
def asked(serve, bos_decoder):
    """Ask all items of a server that changes its answers after the self-test; gives what went wrong."""
    from transformers import AutoTokenizer

    def asked(change, *, path="/v1/completions", from_start=False):
        address, server = serve()
        source, kept = ModelSource("m", "causal-lm", str(bos_decoder), max_length=64), Kept()

        def instead(asked_for, body):
            if asked_for != path:
                return None
            status, value = server.answer("POST" if body else "GET", asked_for, body)
            return status, json.dumps(change(value)), {}

        server.instead = instead if from_start else server.instead
        tokenizer = AutoTokenizer.from_pretrained(bos_decoder)
        try:
            with connected(Address.parse(address), tokenizer=tokenizer, patience=QUICK) as found:
                runtime = found.runtime(source)
                server.instead = instead
                runtime.score(TASK.request(source), ITEMS, shards=kept, on_progress=lambda *_: None)
        except CalbenchError as error:
            assert not kept.names
            return str(error)
        return "nothing was found"

    return asked


def with_choice(**fields):
    def change(value):
        for choice in value.get("choices", []):
            choice.update(fields)
        return value

    return change


def with_log_prob(number):
    def change(value):
        for choice in value.get("choices", []):
            for entry in (choice.get("prompt_logprobs") or [])[1:]:
                for one in entry.values():
                    one["logprob"] = number
        return value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda value: {**value, "model": "another"},
            "in the self-test and 'another' now",
        ),
        (lambda value: {**value, "usage": {"prompt_tokens": 2}}, "tokens were sent, and the answer is to 2"),
        (lambda value: {**value, "choices": [None]}, "holds no choices"),
        (lambda value: {**value, "choices": []}, "holds no choices"),
        (lambda value: {**value, "choices": value["choices"] * 2}, "answer holds 2 choices"),
        (with_choice(prompt_logprobs=[None, [1.0], [2.0], [3.0]]), "another shape than is documented"),
        (with_choice(prompt_logprobs="many"), "prompt_logprobs has none entries"),
        (with_log_prob("-1.5"), "is '-1.5', which is none"),
        (with_log_prob(True), "is True, which is none"),
        (with_log_prob(0.4), "is 0.4, which is none"),
        (with_log_prob(float("-inf")), "is -inf, which is none"),
        (with_log_prob(-(10**400)), "another shape than is documented"),
    ],
)
def test_what_goes_wrong_in_the_middle_of_a_run_is_named(asked, change, reason):
    assert re.search(reason, asked(change))


def test_a_part_that_another_build_may_have_answered_is_not_kept(asked):
    assert "build was 'vLLM 0.11.0' and is 'vLLM 0.12.0'" in asked(
        lambda value: {"version": "0.12.0"}, path="/version"
    )


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ({"id": "tiny", "max_model_len": "many"}, "another shape than is documented"),
        ({"id": "tiny", "max_model_len": -5}, "nothing was found"),
    ],
)
def test_what_is_listed_of_a_model_is_not_trusted(asked, listed, reason):
    assert re.search(reason, asked(lambda value: {"data": [listed]}, path="/v1/models", from_start=True))


def raw_answer(*parts):
    """Give a client the address of a server that sends these bytes to each request."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                for part in parts:
                    connection.sendall(part)

    threading.Thread(target=answer, daemon=True).start()
    return listener, Address.parse(f"http://127.0.0.1:{listener.getsockname()[1]}")


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((HEAD, b'content-length: 100\r\n\r\n{"half":'), "cannot be asked"),
        ((HEAD, b'transfer-encoding: chunked\r\n\r\n8\r\n{"half":'), "cannot be asked"),
        ((HEAD, b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope"), "cannot be asked"),
        ((HEAD, b"content-length: 5\r\n\r\n\xef\xbb\xbf{}"), "sends no JSON"),
        ((b"",), "cannot be asked"),
        ((b"SSH-2.0-OpenSSH_9.6\r\n",), "cannot be asked"),
        (
            (HEAD, b"content-encoding: gzip\r\n\r\n", gzip.compress(b" " * (65 * 2**20), 1)),
            "sent more than 64 MiB",
        ),
    ],
)
def test_what_is_no_whole_answer_is_refused(parts, reason):
    listener, address = raw_answer(*parts)
    with listener:
        client = Client(address, QUICK)
        with pytest.raises(ServerError, match=reason):
            client.get("/props")
        client.close()
