"""Served builds in the runner: cells, records, resuming, secrets, and what happens when a server changes."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("httpx", reason="servers are asked with httpx")
pytest.importorskip("torch", reason="models need torch")

from calbench import models, tasks
from calbench.errors import InputError, ModelLoadingForbiddenError, ServerError
from calbench.models import ModelSource
from calbench.runs import PROFILES, Runner, Selection, estimate_text, grid_of, served_estimate
from calbench.runtimes import Client, Patience
from calbench.store import Store
from calbench.tasks import Item, SequenceClassification
from tests.runtimes.conftest import bos_decoder, serve  # noqa: F401 (fixtures)

ITEMS = [Item(f"i{n:03}", f"w{n % 50 + 3} w{n % 7 + 3} w{n % 11 + 3}", n % 2) for n in range(120)]


@pytest.fixture
def asked(monkeypatch):
    task = SequenceClassification(
        "served-t",
        ("no", "yes"),
        lambda: ITEMS,
        prompt="Text: {text} Sentiment:",
        label_words=("no", "yes"),
        n_quantization=1,
    )
    tasks.registry.register("served-t")(lambda: task)
    yield task
    tasks.registry._entries.pop("served-t")


@pytest.fixture
def model(bos_decoder, asked):  # noqa: F811
    made = []

    def model(name="m", **addresses):
        builds = tuple((k, models.Address.parse(v).__str__()) for k, v in addresses.items())
        source = ModelSource(
            name,
            "causal-lm",
            str(bos_decoder),
            max_length=64,
            builds=builds,
            reference=builds[0][0],
            default_tasks=("served-t",),
        )
        models.registry.register(name)(lambda: source)
        made.append(name)
        return source

    yield model
    for name in made:
        models.registry._entries.pop(name)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(
        "calbench.runtimes._connect.Patience", lambda: Patience(seconds=60.0, n_tries=4, first_pause=0.001)
    )


def bench(tmp_path, **options):
    return Runner(Store(tmp_path), PROFILES["full"], n_resamples=200, **options)


def test_a_served_build_is_a_quantizers_peer(serve, model):  # noqa: F811
    address, _ = serve()
    model(bf16=address, awq=address + "#tiny")
    cells = grid_of(models="m", calibrators="identity").cells(Selection(), PROFILES["full"])
    assert [cell.quantizer for cell in cells] == ["bf16", "awq"]
    not_reference = grid_of(models="m", quantizers="not fp32", calibrators="identity")
    assert [c.quantizer for c in not_reference.cells(Selection(), PROFILES["full"])] == ["awq"]


def test_a_served_record_is_the_torch_runtimes(serve, model, tmp_path, bos_decoder):  # noqa: F811
    address, _ = serve()
    served = bench(tmp_path).record(model(bf16=address).id, "bf16", "served-t")
    here = ModelSource("here", "causal-lm", str(bos_decoder), max_length=64)
    models.registry.register("here")(lambda: here)
    try:
        local = bench(tmp_path).record("here", "fp32", "served-t")
    finally:
        models.registry._entries.pop("here")
    assert np.abs(served.predictions.probs - local.predictions.probs).max() < 1e-5
    assert served.provenance["self_test"]["facts"]["build"] == "vLLM 0.11.0"


def test_a_changed_build_is_another_record(serve, model, tmp_path):  # noqa: F811
    address, server = serve()
    model(bf16=address)
    first = bench(tmp_path).record("m", "bf16", "served-t").key
    server.version = "0.12.0"
    assert bench(tmp_path).record("m", "bf16", "served-t").key != first


@pytest.mark.parametrize("version", [None, "0.11.0"])  # of the server, and never of its weights
def test_a_server_is_asked_anew_after_a_while(version, serve, model, tmp_path, monkeypatch):  # noqa: F811
    address, _ = serve(version=version)
    model(bf16=address)

    def key():
        return bench(tmp_path).record("m", "bf16", "served-t").key

    at_all = key()
    monkeypatch.setenv("CALBENCH_MAX_AGE", "7")
    within = key()
    assert within == key() != at_all
    (kept,) = (tmp_path / "served").glob("*.json")
    kept.write_text(kept.read_text().replace('"since": "20', '"since": "19'))
    assert key() != within


def test_a_stored_record_is_replayed_without_the_server(serve, model, tmp_path):  # noqa: F811
    address, server = serve()
    model(bf16=address)
    first = bench(tmp_path).record("m", "bf16", "served-t").key
    server.instead = lambda path, body: (500, "{}", {})
    assert bench(tmp_path, replay=True).record("m", "bf16", "served-t").key == first
    with pytest.raises(ModelLoadingForbiddenError, match="was never asked"):
        bench(tmp_path / "other", replay=True).record("m", "bf16", "served-t")


def test_failed_requests_and_kills_change_no_bit(serve, model, tmp_path):  # noqa: F811
    address, server = serve()
    model(bf16=address)
    undisturbed = bench(tmp_path / "a").record("m", "bf16", "served-t")
    n_asked, lock, down, survived = [0], threading.Lock(), [False], [0]

    def disturbed(path, body):
        if path != "/v1/completions":
            return None
        with lock:
            n_asked[0] += 1
            n = n_asked[0]
        if n % 20 == 0:
            return 429 if n % 40 else 503, "busy", {}
        n_kept = sum(path.is_file() for path in (tmp_path / "b" / "shards").rglob("*"))
        if n_kept > survived[0]:  # it dies whenever something more was kept
            survived[0], down[0] = n_kept, True
        if down[0]:
            return 500, "dying", {}
        return None

    server.instead = disturbed
    n_kills = 0
    while True:
        try:
            disturbed_record = bench(tmp_path / "b").record("m", "bf16", "served-t")
            break
        except ServerError:
            n_kills, down[0] = n_kills + 1, False
    assert n_kills > 0
    assert disturbed_record.key == undisturbed.key
    assert disturbed_record.predictions.logits.tobytes() == undisturbed.predictions.logits.tobytes()
    assert disturbed_record.provenance["n_shards_reused"] > 0


def test_neither_key_nor_password_is_written_anywhere(serve, tmp_path, monkeypatch, asked):  # noqa: F811
    monkeypatch.setenv("CALBENCH_API_KEY", "sk-very-secret")
    address, server = serve()
    place = address.replace("http://", "http://me:hush-hush@") + "#tiny"
    with pytest.raises(InputError, match="tokenizer"):
        bench(tmp_path).record(models.named(place), "served", "served-t")
    client = Client(models.Address.parse(place), Patience(n_tries=1))
    server.instead = lambda path, body: (401, "bad key sk-very-secret for me:hush-hush", {})
    with pytest.raises(ServerError) as refused:
        client.get("./models")
    client.close()
    assert any(headers.get("Authorization") == "Bearer sk-very-secret" for headers in server.headers)
    written = "".join(p.read_text(errors="replace") for p in tmp_path.rglob("*") if p.is_file())
    told = f"{refused.value} {client!r} {models.get(place)!r} {models.registry.origin(models.named(place))}"
    assert not any(secret in written + told for secret in ("sk-very-secret", "hush-hush"))


def test_a_dry_run_counts_and_asks_nothing(serve, model, tmp_path):  # noqa: F811
    address, server = serve()
    model(bf16=address, chat=f"{address}/chat/completions#tiny")
    cells = grid_of(models="m", calibrators="identity").cells(Selection(), PROFILES["full"])
    by_tokens, by_chat = served_estimate(cells, PROFILES["full"])
    assert by_tokens.n_requests == 2 * by_chat.n_requests  # a request for each label word
    assert by_tokens.n_tokens > by_chat.n_requests * 4
    assert not server.asked
    assert "nothing was asked" in estimate_text([by_tokens, by_chat])


def test_a_chat_is_a_build_like_any_other(serve, model, tmp_path):  # noqa: F811
    address, _ = serve()
    model(bf16=f"{address}/chat/completions#tiny")
    record = bench(tmp_path).record("m", "bf16", "served-t")
    assert record.provenance["self_test"]["facts"]["runtime"] == "chat"
    assert record.provenance["engine"] == "chat"


@pytest.mark.parametrize("command", ["check", "recommend"])
def test_served_builds_are_checked_and_recommended(serve, model, tmp_path, command):  # noqa: F811
    from typer.testing import CliRunner

    from calbench.cli import app

    address, _ = serve()
    model(bf16=address, awq=address + "#tiny")
    options = ["--store", str(tmp_path), "--profile", "full", "--n-resamples", "100"]
    done = CliRunner().invoke(app, [command, "m", "served-t", *options])
    assert done.exit_code == 0, done.output
    assert {"check": "kept: awq", "recommend": "recommended: awq"}[command] in done.output


def test_a_budget_of_memory_means_nothing_to_served_builds(serve, model, tmp_path):  # noqa: F811
    from calbench.studies import compressions, recommended

    address, _ = serve()
    model(bf16=address, awq=address + "#tiny")
    found = list(compressions(bench(tmp_path), "m", "served-t", ["awq"], seed=42))
    with pytest.raises(InputError, match="leave the budget out"):
        recommended(found, budget_bytes=2**30)
