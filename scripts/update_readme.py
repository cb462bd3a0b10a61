"""Write the leaderboard of a results file between the markers in README.md; run by ``make readme``."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from calbench.report import summary

MARKERS = re.compile(r"(<!-- leaderboard[^>]*-->\n).*?(<!-- /leaderboard -->)", re.DOTALL)


def main() -> None:
    """Rewrite README.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="results.json of a run of the suites")
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    arguments = parser.parse_args()
    rows = json.loads(arguments.results.read_text())["cells"]
    table = summary(rows, calibrator="temperature")
    text = arguments.readme.read_text()
    arguments.readme.write_text(MARKERS.sub(lambda m: f"{m[1]}{table}\n{m[2]}", text))


if __name__ == "__main__":
    main()
