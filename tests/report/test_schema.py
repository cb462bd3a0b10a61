"""Results are checked when they are read: old ones are brought up to date, newer ones refused."""

from __future__ import annotations

import json
import math
import re

import pytest

from calbench.errors import InputError
from calbench.gates._decision import LookTaken
from calbench.report import combined, markdown, merge, read_results, schema, write_json
from calbench.report._format import Results, Row
from calbench.report._results import SCHEMA
from calbench.report._schema import checked
from tests.report.rows import document, row

FORMS = schema()["$defs"]


@pytest.fixture
def saved(tmp_path):
    def save(contents):
        path = tmp_path / "results.json"
        path.write_text(json.dumps(contents))
        return path

    return save


def test_a_document_fits_the_published_schema():
    checked(document([row("fp32"), row()]), Results, "results")


def test_looks_at_later_parts_of_the_items_are_read_as_they_were_written(saved):
    taken = row()
    looks = [LookTaken(40, 40, 0.96, "pass", (("a" * 64, "b" * 64),)).to_plain()]
    taken["gates"][0]["looks"] = looks
    assert read_results(saved(document([taken])))["cells"][0]["gates"][0]["looks"] == looks


def test_an_older_file_is_refused_by_its_format_and_says_how_to_write_it_anew(saved):
    with pytest.raises(InputError, match=r"in format 2, .* reads format 3; write it anew .*replay"):
        read_results(saved(document([row()], schema=2)))


def test_a_path_may_be_text(saved):
    assert read_results(str(saved(document([row()]))))["cells"][0]["model"] == "m"


@pytest.mark.parametrize(
    "field", [*FORMS["Row"]["required"], *(f"gates.{name}" for name in FORMS["Gate"]["required"])]
)
def test_a_field_that_is_missing_is_named_with_its_file_and_cell(saved, field):
    part, _, name = field.rpartition(".")
    broken = document([row("fp32"), row()])
    cell = broken["cells"][1]
    del (cell[part][0] if part else cell)[name]
    place = f"cells[1].{'gates[0].' if part else ''}{name}"
    about = "" if field == "cell" else " (m-t-bnb-nf4-temperature)"
    with pytest.raises(InputError, match=re.escape(f"results.json.{place}{about}: Field required")):
        read_results(saved(broken))


@pytest.mark.parametrize(
    ("arm", "why"),
    [
        ({"value": "high", "interval": [0, 1]}, "value .*valid number"),
        ({"value": 0.1, "interval": [0.1]}, "interval"),
    ],
)
def test_a_wrong_number_is_named_by_its_arm_and_metric(saved, arm, why):
    broken = row()
    broken["arms"]["transferred"]["ece"] = arm
    with pytest.raises(InputError, match=rf"cells\[0\].arms.transferred.ece.{why}"):
        read_results(saved(document([broken])))


def test_the_published_schema_is_of_the_types_that_writers_and_readers_share():
    assert set(FORMS["Row"]["properties"]) == set(Row.__annotations__)
    assert FORMS["EstimateRow"]["properties"]["value"]["anyOf"][1] == {"enum": ["inf", "-inf", "nan"]}


def test_what_is_no_number_stays_text_where_text_belongs(saved):
    read = read_results(saved(document([row(model="nan")])))
    assert read["cells"][0]["model"] == "nan"


def test_a_newer_file_is_refused_with_advice(saved):
    with pytest.raises(InputError, match=rf"in format {SCHEMA + 1}.*pip install --upgrade calbench"):
        read_results(saved(document([row()], schema=SCHEMA + 1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": True}, "is no results file"),
        ({"schema": 0}, "in format 0, and this one .* reads format 3; write it anew"),
        ({"cells": 3}, r"results.json.cells: Input should be a valid list"),
        (
            {"cells": [row() | {"n_test": "many"}]},
            r"cells\[0\].n_test \(m-t-bnb-nf4-temperature\): Input .* integer",
        ),
        ({"records": {"a": {}}}, r"results.json.records.a.identity: Field required"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(saved, change, message):
    with pytest.raises(InputError, match=message):
        read_results(saved(document([row()]) | change))


@pytest.mark.parametrize("content", ["[]", "{}", "nonsense", "[" * 100_000])
def test_what_is_no_results_file_is_refused(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"results\.json"):
        read_results(path)


def test_infinite_numbers_come_back(tmp_path):
    infinite = row()
    infinite["arms"]["transferred"]["nll"] = {"value": math.inf, "interval": [1.0, math.inf]}
    write_json(document([infinite]), tmp_path / "results.json")
    (cell,) = read_results(tmp_path / "results.json")["cells"]
    assert cell["arms"]["transferred"]["nll"]["interval"] == [1.0, math.inf]
    assert "inf" in markdown(merge([cell]))


def test_results_of_other_cells_are_put_together():
    both = combined([document([row("fp32"), row()]), document([row(), row("bnb-int8")])])
    assert [cell["quantizer"] for cell in both["cells"]] == ["fp32", "bnb-int8", "bnb-nf4"]


def test_two_runs_of_one_cell_do_not_hide_each_other():
    first, second = document([row("fp32"), row(outcome="fail")]), document([row(outcome="pass")])
    with pytest.raises(InputError, match=r"1 cells are in two .*bnb-nf4.*: fail -> pass.*calbench report"):
        combined([first, second])


def test_two_runs_of_one_comparison_do_not_hide_each_other():
    first, second = (
        document([row()]) | {"comparisons": c}
        for c in ([{"name": "a", "gates": [1]}, {"name": "b", "gates": [2]}], [{"name": "a", "gates": [3]}])
    )
    assert len(combined([first, first])["comparisons"]) == 2
    with pytest.raises(InputError, match="the comparison a is in two of these results"):
        combined([first, second])


def test_metrics_of_two_definitions_are_not_mixed():
    other = document([row()], metrics={"ece": {"metric": "ece", "n_bins": 10}})
    with pytest.raises(InputError, match="ece is defined differently"):
        combined([document([row()]), other])
