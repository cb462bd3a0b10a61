"""Which cells a grid and a command line pick."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from calbench.errors import InputError, UnknownNameError
from calbench.runs import PROFILES, Cell, Selection, Turns, grid_of
from calbench.runs._cells import DEFAULT_QUANTIZERS

ONE = {"models": "minilm", "tasks": "tweets", "calibrators": "temperature"}


def quantizers(command_line=None, **grid):
    picked = grid_of(**{**ONE, **grid}).cells(
        Selection(quantizers=tuple(command_line.split(",")) if command_line else None), PROFILES["default"]
    )
    return tuple(dict.fromkeys(cell.quantizer for cell in picked))


def test_the_default_set_comes_from_many_bits_to_few():
    assert quantizers() == DEFAULT_QUANTIZERS


def test_a_grid_that_excludes_narrows_the_default_set():
    assert quantizers(quantizers="not fp32") == DEFAULT_QUANTIZERS[1:]


def test_a_grid_that_names_picks_from_everything():
    assert quantizers(quantizers="bf16, fp32") == ("fp32", "bf16")
    assert set(quantizers(quantizers="all")) > set(DEFAULT_QUANTIZERS)


def test_the_command_line_narrows_a_grid_that_names():
    assert quantizers("bnb-nf4,gptq-int4", quantizers="bnb-*") == ("bnb-nf4",)


def test_the_command_line_chooses_where_the_grid_leaves_open():
    assert quantizers("bf16") == ("bf16",)
    assert quantizers("bf16,fp32", quantizers="not fp32") == ("bf16",)
    assert quantizers("not gptq-int4") == DEFAULT_QUANTIZERS[:-1]


def test_arguments_are_part_of_the_id_and_spelled_one_way():
    assert quantizers("bnb-nf4[ double_quant=true ]") == quantizers("bnb-nf4[double_quant=true]")


def test_each_model_has_tasks_of_its_own():
    cells = grid_of(calibrators="identity", quantizers="fp32").cells(Selection(), PROFILES["default"])
    tasks = {model: {c.task for c in cells if c.model == model} for model in ("minilm", "smollm2")}
    assert tasks == {"minilm": {"amazon", "movie", "nyt", "tweets"}, "smollm2": {"amazon", "tweets"}}
    quick = grid_of(calibrators="identity", quantizers="fp32").cells(Selection(), PROFILES["quick"])
    assert len(quick) == 2


@pytest.mark.parametrize("axis", ["models", "tasks", "quantizers", "calibrators"])
def test_unknown_ids_are_refused(axis):
    with pytest.raises(UnknownNameError, match=r"no \w+ is called 'nonsense'"):
        grid_of(**{axis: "nonsense"}).cells(Selection(), PROFILES["quick"])


def test_unknown_arguments_are_refused():
    with pytest.raises(InputError, match="nonsense"):
        quantizers("bnb-nf4[nonsense=1]")


def test_cells_of_one_quantized_model_stand_together():
    cells = grid_of(models="minilm", calibrators="identity,temperature").cells(
        Selection(), PROFILES["default"]
    )
    runs = [(c.model, c.quantizer) for c in cells]
    assert len(dict.fromkeys(runs)) == sum(a != b for a, b in zip(runs, [None, *runs], strict=False))


def test_cell_id():
    assert Cell("smollm2", "tweets", "gptq-int4", "temperature").id == "smollm2-tweets-gptq-int4-temperature"


@pytest.mark.parametrize(
    ("profile", "n_items", "sizes"),
    [("default", 6000, (900, 1300)), ("default", 1100, (450, 650)), ("full", 1000, (400, 600))],
)
def test_profile_sizes(profile, n_items, sizes):
    assert PROFILES[profile].sizes("sequence-classification", n_items) == sizes


def test_a_plain_id_stands_for_all_its_arguments():
    assert quantizers("gptq-int4[group_size=32]", quantizers="gptq-*") == ("gptq-int4[group_size=32]",)
    assert quantizers("gptq-int4[group_size=32],bnb-nf4", quantizers="not gptq-int4") == ("bnb-nf4",)


def test_what_a_grid_names_by_default_is_replaced_by_the_command_line():
    grid = grid_of(
        models="minilm", calibrators="identity", by_default={"tasks": "tweets", "quantizers": "bnb-nf4"}
    )

    def picked(**command_line):
        cells = grid.cells(Selection(**command_line), PROFILES["default"])
        return {(cell.task, cell.quantizer) for cell in cells}

    assert picked() == {("tweets", "bnb-nf4")}
    assert picked(tasks=("nyt", "movie")) == {("nyt", "bnb-nf4"), ("movie", "bnb-nf4")}
    assert picked(quantizers=("bnb-fp4",)) == {("tweets", "bnb-fp4")}


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("default", [("minilm", "tweets"), ("smollm2", "tweets"), ("smollm2", "siqa")]),
        ("quick", [("minilm", "tweets"), ("smollm2", "tweets")]),
    ],
)
def test_a_model_gets_the_default_tasks_that_it_can_be_asked(profile, expected):
    grid = grid_of(calibrators="identity", by_default={"tasks": "tweets,siqa", "quantizers": "fp32"})
    assert [(c.model, c.task) for c in grid.cells(Selection(), PROFILES[profile])] == expected


def test_a_model_that_no_default_task_fits_gets_its_own():
    grid = grid_of(calibrators="identity", by_default={"tasks": "tweets,siqa", "quantizers": "fp32"})
    cells = grid.cells(Selection(models=("minilm", "finbert")), PROFILES["default"])
    assert {(c.model, c.task) for c in cells} == {("minilm", "tweets"), ("finbert", "financial-sentiment")}


def test_a_model_without_any_task_keeps_those_that_say_why(monkeypatch):
    monkeypatch.setattr("calbench.runs._cells._can_be_asked", lambda model, task: False)
    monkeypatch.setattr(
        "calbench.runs._cells.models.get", lambda name: SimpleNamespace(default_tasks=(), builds=())
    )
    grid = grid_of(models="minilm", by_default={"tasks": "siqa", "quantizers": "fp32"})
    assert {c.task for c in grid.cells(Selection(), PROFILES["default"])} == {"siqa"}


def test_a_default_of_an_axis_that_does_not_exist_is_refused():
    with pytest.raises(UnknownNameError, match="no axis of a grid is called 'task'; did you mean 'tasks'"):
        grid_of(by_default={"task": "tweets"})


def test_a_chat_holds_for_every_task_of_a_causal_model_and_for_no_head():
    grid = grid_of(models="minilm,smollm2", tasks="tweets,siqa", quantizers="fp32", calibrators="identity")
    asked = Selection(turns=Turns("Be brief, please", multiturn=True))
    cells = [(c.model, c.task) for c in grid.cells(asked, PROFILES["default"])]
    assert ("minilm", "tweets") in cells
    assert ("smollm2", 'tweets[chat="Be brief, please"]') in cells
    assert ("smollm2", 'siqa[chat="Be brief, please",multiturn=true]') in cells
    assert all(grid.names("tasks", task, asked) for _, task in cells)


def test_what_a_task_says_of_turns_stays():
    grid = grid_of(models="smollm2", tasks="siqa[chat=false]", quantizers="fp32", calibrators="identity")
    (cell,) = grid.cells(Selection(turns=Turns("true")), PROFILES["default"])
    assert cell.task == "siqa[chat=false]"
