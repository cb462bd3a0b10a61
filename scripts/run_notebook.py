"""Run a notebook's code cells in this process and keep what they show, or check that it is kept.

A kernel is not needed: cells are plain Python, and the last expression of each is shown.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Rewrite the outputs of a notebook, or exit with 1 if they are stale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if an output is stale")
    arguments = parser.parse_args()
    before = json.loads(arguments.notebook.read_text(encoding="utf-8"))
    after = executed(before, folder=arguments.notebook.parent)
    if arguments.check:
        sys.exit(0 if texts(before) == texts(after) else f"{arguments.notebook}: its outputs are stale")
    arguments.notebook.write_text(json.dumps(after, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def executed(notebook: dict[str, Any], *, folder: Path) -> dict[str, Any]:
    """Return a notebook with the outputs of its cells, which run in ``folder`` and share their names."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, count, home = [], 0, Path.cwd()
    os.chdir(folder)
    try:
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                count += 1
                outputs = _outputs("".join(cell["source"]), names, count)
                cells.append({**cell, "execution_count": count, "outputs": outputs})
            else:
                cells.append(cell)
    finally:
        os.chdir(home)
    return {**notebook, "cells": cells}


def texts(notebook: dict[str, Any]) -> list[str]:
    """Return what the cells print and show as text: pictures differ in bytes between machines."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    return ["".join(o["text"] if "text" in o else o["data"]["text/plain"]) for o in outputs]


def _outputs(source: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Run a cell as Jupyter does: all statements, then the value of the last expression is shown."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), names)  # noqa: S102 (the repository's own notebook)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)  # noqa: S307 (the same)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": text})
    if value is not None:
        result = {"output_type": "execute_result", "execution_count": count, "metadata": {}}
        outputs.append({**result, "data": _shown(value)})
    return outputs


def _shown(value: Any) -> dict[str, Any]:
    """Return a value in every form that it offers a notebook."""
    found: dict[str, Any] = {}
    if hasattr(value, "_repr_html_") and (html := value._repr_html_()):
        found["text/html"] = html.splitlines(keepends=True)
    if hasattr(value, "_repr_png_"):
        found["image/png"] = base64.b64encode(value._repr_png_()).decode()
        found["text/plain"] = [f"<picture {type(value).__name__}>"]
    else:
        found["text/plain"] = repr(value).splitlines(keepends=True)
    return found


if __name__ == "__main__":
    main()
