"""The report as one page that needs nothing but itself: no server, no network, no other file."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from calbench.report._comparisons import as_comparisons, counted, gate_lines, worst_first
from calbench.report._format import Results
from calbench.report._view import page_data

_SCRIPTS = ("elements.js", "leaderboard.js", "overview.js", "rankings.js", "charts.js", "views.js", "main.js")
PLOTLY_VERSION = "4.1.1"


def html_page(document: Results, *, title: str = "calbench leaderboard") -> str:
    """Return the page of a results document.

    It holds its data as JSON and its plotting library (plotly.js, MIT) as text; a content security
    policy keeps it from asking for anything else.

    Parameters
    ----------
    document
        As :func:`calbench.report.document` or :func:`calbench.report.read_results` returns it.
    title
        Of the page.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(_asset("report.html.j2"))
    others = [*document.get("comparisons", ()), *as_comparisons(document.get("variants", ()))]
    gates = gate_lines(others)
    return page.render(
        title=title,
        version=document["calbench"],
        css=Markup(_asset("report.css")),  # noqa: S704 (our own file)
        gates=worst_first(gates),
        gates_counted=counted(gates),
        data=_embedded_json(page_data(document)),
        plotly=Markup(_asset("vendor/plotly-basic.min.js")),  # noqa: S704 (a pinned file)
        plotly_version=PLOTLY_VERSION,
        script=Markup("\n".join(map(_asset, _SCRIPTS))),  # noqa: S704 (our own files)
    )


def _embedded_json(contents: Any) -> Markup:
    """Return JSON that cannot end the element that it stands in."""
    text = json.dumps(contents, separators=(",", ":"), ensure_ascii=False, allow_nan=False, sort_keys=True)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 (escaped just above)


def _asset(name: str) -> str:
    return resources.files("calbench.report").joinpath("assets", *name.split("/")).read_text("utf-8")
