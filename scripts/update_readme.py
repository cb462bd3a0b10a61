"""Keep the figures of README.md and docs/results.md: write them from a run's results, or check them.

``make readme`` runs the suites and writes them, and what they were made of beside the documentation;
``make check`` fails where a page, how ECE is computed, or the cells of the default run have changed since.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from calbench import metrics
from calbench.cache import replacing
from calbench.gates import GATE_METRIC
from calbench.report import read_results, summary, write_json
from calbench.runs import PROFILES, Grid, Selection

CALIBRATOR, TASK, BRIEF_ROWS = "temperature", "tweets", ("bnb-int8", "bnb-nf4", "gptq-int4")
WORDS = {"pass": "kept", "fail": "**lost**", "inconclusive": "undecided"}
MARKERS = re.compile(r"(<!-- table[^>]*-->\n).*?(<!-- /table -->)", re.DOTALL)
README, RESULTS, KEPT = Path("README.md"), Path("docs/results.md"), Path("docs/leaderboard.json")
PICTURES = {"light": Path("docs/pictures/readme-light.svg"), "dark": Path("docs/pictures/readme-dark.svg")}
PICTURED = ("smollm2", TASK, "bnb-nf4")


def main() -> None:
    """Rewrite the pages and the picture, or exit with 1 if one is stale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="?", help="results.json of a run of the suites")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page is stale")
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
        "brief": brief(rows),
    }
    write_json(kept, KEPT)
    for page, key in ((README, "brief"), (RESULTS, "table")):
        text = rendered(page.read_text(encoding="utf-8"), kept[key])
        with replacing(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    draw(next(row for row in rows if (row["model"], row["task"], row["quantizer"]) == PICTURED))


def brief(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table that fits a phone: one row a model and quantizer, on one task."""
    lines = ["| model | build | ECE before | after | calibration |", "|---|---|---|---|---|"]
    for row in rows:
        if row["task"] == TASK and row["quantizer"] in BRIEF_ROWS:
            arms = row["arms"]["calibrated_reference"], row["arms"]["transferred"]
            before, after = (arm["ece"]["value"] for arm in arms)
            outcomes = {gate["outcome"] for gate in row["gates"] if gate["metric"] == GATE_METRIC}
            worst = next((o for o in ("fail", "inconclusive", "pass") if o in outcomes), "")
            shown = [row["model"], row["quantizer"], f"{before:.3f}", f"{after:.3f}", WORDS.get(worst, "")]
            lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines)


def draw(row: Mapping[str, Any]) -> None:
    """Draw accuracy against confidence before and after quantization, for light and for dark pages."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    colours = {"light": ("#1b1f27", "#1f5fbf", "#c0262d"), "dark": ("#e8eaee", "#7fb0ff", "#ff7b7b")}
    arms = {"full precision": "calibrated_reference", f"4 bits ({row['quantizer']})": "transferred"}
    for theme, (text, *lines) in colours.items():
        with mpl.rc_context({"svg.hashsalt": "calbench", "svg.fonttype": "none", "text.color": text}):
            figure = Figure(figsize=(5.2, 3.6), layout="constrained")
            figure.patch.set_alpha(0)
            axes = figure.subplots()
            axes.patch.set_alpha(0)
            axes.plot([0.5, 1], [0.5, 1], color=text, linestyle=":", alpha=0.6, label="perfect")
            for (name, arm), colour in zip(arms.items(), lines, strict=True):
                x, y, n = zip(*points(row["reliability"][arm]), strict=True)
                label = f"{name}: ECE {row['arms'][arm]['ece']['value']:.2f}"
                axes.plot(x, y, color=colour, label=label)
                axes.scatter(x, y, s=[min(12 + count, 120) for count in n], color=colour)
            axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0.48, 1.01), ylim=(0.2, 1.02))
            axes.tick_params(colors=text)
            axes.xaxis.label.set_color(text)
            axes.yaxis.label.set_color(text)
            axes.spines[:].set_color(text)
            axes.legend(frameon=False, loc="lower right", fontsize="small")
            figure.savefig(PICTURES[theme], metadata={"Date": None})


def points(bins: Mapping[str, Sequence[Any]], fewest: int = 10) -> Iterator[tuple[float, float, int]]:
    """Yield confidence, accuracy and count of each bin that holds enough items to say something."""
    columns = (bins[name] for name in ("counts", "confidences", "accuracies"))
    for count, confidence, accuracy in zip(*columns, strict=True):
        if count >= fewest:
            yield confidence, accuracy, count


def problems() -> list[str]:
    """Return in what the pages are stale."""
    remedy = "run make readme"
    if not KEPT.is_file():
        return [f"{KEPT} is missing: {remedy}"]
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    found = []
    for page, key in ((README, "brief"), (RESULTS, "table")):
        text = page.read_text(encoding="utf-8")
        if not MARKERS.search(text):
            found.append(f"{page} has lost the comments between which its table stands")
        elif rendered(text, kept[key]) != text:
            found.append(f"the table in {page} is not that of {KEPT}: {remedy}")
    if kept["ece"] != metrics.get("ece").fingerprint:
        found.append(f"ece is computed in another way than in {README}: {remedy}")
    held = set(map(tuple, kept["cells"]))
    planned = Grid().cells(Selection(calibrators=(CALIBRATOR,)), PROFILES["default"])
    missing = {(cell.model, cell.task, cell.quantizer) for cell in planned} - held
    if missing:
        shown = ", ".join(" × ".join(cell) for cell in sorted(missing)[:3])
        found.append(f"{RESULTS} lacks {len(missing)} cells of the default run ({shown}, ...): {remedy}")
    return found


def rendered(page: str, table: str) -> str:
    """Return a page with a table."""
    return MARKERS.sub(lambda m: f"{m[1]}{table}\n{m[2]}", page)


if __name__ == "__main__":
    main()
