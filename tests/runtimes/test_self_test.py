"""Each fault that a server may have is planted in one, and found before the first item."""

from __future__ import annotations

import pytest

pytest.importorskip("httpx", reason="servers are asked with httpx")
pytest.importorskip("torch", reason="models need torch")

from calbench.errors import InputError, ServerError
from calbench.models import Address
from calbench.runtimes import OpenAIServer, Patience, connected

QUICK = Patience(seconds=60.0, n_tries=2, first_pause=0.001)


@pytest.fixture
def tokenizer(bos_decoder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(bos_decoder)


@pytest.fixture
def learn(serve, tokenizer):
    def learn(*faults, **options):
        address, _ = serve(*faults, **options)
        with connected(Address.parse(address), tokenizer=tokenizer, patience=QUICK) as found:
            return found

    return learn


def outcome(test, name):
    return next(check.outcome for check in test.checks if check.name == name)


def test_a_faithful_server_passes(learn):
    found = learn()
    assert found.test.refusal is None
    assert found.test.noise == 0
    assert found.test.facts["way"] == "prompt_logprobs"
    assert found.test.facts["build"] == "vLLM 0.11.0"
    assert found.context == 128


def test_noise_that_only_prompts_as_long_as_items_have_is_measured_and_refuses_nobody(learn):
    """Kernels round otherwise in another batch: one number in many moves, by less than a nat."""
    found = learn("rounds-long-prompts")
    assert found.test.refusal is None
    assert found.test.noise == pytest.approx(0.3)
    assert found.test.to_dict()["noise_floor"] == pytest.approx(1.2)


def test_a_server_without_prompt_logprobs_is_asked_by_echo(learn):
    found = learn(without=("prompt_logprobs",))
    assert found.test.refusal is None
    assert found.test.facts["way"] == "echo"


def test_a_server_that_tells_its_whole_vocabulary_sums_to_one(learn):
    found = learn(max_logprobs=1000)
    assert outcome(found.test, "sum") == "ok"


def test_a_bos_of_the_servers_own_is_settled_by_leaving_ours_out(learn):
    found = learn("adds-bos")
    assert found.test.refusal is None
    assert found.server.own_bos == 2
    assert found.test.facts["way"].endswith("without BOS")


def test_generated_log_probabilities_may_be_processed_where_those_of_prompts_are_read(learn):
    found = learn("generated-processed")
    assert found.test.refusal is None
    assert outcome(found.test, "generated log-probabilities") == "noted"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("another-tokenizer", "name the tokenizer that belongs to the model"),
        ("prompt-processed", "--logprobs-mode raw_logprobs"),
        ("penalised", "change with a penalty"),
        ("off-by-one", "off by one place"),
        ("floor", "floored, not told"),
        ("unrepeatable", "the same prompt gives log-probabilities that differ"),
        ("reads-no-context", "does not read the context"),
        ("mixed-up", "it mixes them up"),
        ("miscounted", "token ids are counted as"),
        ("other-names", "which log-probability belongs to which token"),
        ("null", "is None"),
        ("nan", "is nan"),
    ],
)
def test_a_planted_fault_is_found(learn, fault, reason):
    assert reason in (learn(fault).test.refusal or "nothing was found")


def test_a_bos_that_the_models_tokenizer_does_not_add_is_found(learn, tokenizer):
    tokenizer.bos_token = None
    assert "switch that off (add_special_tokens" in (learn("adds-bos").test.refusal or "nothing was found")


def test_ignored_echo_is_found(learn):
    found = learn("echo-ignored", without=("prompt_logprobs",))
    assert "no log-probabilities of a prompt" in (found.test.refusal or "")


def test_probabilities_that_sum_to_more_than_one_are_found(learn):
    found = learn("unnormalised", max_logprobs=1000)
    assert "sum to" in (found.test.refusal or "")


def test_a_refused_server_gives_no_runtime(learn):
    found = learn("off-by-one")
    with pytest.raises(InputError, match="cannot be trusted"):
        found.runtime(None)


def test_a_wrong_model_is_answered_with_those_that_there_are(serve, tokenizer):
    address, _ = serve()
    with (
        pytest.raises(InputError, match="serves tiny, and not 'llama'"),
        connected(Address.parse(address + "#llama"), tokenizer=tokenizer, patience=QUICK),
    ):
        pass


def test_a_server_whose_tokenizer_cannot_be_asked_for_needs_one_named(serve):
    address, _ = serve()
    with (
        pytest.raises(InputError, match="tokenizer = 'org/name'"),
        connected(Address.parse(address), patience=QUICK),
    ):
        pass


def test_no_server_is_one_clear_line(tokenizer):
    with (
        pytest.raises(ServerError, match="is it running"),
        connected(Address.parse("http://127.0.0.1:9/v1"), tokenizer=tokenizer, patience=QUICK),
    ):
        pass


def test_log_probabilities_are_those_of_the_model(serve, tokenizer):
    import torch

    address, server = serve()
    with connected(Address.parse(address), tokenizer=tokenizer, patience=QUICK) as found:
        told = found.server.log_probs([2, 5, 6], [7, 8])
    rows = torch.log_softmax(server.logits([2, 5, 6, 7, 8]), -1)
    assert isinstance(found.server, OpenAIServer)
    assert told == pytest.approx([float(rows[2, 7]), float(rows[3, 8])], abs=1e-9)
