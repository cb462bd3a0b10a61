"""A report's files: one page, a table, a comment that fits; hostile names are shown, not obeyed."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from calbench.report import comment, csv_table, html_page, markdown, merge, read_results, terminal, write
from tests.report.rows import document, estimate, row

HOSTILE = "</script><img src=x onerror=alert(1)>|`[x](javascript:1)\x1b[2J\n=1+1"


def test_every_file_is_written(tmp_path):
    paths = write(tmp_path / "report", document([row("fp32", outcome=""), row()]))
    assert {path.name for path in paths} == {
        "comment.md",
        "leaderboard.csv",
        "leaderboard.md",
        "report.html",
        "results.json",
    }
    assert sorted(paths) == sorted((tmp_path / "report").iterdir())
    assert read_results(tmp_path / "report" / "results.json")["cells"][1]["quantizer"] == "bnb-nf4"


def test_the_table_has_a_row_per_cell_and_a_column_per_number():
    table = list(csv.DictReader(io.StringIO(csv_table([row("fp32", outcome=""), row()]))))
    assert [line["quantizer"] for line in table] == ["fp32", "bnb-nf4"]
    assert float(table[1]["transferred.ece.high"]) == row()["arms"]["transferred"]["ece"]["interval"][1]
    assert table[1]["verdict"] == "pass"


def test_a_name_is_no_formula_in_a_spreadsheet():
    (line,) = csv.DictReader(io.StringIO(csv_table([row(model="=HYPERLINK(1)")])))
    assert line["model"] == "'=HYPERLINK(1)"


def test_a_comment_lists_the_worst_first():
    rows = merge([row("fp32", outcome=""), row(), row("gptq-int4", outcome="fail")])
    text = comment(rows)
    assert "1 failed, 0 inconclusive, 1 passed, of 3 cells, by the worst of each cell's gates." in text
    assert text.index("gptq-int4") < text.index("bnb-nf4")
    assert "fp32" not in text


def comparison(name, outcome, **changes):
    gate = row(outcome=outcome)["gates"][0]
    gate |= {"n": 600, "candidate": "candidate", "reference": "reference"}
    gate |= {"reference_value": 0.04, **changes}
    return {"name": name, "n_test": 600, "level": 0.95, "gates": [gate]}


def test_a_comment_lists_the_failed_gates_on_arrays():
    found = [comparison("test_fine", "pass"), comparison("test_`broken`", "fail", accepted="known")]
    text = comment([], comparisons=found)
    assert "1 failed, 0 inconclusive, 1 passed, of 2 gates on arrays, records and variants." in text
    assert r"* ❌ test\_\`broken\`: Δ ece = +0.0030 \[-0.0070, +0.0130\], max_increase=0.02, n = 600" in text
    assert "accepted: known" in text
    assert "test_fine" not in text
    assert "cells" not in text
    assert "of 1 cells" in comment([row()], comparisons=found)


def test_a_comment_of_a_thousand_failed_arrays_can_be_posted():
    found = [comparison(f"test_{i}" + "x" * 2000, "fail") for i in range(1000)]
    text = comment([row() for _ in range(1000)], comparisons=found)
    assert len(text) < 65_536
    assert "* 950 more are in report.html." in text


def test_the_page_lists_gates_on_arrays(tmp_path):
    found = [comparison("test_fine", "pass"), comparison(HOSTILE, "fail", interval=[0.1, float("inf")])]
    write(tmp_path, document([], comparisons=found))
    page = html_page(read_results(tmp_path / "results.json"))
    assert "1 failed, 0 inconclusive, 1 passed, of 2 gates on arrays, records and variants." in page
    assert "<img" not in page
    assert page.index("onerror") < page.index("test_fine: Δ ece = +0.0030")
    assert "[+0.1000, +inf]" in page


def test_a_comment_of_a_thousand_cells_cells_can_be_posted():
    rows = [row("gptq-int4", f"calibrator-{i}", outcome="fail") for i in range(1000)]
    text = comment(rows)
    assert len(text) < 65_536
    left_out = int(re.search(r"(\d+) more cells are in", text)[1])
    assert text.count("\n| ❌") == 1000 - left_out


def test_the_page_ends_only_where_it_should():
    page = html_page(document([row(model=HOSTILE)]), title=HOSTILE)
    assert "<img" not in page
    assert page.count("</script>") == 3
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(data)["cells"][0]["model"] == HOSTILE


def test_the_page_allows_no_request():
    page = html_page(document([row()]))
    assert "default-src 'none'" in page
    assert not re.search(r"<(?:link|img|iframe|script)[^>]*\s(?:src|href)=", page)


def test_markdown_shows_a_hostile_name_literally():
    line = next(line for line in markdown([row(HOSTILE)]).splitlines() if "img" in line)
    assert "\x1b" not in line
    assert r"\<img src=x onerror=alert(1)\>\|\`\[x\](javascript:1)" in line


def test_a_terminal_is_not_steered_by_a_name():
    from rich.console import Console

    console = Console(file=io.StringIO(), width=200)
    console.print(terminal([row(model=HOSTILE), row(calibrator=HOSTILE)]))
    shown = console.file.getvalue()
    assert "\x1b" not in shown
    assert "onerror" in shown


def test_the_page_of_a_thousand_cells_is_small():
    cells = [row("gptq-int4", f"calibrator-{i}", model=f"m{i % 10}", outcome="fail") for i in range(1000)]
    assert len(html_page(document(cells)).encode()) < 5_000_000


def test_infinite_numbers_reach_the_page():
    infinite = row()
    infinite["arms"]["transferred"]["nll"] = estimate(float("inf"), 1.0, float("inf"))
    assert '"inf"' in html_page(document([infinite]))


@pytest.mark.parametrize("name", ["plotly-basic.min.js"])
def test_the_bundled_library_is_the_pinned_one(name):
    import hashlib
    from importlib import resources

    content = resources.files("calbench.report").joinpath("assets", "vendor", name).read_bytes()
    expected = "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"
    assert hashlib.sha256(content).hexdigest() == expected
