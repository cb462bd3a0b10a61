"""Show what docstrings say in Sphinx's roles: formulas as MathML, references as code (a hook of mkdocs)."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

_MATH = re.compile(r":math:<code>(.*?)</code>", re.DOTALL)
_ROLE = re.compile(r":(?:meth|func|class|mod|attr|data|ref):<code>~?(.*?)</code>", re.DOTALL)
_BLOCK = re.compile(r"<p>\.\. math::\s*(.*?)</p>(?:\s*<pre><code>(.*?)</code></pre>)?", re.DOTALL)


def on_page_content(html: str, **_: Any) -> str:
    """Rewrite a page after its markdown was read."""
    content = _BLOCK.sub(lambda m: _formula(f"{m[1]} {m[2] or ''}", "block"), html)
    content = _MATH.sub(lambda m: _formula(m[1], "inline"), content)
    return _ROLE.sub(r"<code>\1</code>", content)


def _formula(tex: str, display: str) -> str:
    # Markdown has escaped what HTML needs escaped.
    return convert(" ".join(unescape(tex).split()), display=display)
