"""Names, specs, selections, collisions and entry points."""

from __future__ import annotations

from importlib import metadata

import pytest

from calbench.errors import BrokenPluginError, DuplicateNameError, InputError, UnknownNameError
from calbench.registry import Registry, Spec, select, split_patterns


def make() -> Registry[type]:
    return Registry("gadget", "calbench.tests.none")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("fp32", "fp32"),
        (" bnb-nf4[ skip = a+b , compute_dtype=bfloat16 ]", "bnb-nf4[compute_dtype=bfloat16,skip=a+b]"),
        ("x[]", "x"),
        ('a.csv[text="{title}, [{body}]"]', 'a.csv[text="{title}, [{body}]"]'),
        ('"my [new], file.csv"[label=" a\\"b"]', '"my [new], file.csv"[label=" a\\"b"]'),
        ('"plain.csv"[n="5"]', "plain.csv[n=5]"),
    ],
)
def test_spec_has_one_canonical_spelling(text, canonical):
    spec = Spec.parse(text)
    assert spec.id == canonical
    assert Spec.parse(spec.id) == spec


@pytest.mark.parametrize("text", ["", "a[b", "a]b", "a[b]", "a[b=]", "a[=c]", "a[b=1,b=2]", "a[b=1][c=2]"])
def test_spec_refuses_what_it_cannot_read(text):
    with pytest.raises(InputError, match="id"):
        Spec.parse(text)


def test_unknown_name_suggests_the_nearest():
    registry = make()
    registry.register("temperature")(int)
    with pytest.raises(UnknownNameError, match="did you mean 'temperature'"):
        registry.get("temprature")


def test_unknown_name_lists_all_when_none_is_near():
    registry = make()
    registry.register("temperature")(int)
    with pytest.raises(UnknownNameError, match="there are temperature"):
        registry.get("zzz")


def test_two_owners_of_a_name_are_refused_and_both_named():
    registry = make()
    registry.register("a")(int)
    with pytest.raises(DuplicateNameError, match=r"builtins:int and builtins:str"):
        registry.register("a")(str)


def test_registering_the_same_thing_again_is_fine():
    registry = make()
    registry.register("a")(int)
    registry.register("a")(int)
    assert registry.names() == ("a",)


def test_bad_name_is_refused():
    with pytest.raises(InputError, match="lower-case"):
        make().register("My Method")


class Point:
    name, value = "third-party", "nowhere.at.all:Thing"
    dist = type("Distribution", (), {"name": "some-package"})

    def load(self):
        raise ImportError("nowhere")


def test_broken_plugin_is_listed_and_blamed_only_when_it_is_used(monkeypatch):
    monkeypatch.setattr(metadata, "entry_points", lambda group: [Point()])
    registry = make()
    assert registry.names() == ("third-party",)
    with pytest.raises(BrokenPluginError, match="some-package"):
        registry.get("third-party")


def test_two_packages_of_one_name_are_refused_each_time(monkeypatch):
    other = Point()
    other.value = "somewhere.else:Thing"
    monkeypatch.setattr(metadata, "entry_points", lambda group: [Point(), other])
    registry = make()
    for _ in range(2):
        with pytest.raises(DuplicateNameError, match="third-party"):
            registry.names()


KNOWN = ("fp32", "bnb-int8", "bnb-nf4", "gptq-int4")


@pytest.mark.parametrize(
    ("patterns", "picked"),
    [
        ("all", KNOWN),
        ("not fp32", KNOWN[1:]),
        ("bnb-*", ("bnb-int8", "bnb-nf4")),
        ("all, not bnb-*", ("fp32", "gptq-int4")),
        (["gptq-int4", "fp32"], ("fp32", "gptq-int4")),
    ],
)
def test_selection(patterns, picked):
    assert select(KNOWN, patterns, kind="quantizer") == picked


def test_selection_that_matches_nothing_is_refused():
    with pytest.raises(UnknownNameError, match=r"bnb-nf5.*did you mean 'bnb-nf4'"):
        select(KNOWN, "fp32,bnb-nf5", kind="quantizer")


def test_a_selection_is_not_split_inside_quotes_or_brackets():
    text = 'a, "b, [c].csv"[x="1,]",y=2], not d[e=f,g=h]'
    assert split_patterns(text) == ["a", '"b, [c].csv"[x="1,]",y=2]', "not d[e=f,g=h]"]
