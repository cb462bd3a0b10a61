"""Examine every model type that transformers knows, and write what was found into docs/architectures.md.

Usage: python scripts/sweep_architectures.py RESULTS.jsonl [--only TYPE ...] [--write]

Results are appended as they come, and types that stand there are not examined again: a sweep that
was stopped goes on. ``--write`` only renders what there is. What stands in the page before its last
section is written by hand, and stays.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architectures.md"
HEADING = "## What was examined"
KINDS = {"causal": "Causal language models", "head": "Classification heads"}


def main(given: Sequence[str]) -> None:
    """Examine what is missing, and render the page if told to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args(given)
    if not chosen.write:
        sweep(chosen.results, chosen.only)
    by_hand = PAGE.read_text(encoding="utf-8").partition(HEADING)[0]
    PAGE.write_text(by_hand + examined(list(results(chosen.results))), encoding="utf-8")


def results(file: Path) -> Iterable[dict[str, Any]]:
    """What was found so far, one type a line."""
    if file.is_file():
        with file.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def sweep(file: Path, only: Sequence[str]) -> None:
    """Examine types one after the other, in this process."""
    sys.path.insert(0, str(ROOT))
    from tests.architectures import zoo
    from tests.architectures.examination import examine

    done = {(row["kind"], row["model_type"]) for row in results(file)}
    with file.open("a", encoding="utf-8") as out:
        for kind in KINDS:
            for model_type in zoo.types(kind):  # type: ignore[arg-type]
                if (kind, model_type) in done or (only and model_type not in only):
                    continue
                found = examine(model_type, kind)  # type: ignore[arg-type]
                print(json.dumps(asdict(found)), file=out, flush=True)


def examined(rows: list[dict[str, Any]]) -> str:
    """The page's last section, from what was found."""
    import torch
    import transformers

    parts = [
        HEADING,
        "<!-- Written by scripts/sweep_architectures.py; do not edit from here on. -->",
        "Every model type of transformers that can be built at about a million parameters is asked by"
        " calbench and, one text at a time, by transformers alone. A type is *exact* where no number differs"
        " by more than 1e-4 of the largest. The fastest way to read a type that is exact is found on loading;"
        f" it is in the record as `engine`. transformers {transformers.__version__}, torch"
        f" {torch.__version__.partition('+')[0]}, one CPU core, float32, random weights.",
    ]
    for kind, title in KINDS.items():
        found = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["model_type"])
        parts += [f"### {title}", *_section(found)]
    return "\n\n".join(parts) + "\n"


def _section(rows: list[dict[str, Any]]) -> list[str]:
    absent = [row for row in rows if row["absent"]]
    asked = [row for row in rows if not row["absent"]]
    refused = [row for row in asked if row["refusals"]]
    wrong = [row for row in asked if any(not value <= 1e-4 for value in row["differences"].values())]
    exact = [row for row in asked if row not in refused and row not in wrong]
    plain = ("label-words", "head", "trees", "one option per row")
    slower = [row for row in exact if any(_slower(engine, plain) for engine in row["engines"].values())]
    parts = [f"Examined: {len(rows)}. Exact: {len(exact)}. Refused: {len(refused)}. Off: {len(wrong)}."]
    if exact:
        parts.append("Exact: " + ", ".join(f"`{row['model_type']}`" for row in exact) + ".")
    if slower:
        lines = [f"| `{row['model_type']}` | {_engines(row)} |" for row in slower]
        parts.append("Of these, read in a slower way:\n\n| type | read by |\n|---|---|\n" + "\n".join(lines))
    for title, some, say in (
        ("Refused", refused, _refusal),
        ("Off", wrong, _difference),
        ("Not examined", absent, lambda row: row["absent"]),
    ):
        if some:
            lines = [f"| `{row['model_type']}` | {_cell(say(row))} |" for row in some]
            parts.append(f"{title}:\n\n| type | why |\n|---|---|\n" + "\n".join(lines))
    return parts


def _slower(engine: str, plain: Sequence[str]) -> bool:
    return engine not in plain and not engine.startswith("trees after")


def _engines(row: dict[str, Any]) -> str:
    return "; ".join(f"{way}: {engine}" for way, engine in row["engines"].items())


def _refusal(row: dict[str, Any]) -> str:
    return next(iter(row["refusals"].values()))


def _difference(row: dict[str, Any]) -> str:
    return ", ".join(f"{way}: {value:.1e}" for way, value in row["differences"].items())


def _cell(text: str) -> str:
    text = re.sub(r"/\S*/tmp\w+|/tmp/\w+", "FOLDER", text.removeprefix("InputError: "))
    return shorten(text, 200).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    main(sys.argv[1:])
