"""How long the report's page takes to open and to sort, with a thousand cells and with a hundred in turn.

python benchmarks/report_page.py [rounds]     (needs chromium and playwright; half a minute)

Opening is the browser's own `domInteractive`; sorting is from the call until the page is laid out again.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from playwright import sync_api  # noqa: E402

from tests.report.test_browser import CHROMIUM, write_page  # noqa: E402

CALIBRATORS = {"a hundred cells": 3, "a thousand cells": 25}


def opened_and_sorted(browser, file):
    """Return milliseconds until the page is interactive, and those of a sort."""
    page = browser.new_page()
    page.goto(file.as_uri() + "#view=leaderboard")
    page.wait_for_selector("html[data-ready]")
    ready = page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive")
    started = time.perf_counter()
    page.evaluate("sortBy('transferred'); document.body.offsetHeight")
    took = 1000 * (time.perf_counter() - started)
    page.close()
    return ready, took


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as folder, sync_api.sync_playwright() as driver:
        files = {}
        for name, n_calibrators in CALIBRATORS.items():
            place = Path(folder) / str(n_calibrators)
            place.mkdir()
            files[name] = write_page(place, n_calibrators)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        times = {name: [] for name in files}
        for _ in range(rounds):
            for name, file in files.items():
                times[name].append(opened_and_sorted(browser, file))
        browser.close()
    medians = {
        name: [statistics.median(part) for part in zip(*rows, strict=True)] for name, rows in times.items()
    }
    for name, (ready, took) in medians.items():
        print(f"{name}: interactive after {ready:.0f} ms, sorted in {took:.0f} ms")
    small, large = medians.values()
    print(f"ratios: {large[0] / small[0]:.2f} to open, {large[1] / small[1]:.2f} to sort")


if __name__ == "__main__":
    main()
