"""Results are checked when they are read: old ones are brought up to date, newer ones refused."""

from __future__ import annotations

import json
import math

import pytest

from calbench.errors import InputError
from calbench.report import combined, html_page, markdown, merge, read_results, write_json
from calbench.report._results import SCHEMA
from calbench.report._schema import check
from tests.report.rows import document, row


@pytest.fixture
def saved(tmp_path):
    def save(contents):
        path = tmp_path / "results.json"
        path.write_text(json.dumps(contents))
        return path

    return save


def test_a_document_fits_the_published_schema():
    check(document([row("fp32"), row()]))


def test_an_old_file_is_read_and_can_be_reported(saved):
    old = document([row("fp32", outcome=""), row()], schema=1)
    del old["confidence_pairs"]
    for cell in old["cells"]:
        del cell["reliability"]
    read = read_results(saved(old))
    assert read["schema"] == SCHEMA
    assert "bnb-nf4" in markdown(read["cells"])
    assert "<html" in html_page(read)


def test_a_newer_file_is_refused_with_advice(saved):
    with pytest.raises(InputError, match=rf"in format {SCHEMA + 1}.*pip install --upgrade calbench"):
        read_results(saved(document([row()], schema=SCHEMA + 1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": True}, "is no results file"),
        ({"schema": 0}, "format 0 does not exist"),
        ({"cells": 3}, r"results.json.cells must be array"),
        ({"cells": [row() | {"n_test": "many"}]}, r"results.json.cells\[0\].n_test must be integer"),
        ({"records": {"a": {}}}, r"results.json.records.a must contain .*identity"),
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
