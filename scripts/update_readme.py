"""Keep the leaderboard in README.md: write it from a run's results, or check that it is not stale.

``make readme`` runs the suites and writes it, and what it was made of beside the documentation;
``make check`` fails where the page, how ECE is computed, or the cells of the default run have changed
since.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from calbench import metrics
from calbench.cache import replacing
from calbench.report import read_results, summary, write_json
from calbench.runs import PROFILES, Grid, Selection

CALIBRATOR = "temperature"
MARKERS = re.compile(r"(<!-- leaderboard[^>]*-->\n).*?(<!-- /leaderboard -->)", re.DOTALL)
README, KEPT = Path("README.md"), Path("docs/leaderboard.json")


def main() -> None:
    """Rewrite README.md, or exit with 1 if it is stale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="?", help="results.json of a run of the suites")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if README.md is stale")
    arguments = parser.parse_args()
    if arguments.check == (arguments.results is not None):
        parser.error("give a results file, or --check")
    if arguments.check:
        sys.exit("\n".join(problems()) or 0)
    document = read_results(arguments.results)
    rows = [row for row in document["cells"] if row["calibrator"] == CALIBRATOR]
    kept = {
        "calbench": document["calbench"],
        "created": document["created"],
        "ece": document["metrics"]["ece"],
        "cells": [[row["model"], row["task"], row["quantizer"]] for row in rows],
        "table": summary(rows, calibrator=CALIBRATOR),
    }
    write_json(kept, KEPT)
    text = rendered(README.read_text(encoding="utf-8"), kept["table"])
    with replacing(README) as temporary:
        temporary.write_text(text, encoding="utf-8")


def problems() -> list[str]:
    """Return in what README.md is stale."""
    remedy = "run make readme"
    if not KEPT.is_file():
        return [f"{KEPT} is missing: {remedy}"]
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    text = README.read_text(encoding="utf-8")
    found = []
    if not MARKERS.search(text):
        found.append(f"{README} has lost the comments between which the leaderboard stands")
    elif rendered(text, kept["table"]) != text:
        found.append(f"the leaderboard in {README} is not that of {KEPT}: {remedy}")
    if kept["ece"] != metrics.get("ece").fingerprint:
        found.append(f"ece is computed in another way than in {README}: {remedy}")
    held = set(map(tuple, kept["cells"]))
    planned = Grid().cells(Selection(calibrators=(CALIBRATOR,)), PROFILES["default"])
    missing = {(cell.model, cell.task, cell.quantizer) for cell in planned} - held
    if missing:
        shown = ", ".join(" × ".join(cell) for cell in sorted(missing)[:3])
        found.append(f"{README} lacks {len(missing)} cells of the default run ({shown}, ...): {remedy}")
    return found


def rendered(readme: str, table: str) -> str:
    """Return a readme with a leaderboard."""
    return MARKERS.sub(lambda m: f"{m[1]}{table}\n{m[2]}", readme)


if __name__ == "__main__":
    main()
