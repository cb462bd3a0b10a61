import pytest

from calbench.errors import InputError
from calbench.quantizers import QuantizationSamples, get, identity


def test_the_hash_depends_on_order_and_boundaries():
    rows = [((1, 2), (3,)), ((3,), (1, 2)), ((1,), (2, 3))]
    assert len({QuantizationSamples(r).hash for r in rows}) == 3


@pytest.mark.parametrize(
    ("rows", "message"), [((), "no quantization samples"), (((1,), ()), "sample 1"), (((-1,),), "start at 0")]
)
def test_unusable_samples_are_refused(rows, message):
    with pytest.raises(InputError, match=message):
        QuantizationSamples(rows)


def test_texts_are_cut_to_the_maximal_length():
    def tokenizer(texts, *, truncation, max_length):
        return {"input_ids": [[ord(c) for c in text][: max_length if truncation else None] for text in texts]}

    assert QuantizationSamples.from_texts(tokenizer, ["abc", "d"], max_length=2).token_ids == (
        (97, 98),
        (100,),
    )


def test_identity_counts_only_the_samples_that_are_read(decoder, samples):
    few, all_ = get("gptq-int4[n_samples=16]"), samples
    assert identity(few, decoder, samples=all_, seed=0) == identity(
        few, decoder, samples=all_.take(20), seed=0
    )
    assert identity(get("bnb-nf4"), decoder, samples=all_, seed=0)["samples"] is None


def test_identity_ignores_the_seed_of_a_deterministic_quantizer(decoder, samples):
    gptq = get("gptq-int4")
    assert identity(gptq, decoder, samples=samples, seed=1) == identity(
        gptq, decoder, samples=samples, seed=2
    )


def test_identity_holds_the_values_of_defaults_too(decoder, samples):
    """Else a checkpoint made under another default would be taken for this one."""
    facts = identity(get("gptq-int4"), decoder, samples=samples, seed=0)
    assert facts["arguments"]["act_order"] is True
    assert facts["arguments"]["group_size"] == 64
    assert {"torch", "transformers"} <= set(facts["versions"])


def test_a_release_alone_remakes_no_checkpoint(decoder, samples, monkeypatch):
    before = identity(get("gptq-int4"), decoder, samples=samples, seed=0)
    monkeypatch.setattr("calbench._version.__version__", "99.0")
    monkeypatch.setattr("calbench.__version__", "99.0")
    assert identity(get("gptq-int4"), decoder, samples=samples, seed=0) == before
    assert "99.0" not in str(before)


def test_too_few_samples_are_refused_not_padded(decoder, samples):
    with pytest.raises(InputError, match=r"128 quantization samples are wanted but there are 5.*n_samples=5"):
        identity(get("gptq-int4"), decoder, samples=samples.take(5), seed=0)


def test_missing_samples_are_refused(decoder):
    with pytest.raises(InputError, match="reads 128 quantization samples"):
        identity(get("gptq-int4"), decoder, samples=None, seed=0)
