"""The page in a browser: what a reader does with a mouse, and without one."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from calbench.report import html_page
from tests.report.rows import document, estimate, row

CHROMIUM = os.environ.get("CALBENCH_CHROMIUM") or shutil.which("chromium")
HOSTILE = "<img src=x onerror=\"document.title='owned'\"> <b>b</b>"
ROW = "#leaderboard tbody tr"
FIRST = f"{ROW}:first-child button"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def write_page(folder, n_calibrators):
    """Write 40 cells a calibrator: 2 models, 5 tasks and 4 quantizers; and one with a hostile name."""
    rng = np.random.default_rng(0)
    rows = []
    for quantizer, i in product(("fp32", "bnb-int8", "bnb-nf4", "gptq-int4"), range(10 * n_calibrators)):
        outcome = "" if quantizer == "fp32" else str(rng.choice(["pass", "fail", "inconclusive"]))
        names = {"model": f"m{i % 2}", "task": f"t{i % 10 // 2}", "calibrator": f"c{i // 10:02}"}
        cell = row(quantizer, outcome=outcome, benefit=rng.normal() / 50, **names)
        cell["cell"] = f"{names['model']}-{names['task']}-{quantizer}-{names['calibrator']}"
        cell["arms"]["transferred"]["ece"] = estimate(float(rng.uniform(0.01, 0.3)))
        cell["quantization"]["resident_bytes"] = float(rng.uniform(50, 500)) * 2**20
        rows.append(cell)
    rows.append(row(model=HOSTILE, task="t0"))
    path = folder / "report.html"
    contents = document(rows, rankings=ranked([f"c{i:02}" for i in range(n_calibrators)]))
    path.write_text(html_page(contents), encoding="utf-8")
    return path


def ranked(names):
    """Return a ranking by NLL, as results hold it, in which each name may change places with the next."""
    counts = {"first": 0.0, "wins": 3, "ties": 20, "losses": 7, "ece": 0.05, "accuracy": 0.8}
    rows = [
        {"id": name, "rank": i, "interval": [i, min(i + 1, len(names))], "value": 0.3 + i / 100, **counts}
        for i, name in enumerate(names, start=1)
    ]
    table = {
        "against": names[0],
        "n_cells": 30,
        "left_out": ["c99"],
        "flattered": [],
        "metrics": {"nll": rows},
    }
    return {"calibrators": table}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A thousand cells."""
    return write_page(tmp_path_factory.mktemp("large"), 25)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("report"), 3)


@pytest.fixture
def page(browser, saved):
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme="light")
    page = context.new_page()
    problems, requests = [], set()
    page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.add(request.url.split("#")[0]))
    page.goto(saved.as_uri() + "#view=leaderboard")
    page.wait_for_selector("html[data-ready]")
    yield page
    assert problems == []
    assert {url for url in requests if not url.startswith(("data:", "blob:"))} == {saved.as_uri()}
    context.close()


def counted(page, beginning):
    """Wait until the count says so; the page's policy allows no evaluated text, of tests either."""
    page.locator("#count", has_text=re.compile(f"^{beginning} of")).wait_for()


def column(page, number):
    return page.eval_on_selector_all(
        f"{ROW} td:nth-child({number})", "cells => cells.map(c => c.textContent)"
    )


def test_a_thousand_cells_are_a_small_page_that_shows_and_sorts_them_all(browser, large):
    assert large.stat().st_size < 5_000_000
    page = browser.new_page()
    page.goto(large.as_uri() + "#view=leaderboard")
    page.wait_for_selector("html[data-ready]")
    page.locator("#count", has_text="of 1,001 cells").wait_for()
    page.evaluate("sortBy('transferred')")
    assert page.locator("#leaderboard th[aria-sort]:not([aria-sort='none'])").count() == 1
    page.close()


def test_cells_are_sorted_by_number_and_back(page):
    page.click('th[data-key="transferred"] button')
    place = page.eval_on_selector_all(
        "#leaderboard th", "all => all.findIndex(t => t.ariaSort == 'ascending')"
    )
    values = [float(text.split()[0]) for text in column(page, place + 1)]
    assert values == sorted(values)
    page.click('th[data-key="transferred"] button')
    assert page.get_attribute('th[data-key="transferred"]', "aria-sort") == "descending"
    values = [float(text.split()[0]) for text in column(page, place + 1)]
    assert values == sorted(values, reverse=True)


def test_what_is_not_known_is_sorted_last_both_ways(page):
    page.check("#references")
    for _ in range(2):
        page.click('th[data-key="degradation"] button')
        assert "fp32" in page.text_content(f"{ROW}:last-child")


def test_cells_are_filtered_and_counted(page):
    page.select_option("#filter-quantizer", "bnb-nf4")
    page.select_option("#filter-verdict", "fail")
    assert set(column(page, 3)) == {"bnb-nf4"}
    assert {text.split()[0].rstrip(":") for text in column(page, 5)} == {"fail"}
    shown = page.locator(ROW).count()
    assert page.text_content("#count") == f"{shown} of 121 cells"
    page.click("#reset")
    assert page.locator(ROW).count() == 91
    page.check("#references")
    assert page.locator(ROW).count() == 121


def test_a_search_finds_any_part_of_a_name(page):
    page.fill("#search", "M1 c01 INT8")
    counted(page, 5)
    page.fill("#search", "nothing is called so")
    counted(page, 0)
    assert "No cell matches" in page.text_content("#leaderboard tbody")


def test_columns_are_chosen(page):
    assert page.locator('th[data-key="regret"]').count() == 0
    page.click("#columns summary")
    page.check("#column-list >> text=regret")
    assert page.locator('th[data-key="regret"]').count() == 1
    page.uncheck("#column-list >> text=accuracy")
    assert page.locator('th[data-key="accuracy"]').count() == 0


def test_a_cell_opens_with_its_diagrams_and_provenance(page):
    page.click('th[data-key="verdict"] button')  # full-precision cells have none, and come last
    page.click(FIRST)
    page.wait_for_selector("#plot-reliability .main-svg")
    text = page.text_content("#detail-body")
    for expected in (
        "calibrated reference",
        "1,234 test items",
        "t.py::a",
        "a" * 64,
        "1 of all answers flip",
    ):
        assert expected in text
    page.select_option("#detail-arm", label="refitted")
    assert page.locator("#plot-pair .main-svg").count() > 0
    page.click("#close")
    assert not page.is_visible("#detail")


def test_a_cell_can_be_linked_to(page, saved):
    page.goto(saved.as_uri() + "#cell=m0-t0-bnb-nf4-c00")
    page.reload()
    page.wait_for_selector("#detail[open]")
    assert page.text_content("#detail-title") == "m0 · t0 · bnb-nf4 · c00"


def test_the_page_opens_with_what_each_quantizer_kept(page, saved):
    page.click("#tab-overview")
    tiles = page.locator(".tile")
    assert [text.split()[0] for text in tiles.locator("strong").all_text_contents()] == [
        "bnb-int8",
        "bnb-nf4",
        "gptq-int4",
    ]
    assert re.search(r"\d+ kept, \d+ lost, \d+ undecided", tiles.first.text_content())
    assert {text.split()[0] for text in page.locator("#worst td:nth-child(2)").all_text_contents()} == {
        "lost"
    }
    tiles.first.click()
    assert set(column(page, 3)) == {"bnb-int8"}


def test_the_overview_ranks_over_all_cells_and_says_which_ranks_are_open(page):
    page.click("#tab-overview")
    ranking = page.locator("#by-calibrator .ranking tbody tr")
    assert ranking.locator(".rank").all_text_contents() == ["1 (1–2)", "2 (2–3)", "3 (3–3)"]
    assert "over all 30 cells" in page.text_content("#by-calibrator")
    assert "lack a cell: c99" in page.text_content("#by-calibrator")
    assert page.locator("#by-quantizer tbody tr").count() > 2  # not ranked: the means over shared cells
    page.select_option("#filter-task", "t1")
    assert ranking.count() == 3
    assert "Means over the cells that the filters leave" in page.text_content("#by-calibrator")
    ranking.locator("button").nth(1).click()
    assert set(column(page, 4)) == {"c01"}


def test_the_worst_cells_come_first_and_accepted_failures_after_new_ones(browser, tmp_path):
    rows = [row(calibrator=name, outcome="fail") for name in ("near", "known", "far")]
    rows += [row(calibrator="open", outcome="inconclusive"), row(calibrator="kept")]
    for cell, delta in zip(rows, (0.03, 0.5, 0.2, 0.01, 0.0), strict=True):
        cell["gates"][0]["delta"] = delta
    rows[1]["gates"][0]["accepted"] = "it is known"
    path = tmp_path / "report.html"
    path.write_text(html_page(document(rows)), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    named = page.locator("#worst tbody button").all_text_contents()
    assert [name.split()[-1] for name in named] == ["far", "near", "known", "open"]
    page.click("#tab-leaderboard")
    assert column(page, 4) == ["far", "near", "known", "open", "kept"]
    page.close()


def test_what_is_looked_at_stands_in_the_address(page):
    page.select_option("#filter-quantizer", "bnb-nf4")
    page.click('th[data-key="transferred"] button')
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    assert set(column(page, 3)) == {"bnb-nf4"}
    assert page.get_attribute('th[data-key="transferred"]', "aria-sort") == "ascending"


def test_a_cells_verdict_and_gates_come_first(page):
    page.click(FIRST)
    first = page.locator("#detail-body > *").all_text_contents()[:2]
    assert first[0].split()[0].rstrip(":") in ("pass", "fail", "inconclusive")
    assert first[1] == "Gates"


def test_the_page_fits_a_phone(browser, saved):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    for view in ("overview", "leaderboard", "pareto", "transfer", "provenance"):
        page.goto(saved.as_uri() + f"#view={view}")
        page.reload()
        page.wait_for_selector("html[data-ready]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, view
    page.close()


def test_a_phone_shows_a_cells_whole_name_its_verdict_and_its_change_side_by_side(browser, saved):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(saved.as_uri() + "#view=leaderboard")
    page.wait_for_selector("html[data-ready]")
    assert page.inner_text(f"{ROW}:first-child td:first-child").split("\n")[1].count("·") == 2
    box = page.locator(f"{ROW}:first-child td:nth-child(6)").bounding_box()
    assert box["x"] + box["width"] <= 390
    assert not page.is_visible("#search")  # folded, so that results come first
    page.click("#filters > summary")
    assert page.is_visible("#search")
    page.close()


def test_the_change_and_its_interval_are_not_cut_off_on_a_small_screen(browser, saved):
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    page.goto(saved.as_uri() + "#view=leaderboard")
    page.wait_for_selector("html[data-ready]")
    box = page.locator(f"{ROW}:first-child td:nth-child(6)").bounding_box()
    assert box["x"] + box["width"] <= 1100
    page.locator("#view-leaderboard .scroll").evaluate("area => { area.scrollLeft = 500; }")
    assert page.locator(FIRST).bounding_box()["x"] > 0  # whose numbers they are stays in sight
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_nothing_to_mend(browser, saved, width, scheme):
    axe = importlib.util.find_spec("axe_playwright_python")
    if axe is None:
        pytest.skip("axe-playwright-python is not installed")
    script = Path(axe.origin).with_name("axe.min.js").read_text(encoding="utf-8")
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        bypass_csp=True,  # which forbids its script
    )
    page = context.new_page()
    for view in ("overview", "leaderboard", "pareto", "transfer", "leaderboard&cell=m0-t0-bnb-nf4-c00"):
        page.goto("about:blank")
        page.goto(saved.as_uri() + f"#view={view}")
        page.wait_for_selector("html[data-ready]")
        page.evaluate(f"{script};0")
        found = page.evaluate("axe.run()")["violations"]
        assert [(each["impact"], each["id"], each["nodes"][0]["html"]) for each in found] == [], view
    context.close()


def test_the_theme_follows_the_system_and_can_be_switched(page):
    theme = "document.documentElement.dataset.theme"
    back = "getComputedStyle(document.body).backgroundColor"
    assert (page.evaluate(theme), page.evaluate(back)) == ("light", "rgb(255, 255, 255)")
    page.click("#theme")
    assert (page.evaluate(theme), page.evaluate(back)) == ("dark", "rgb(20, 23, 28)")


def test_everything_can_be_reached_with_the_keyboard(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#tab-leaderboard")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-pareto"
    page.keyboard.press("ArrowLeft")
    page.focus('th[data-key="model"] button')
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('th').ariaSort") == "ascending"
    page.focus(FIRST)
    page.keyboard.press("ArrowDown")
    opened = page.evaluate("document.activeElement.ariaLabel")
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail[open]")
    assert page.evaluate("document.activeElement.id") == "close"
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    assert page.evaluate("document.activeElement.ariaLabel") == opened


def test_the_frontier_is_drawn_for_one_task(page):
    page.click("#tab-pareto")
    page.wait_for_selector("#pareto-plot .main-svg")
    assert page.input_value("#filter-task") == "t0"  # several tasks cannot be compared
    page.select_option("#filter-task", "")
    assert page.is_visible("#pareto-note")
    page.select_option("#filter-task", "t3")
    assert not page.is_visible("#pareto-note")
    page.click("#view-pareto details summary")
    values = [
        float(text.split()[0]) for text in page.locator("#pareto-table td:nth-child(3)").all_text_contents()
    ]
    assert len(values) > 1
    assert values == sorted(values, reverse=True)  # every larger model on it is better


def test_the_transfer_matrix_opens_cells(page):
    page.click("#tab-transfer")
    page.select_option("#filter-model", "m1")
    page.select_option("#filter-task", "t0")
    assert page.locator("#matrix tbody tr").count() == 3
    page.click("#matrix tbody button >> nth=0")
    assert page.text_content("#detail-title").startswith("m1 · t0")


def test_markup_in_a_name_is_text(page):
    page.fill("#search", "onerror")
    counted(page, 1)
    assert page.text_content(FIRST) == HOSTILE
    page.click(FIRST)
    page.wait_for_selector("#plot-reliability .main-svg")
    page.keyboard.press("Escape")
    page.click("#tab-pareto")
    page.wait_for_selector("#pareto-plot .main-svg")
    assert page.locator("img").count() == 0
    assert page.title() == "calbench leaderboard"


def test_the_page_prints_the_table_alone(page):
    page.emulate_media(media="print")
    assert page.is_visible("#leaderboard")
    assert not page.is_visible("#filters")
    assert not page.is_visible("#tabs")
