from typing import Literal

import pytest

from calbench.errors import BrokenPluginError, InputError, UnknownNameError
from calbench.quantizers import get, names, quantizer, registry
from calbench.registry import Spec, arguments_of
from calbench.registry import bind as bind_arguments


def factory(
    id,  # noqa: A002
    *,
    bits: int = 4,
    damp: float = 0.01,
    sym: bool = True,
    kind: Literal["a", "b"] = "a",
    skip: tuple[str, ...] = (),
): ...


def bind(target, spec):
    return bind_arguments(spec, arguments_of(target, skip=["id"]))


def test_arguments_get_the_types_of_the_signature():
    _, values = bind(factory, Spec.parse("q[bits=3,damp=1e-1,sym=false,kind=b,skip=y+x+y]"))
    assert values == {"bits": 3, "damp": 0.1, "sym": False, "kind": "b", "skip": ("x", "y")}


def test_the_id_shows_only_what_differs_from_the_defaults():
    canonical, _ = bind(factory, Spec.parse("q[sym=TRUE, bits=8, damp=0.010]"))
    assert canonical == "q[bits=8]"


@pytest.mark.parametrize(
    "text",
    [
        *names(),
        "bnb-nf4[compute_dtype=bfloat16,double_quant=true,skip=classifier+key]",
        "gptq-int4[damp=0.05]",
    ],
)
def test_canonical_ids_round_trip(text):
    assert get(text).id == text
    assert get(get(text).id) == get(text)


def test_two_spellings_are_one_quantizer():
    assert get("bnb-int8[threshold=6]") == get("bnb-int8[ threshold = 6.0 ]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bnb-nf4[skp=x]", "did you mean 'skip'"),
        ("fp32[skip=x]", "takes no arguments"),
        ("bnb-nf4[double_quant=maybe]", "not true or false"),
        ("bnb-nf4[compute_dtype=int8]", "not 'float32' or 'bfloat16' or 'float16'"),
        ("gptq-int4[group_size=many]", "not a whole number"),
        ("gptq-int4[group_size=0]", "group_size=0"),
        ("gptq-int4[damp=nan]", "not a finite number"),
        ("gptq-int4[damp=0]", "outside"),
        ("gptq-int4[n_samples=0]", "at least one"),
        ("gptq-int4[backend=gptqmodel,act_order=false]", "leave act_order out"),
        ("bnb-int8[threshold=-1]", "negative"),
    ],
)
def test_wrong_arguments_are_refused_with_the_remedy(text, message):
    with pytest.raises(InputError, match=message):
        get(text)


def test_an_unknown_quantizer_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'bnb-nf4'"):
        get("bnb_nf4")


def test_a_factory_with_positional_parameters_is_a_broken_plugin(monkeypatch):
    names()
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    quantizer("mine")(lambda id, bits=4: (id, bits))  # noqa: A006
    with pytest.raises(BrokenPluginError, match="keyword-only"):
        get("mine")
