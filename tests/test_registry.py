"""Names, specs, selections, collisions and entry points."""

from __future__ import annotations

import re
from functools import partial
from importlib import metadata

import pytest

from calbench import calibrators, metrics, models, tasks
from calbench.errors import BrokenPluginError, CalbenchError, DuplicateNameError, InputError, UnknownNameError
from calbench.registry import Registry, Spec
from calbench.selection import Patterns, select, split_patterns


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


@pytest.mark.parametrize(
    ("registry", "text", "canonical"),
    [
        (calibrators.registry, "temperature[min_temperature=0.001]", "temperature"),
        (calibrators.registry, "temperature[min_temperature=1e-3,max_temperature=50]", None),
        (calibrators.registry, "histogram[ strategy=quantile, n_bins=10 ]", "histogram[n_bins=10]"),
        (calibrators.registry, "pacs[alpha=1]", "pacs"),
        (calibrators.registry, "pacs[alpha=fitted]", "pacs[alpha=fitted]"),
        (models.registry, "minilm[]", "minilm"),
    ],
)
def test_two_spellings_of_one_component_are_one_id(registry, text, canonical):
    found = registry.bind(text)[1]
    assert found == (canonical or "temperature[max_temperature=50]")
    assert registry.bind(found)[1] == found


def test_a_tasks_own_settings_are_left_out_of_its_id():
    assert tasks.get("piqa[rule=mean-per-byte]").id == tasks.get("piqa").id
    assert tasks.get("piqa[n_shots=2,rule=sum]").id == tasks.get("piqa[rule=sum, n_shots=02]").id


@pytest.mark.parametrize(
    ("get", "text", "message"),
    [
        (
            calibrators.get,
            "temperature[min_temperature=abc]",
            "min_temperature in .*'abc' is not a finite",
        ),
        (calibrators.get, "temperature[min_temperature=nan]", "'nan' is not a finite number"),
        (calibrators.get, "histogram[strategy=best]", "strategy in .*'best' is not 'quantile' or 'uniform'"),
        (calibrators.get, "pacs[alpha=much]", "'much' is not a finite number or 'fitted'"),
        (calibrators.get, "histogram[n_bins=1.5]", "'1.5' is not a whole number"),
        (models.get, "minilm[bits=4]", "minilm takes no arguments, but 'minilm.bits=4.' gives 'bits'"),
    ],
)
def test_a_wrong_value_is_named_with_its_argument_and_what_is_allowed(get, text, message):
    with pytest.raises(InputError, match=message):
        get(text)


def test_a_selection_spells_ids_with_arguments_one_way_and_leaves_them_out_by_their_name():
    spell = lambda name: calibrators.registry.bind(name)[1]  # noqa: E731
    known = ("histogram", "temperature")
    pick = partial(select, known, kind="calibrator", canonical=spell)
    assert pick("histogram[n_bins=15], histogram[n_bins=5]") == ("histogram", "histogram[n_bins=5]")
    assert pick("histogram[n_bins=5], temperature, not histogram") == ("temperature",)
    assert pick(["histogram[n_bins=5]", "not histogram[n_bins=5,strategy=quantile]"]) == ()
    assert pick("not temperature", start=["temperature", "histogram[n_bins=5]"]) == ("histogram[n_bins=5]",)


def test_a_name_is_picked_by_the_same_rules_where_nothing_is_registered():
    patterns = Patterns.read("bnb-*, not bnb-nf4")
    assert patterns.picks("bnb-int8")
    assert not patterns.picks("bnb-nf4")
    assert not patterns.picks("fp32")
    assert Patterns.read("not fp32").picks("bnb-nf4[skip=a]")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ECE", "did you mean 'ece' or"),
        ("acc", "did you mean 'accuracy'?"),
        ("auroc", "did you mean 'auroc_confidence' or"),
        ("ece[n_bin=3]", "no argument of ece is called 'n_bin'; did you mean 'n_bins'?"),
        ("ece[bit=3]", "there are min_count, n_bins, norm, strategy"),
    ],
)
def test_what_is_suggested_is_near_in_letters_or_holds_what_was_written(name, hint):
    with pytest.raises(CalbenchError, match=re.escape(hint)):
        metrics.get(name)
