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
        "evidence.json",
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


def test_results_that_are_read_again_give_the_same_files(tmp_path):
    held = document([row("fp32", outcome=""), row()])
    write(tmp_path / "first", held)
    write(tmp_path / "again", read_results(tmp_path / "first" / "results.json"))
    for name in ("leaderboard.csv", "report.html", "leaderboard.md", "comment.md"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "first" / name).read_bytes(), name


def test_a_name_is_no_formula_in_a_spreadsheet():
    (line,) = csv.DictReader(io.StringIO(csv_table([row(model="=HYPERLINK(1)")])))
    assert line["model"] == "'=HYPERLINK(1)"


def test_a_comment_begins_with_the_verdict_and_what_failed():
    rows = merge([row("fp32", outcome=""), row(), row("gptq-int4", outcome="fail")])
    text = comment(rows)
    assert text.startswith("### Calibration after quantization: ❌ 1 of 2 gates failed\n")
    assert "1 passed, 1 failed, 0 inconclusive" in text
    assert "gptq-int4" in text
    assert text.index("gptq-int4") < text.index("<summary>1 passed</summary>") < text.index("bnb-nf4")


def test_a_comment_says_what_is_open_with_what_decides_and_what_moved_against_the_baseline():
    still, moved = row(outcome="inconclusive"), row("gptq-int4")
    still["gates"][0] |= {"items_needed": 2332, "candidate_value": 0.05, "reference_value": 0.047}
    moved["gates"][0] |= {"reference": "baseline"}
    text = comment([still, moved])
    assert "❔ nothing failed, 1 of 2 gates are inconclusive" in text
    assert "| 0.047 → 0.050 |" in text
    assert "about 2,332 items would decide it" in text
    assert text.index("Moved against the baseline") < text.index("m-t-gptq-int4-temperature")
    moved["gates"][0]["delta"] = 0.0
    assert "1 gates ask against the baseline; what passed there has not moved." in comment([moved])


def test_a_comment_folds_what_is_accepted():
    known = row(outcome="fail")
    known["gates"][0]["accepted"] = "known"
    text = comment([known, row("gptq-int4")])
    assert "✅ all 2 gates hold or are accepted (1)" in text
    assert text.index("<details><summary>1 accepted</summary>") < text.index("| known")


def comparison(name, outcome, **changes):
    gate = row(outcome=outcome)["gates"][0]
    gate |= {"n": 600, "candidate": "candidate", "reference": "reference"}
    gate |= {"reference_value": 0.04, **changes}
    return {"name": name, "n_test": 600, "level": 0.95, "gates": [gate]}


def test_a_comment_lists_the_failed_gates_on_arrays():
    text = comment([], comparisons=[comparison("test_fine", "pass"), comparison("test_`broken`", "fail")])
    assert re.search(r"\| ❌ +\| test\\_\\`broken\\` +\| ece ", text)
    assert r"| +0.003 \[-0.007, +0.013\] | +0.02" in text
    assert text.index("<summary>1 passed</summary>") < text.index("test_fine")


@pytest.mark.parametrize("name", ["test", "x" * 2000, "é" * 2000])
def test_a_comment_of_a_thousand_failures_has_at_most_20_rows_and_6_kilobytes(name):
    outcomes = ("fail", "inconclusive", "pass")
    rows = [row("gptq-int4", f"c{i}", outcome=outcomes[i % 3], cell=f"{name}{i}") for i in range(1000)]
    for each in rows[2::3]:
        each["gates"][0]["reference"] = "baseline"
    for each in rows[:100:3]:
        each["gates"][0]["accepted"] = "known"
    text = comment(rows)
    assert len(text.encode()) <= 6000
    assert sum(line.startswith(("| ❌", "| ❔", "| ✅")) for line in text.splitlines()) <= 20
    assert "more are in report.html." in text


def test_the_page_lists_gates_on_arrays(tmp_path):
    found = [comparison("test_fine", "pass"), comparison(HOSTILE, "fail", interval=[0.1, float("inf")])]
    write(tmp_path, document([], comparisons=found))
    page = html_page(read_results(tmp_path / "results.json"))
    assert "1 failed, 0 inconclusive, 1 passed, of 2 gates on arrays, records and variants." in page
    assert "<img" not in page
    assert page.index("onerror") < page.index("test_fine: Δ ece = +0.0030")
    assert "[+0.1000, +inf]" in page


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


def test_arms_that_cells_share_stand_in_the_page_once():
    one = html_page(document([row(calibrator="a")]))
    ten = html_page(document([row(calibrator=f"c{i}") for i in range(10)]))
    arms = len(json.dumps(row()["arms"]))
    assert len(ten) - len(one) < 9 * (len(json.dumps(row())) - arms)


def test_a_run_whose_tests_failed_by_an_error_does_not_say_that_no_gate_was_asked():
    text = comment([], errors=[f"test_{i}: InputError: no such file" for i in range(3)])
    assert "❌ 3 tests failed by an error" in text
    assert "- test_1: InputError: no such file" in text
    assert "no gate was asked" not in text


def test_a_report_of_a_run_with_errors_says_so_in_its_comment(tmp_path):
    write(tmp_path, document([row(outcome="fail")]) | {"errors": ["test_it: InputError: no"]})
    assert "❌ 1 test failed by an error, 1 of 1 gates failed" in (tmp_path / "comment.md").read_text()
