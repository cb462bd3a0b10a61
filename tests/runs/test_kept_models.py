"""Models that a later look finds in memory: a reference and one build of it, and none that is large."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from calbench.runs._kept_models import MOST_KEPT, KeptModels


@pytest.fixture
def get():
    """Ask for models; gives what had to be loaded for it."""
    kept, loaded = KeptModels(), []

    def load(name, working_bytes):
        loaded.append(name)
        return SimpleNamespace(report=SimpleNamespace(working_bytes=working_bytes))

    def ask(model, made, working_bytes=1000):
        before = len(loaded)
        kept.get(
            model,
            made,
            lambda: load(f"{model} {made}", working_bytes),
            is_reference=made == "full",
        )
        return loaded[before:]

    ask.kept = kept
    return ask


def test_a_reference_and_a_build_of_it_stay_while_both_are_asked(get):
    assert [get("m", made) for made in ("full", "int8") * 2] == [["m full"], ["m int8"], [], []]


def test_another_build_takes_the_place_of_the_first_and_not_of_the_reference(get):
    for made in ("full", "int8", "int4"):
        get("m", made)
    assert get("m", "full") == []
    assert get("m", "int4") == []
    assert get("m", "int8") == ["m int8"]


def test_another_model_takes_the_place_of_both(get):
    for model, made in (("m", "full"), ("m", "int8"), ("other", "int8")):
        get(model, made)
    assert get("m", "full") == ["m full"]


def test_a_large_model_is_loaded_each_time_it_is_asked(get):
    assert [get("m", "full", MOST_KEPT + 1) for _ in range(2)] == [["m full"], ["m full"]]


def test_what_is_let_go_is_loaded_again(get):
    get("m", "full")
    get.kept.let_go()
    assert get("m", "full") == ["m full"]


def test_what_is_kept_can_be_told_from_what_is_not():
    kept = KeptModels()
    small, large = (SimpleNamespace(report=SimpleNamespace(working_bytes=n)) for n in (1, MOST_KEPT + 1))
    for name, model in (("small", small), ("large", large)):
        kept.get(name, "full", lambda model=model: model, is_reference=True)
        assert (model in kept) == (model is small)
