"""Decision servers: an outside mock that keeps their specification, clean and under each of its faults."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("httpx", reason="servers are asked with httpx")

from calbench.errors import CalbenchError, InputError, ServerError, UnanswerableError
from calbench.inference import NoShards
from calbench.models import Address, ModelSource
from calbench.runtimes import Patience, SystemOneServer, connected
from calbench.runtimes._systemone import check_answer
from calbench.tasks import Decision, Item, SequenceClassification

QUICK = Patience(seconds=20.0, n_tries=2, first_pause=0.001)
SOURCE = ModelSource("d", "causal-lm", "", builds=(("served", "http://127.0.0.1/v1/systemone"),))
ITEMS = [Item(f"i{n}", f"Ticket {n}: my card was charged twice.", n % 2) for n in range(6)]


def decision(**fields):
    return Decision("triage", lambda: ITEMS, "Which team should answer?", **fields)


TASKS = {
    "choice": decision(options={"Billing": "Payments", "Größe": None, "other": "The rest"}),
    "score": decision(levels=("It can wait", "This week", "Today")),
    "noul": decision(yes="Money is asked for"),
}
# What each fault of the mock breaks is nothing that is read, or asked; or it is refused, by these words.
RIGHT = {
    "plain-content-type",
    "models-404",
    "auth-rejects-header",
    "auth-plain",
    "auth-invalid-403-text",
    "text-errors",
    "reject-array-state",
    "reject-jev-latest",
    "first-question-only",
    "strict-ids",
    "forbid-extra",
    "string-only-text",
    "noul-needs-instructions",
    "cap-64",
    "cap-5-levels",
    "accept-map-score",
    "no-usage",
    "float-usage",
    "extra-answer",
    "nan",
    "unprefixed-extra",
    "choice-no-confidence",
    "score-no-legend",
    "score-argmax",
    "confidence-over",
    "confidence-margin",
    "500-on-unknown-type",
    "accept-boolean",
    "validation-400",
    "error-flat",
    "id-leaks",
    "batch-leaks",
    "order-leaks",
}
REFUSED = {
    "wrong-route": ("choice", "answers 404"),
    "xssi-200": ("choice", "sends no JSON"),
    "auth-x-api-key": ("choice", "Must supply an API key"),
    "nfd-keys": ("choice", "probabilities are given of"),
    "noul-two-sided": ("noul", "answers 422"),
    "no-null-description": ("choice", "answers 422"),
    "boolean-type": ("noul", "answered with type 'boolean'"),
    "noul-range": ("noul", "which is none"),
    "choice-key-case": ("choice", "probabilities are given of"),
    "choice-sum": ("choice", "sum to"),
    "choice-second": ("choice", "the server chooses"),
    "legend-1-based": ("score", "the legend is"),
    "score-keys-1-based": ("score", "probabilities are given of"),
    "score-sum": ("score", "sum to"),
}


def asked(servers, fault, task, monkeypatch=None):
    key = "right" if fault.startswith("auth-") else None
    place = Address.parse(f"{servers[fault]}/v1/systemone#mock")
    with connected(place, patience=QUICK, key=key if fault != "auth-rejects-header" else None) as found:
        runtime = found.runtime(SOURCE)
        items = task.dataset.items
        return runtime.score(
            task.request(SOURCE), items, shards=NoShards(), on_progress=lambda *_: None
        ).logits


def test_the_faults_are_those_of_the_mock(servers):
    assert set(servers) == {"", *RIGHT, *REFUSED}
    assert len(servers) == 1 + 47


@pytest.mark.parametrize("kind", TASKS)
def test_a_clean_server_gives_distributions(servers, kind):
    logits = asked(servers, "", TASKS[kind])
    assert logits.shape == (len(ITEMS), len(TASKS[kind].classes))
    assert np.exp(logits.astype(float)).sum(axis=1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("fault", sorted(RIGHT))
def test_a_fault_in_what_is_not_read_changes_no_number(servers, fault):
    for kind, task in TASKS.items():
        if fault not in ("id-leaks", "batch-leaks", "order-leaks"):
            assert asked(servers, fault, task).tobytes() == asked(servers, "", task).tobytes(), kind
        else:  # each question is asked alone, first and by one name: what leaks is the same for all
            assert asked(servers, fault, task).tobytes() == asked(servers, fault, task).tobytes(), kind


@pytest.mark.parametrize("fault", sorted(REFUSED))
def test_a_fault_in_what_is_read_is_refused(servers, fault):
    kind, reason = REFUSED[fault]
    with pytest.raises(CalbenchError, match=reason):
        asked(servers, fault, TASKS[kind])


class Unrepeatable:
    """Tells other probabilities at every second question."""

    n_asked = 0

    def __call__(self, path, value):
        self.n_asked += 1
        return moved(value) if self.n_asked % 2 else value


class Renamed:
    """Answers each question as another model."""

    n_asked = 0

    def __call__(self, path, value):
        self.n_asked += 1
        return {**value, "model": f"model-{self.n_asked}"} if "answers" in value else value


def moved(value):
    """The same answers, a fifth of the way towards equal probabilities: nothing else in them changes."""
    for answer in value.get("answers", {}).values():
        told = answer.get("probabilities")
        if isinstance(told, dict):
            answer["probabilities"] = {key: 0.8 * p + 0.2 / len(told) for key, p in told.items()}
    return value


def without_state(path, body):
    return {**body, "state": "nothing"} if "state" in body else body


def mixed_up():
    from tests.runtimes.crowds import Crowd

    mixed = Crowd(lambda value, crowded: moved(value) if crowded else value)
    return {"answer": mixed.answer}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (lambda: {"answer": Unrepeatable()}, "the same question gets probabilities that differ"),
        (mixed_up, "it mixes them up"),
        (lambda: {"request": without_state}, "the state is not read"),
        (lambda: {"answer": Renamed()}, "three questions are answered by different models"),
    ],
    ids=["unrepeatable", "mixed up", "state", "models"],
)
def test_a_fault_planted_between_here_and_the_server_is_found(servers, changes, reason):
    pytest.importorskip("torch", reason="models of the test servers need torch")
    from calbench.runtimes._http import Client
    from tests.runtimes.completions_server import Proxy, listening

    proxy = Proxy(Client(Address.parse(servers[""]), QUICK, None), **changes())
    with (
        listening(proxy) as address,
        connected(Address.parse(f"{address}/v1/systemone#mock"), patience=QUICK) as found,
    ):
        assert reason in (found.test.refusal or "nothing was found")


def test_a_changed_order_of_options_is_asked_and_read_by_name(servers):
    given, shuffled = (
        asked(servers, "", decision(options=TASKS["choice"].options, order=order))
        for order in ("given", "shuffled")
    )
    assert given == pytest.approx(shuffled, abs=1e-6)  # the mock's model knows no order


def test_items_have_orders_of_their_own_and_always_the_same():
    request = decision(options={"a": None, "b": None, "c": None, "d": None}, order="shuffled").request(SOURCE)
    orders = [tuple(request.question(item)["criteria"]) for item in ITEMS]
    assert len(set(orders)) > 1
    assert orders == [tuple(request.question(item)["criteria"]) for item in ITEMS]


def test_a_model_that_changes_in_the_middle_is_refused(servers):
    place = Address.parse(f"{servers['']}/v1/systemone#mock")
    with connected(place, patience=QUICK) as found:
        other = SystemOneServer(found.server.client, "mock", served="another")
        with pytest.raises(ServerError, match="was 'another' in the self-test"):
            other.ask("state", {"type": "noul", "instructions": "Is it?"})


def test_which_model_is_meant_must_be_said_where_there_are_several(servers):
    place = Address.parse(f"{servers['']}/v1/systemone")
    with (
        pytest.raises(InputError, match="serves jev-latest, mock; say which"),
        connected(place, patience=QUICK),
    ):
        pass


def test_what_is_no_decision_is_not_asked(servers):
    words = SequenceClassification(
        "w", ("no", "yes"), lambda: ITEMS, prompt="{text}", label_words=("no", "yes")
    )
    with pytest.raises(UnanswerableError, match='kind = "decision"'):
        words.request(SOURCE)
    with pytest.raises(UnanswerableError, match="/v1/systemone"):
        TASKS["noul"].request(ModelSource("m", "causal-lm", ""))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"type": "choice", "probabilities": {"a": float("nan"), "b": 0.5}}, "is nan"),
        ({"type": "choice", "probabilities": {"a": None, "b": 0.5}}, "is None"),
        ({"type": "choice", "probabilities": {"a": True, "b": 0.0}}, "is True"),
        ({"type": "choice", "probabilities": {"a": 0.6, "b": 0.402}}, r"sum to 1\.0020"),
        ({"type": "choice", "probabilities": {"a": 1.0}}, "were asked of"),
        ({"type": "choice", "probabilities": [0.5, 0.5]}, "were asked of"),
        ({"type": "choice", "choice": "c", "probabilities": {"a": 0.6, "b": 0.4}}, "chooses 'c'"),
    ],
)
def test_an_answer_that_is_no_distribution_is_refused(answer, reason):
    with pytest.raises(ServerError, match=reason):
        check_answer(answer, {"type": "choice", "criteria": {"a": None, "b": None}})
