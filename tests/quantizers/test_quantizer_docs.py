"""The quantizer that docs/quantizers.md shows keeps the rules."""

import re
from pathlib import Path

from calbench import quantizers
from calbench.testing import check_quantizer

PAGE = Path(__file__).parents[2] / "docs" / "quantizers.md"


def test_the_quantizer_on_the_page_keeps_the_rules():
    own, _ = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    try:
        exec(own, {"__name__": "docs_quantizers"})
        check_quantizer("row-int8[skip=layer.0]", architectures=("sequence-classification",))
        check_quantizer("row-int8", architectures=("causal-lm",))
    finally:
        quantizers.registry._entries.pop("row-int8", None)


def test_every_built_in_quantizer_is_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    built_in = [
        n for n in quantizers.registry.names() if quantizers.registry.origin(n).startswith("calbench.")
    ]
    assert len(built_in) >= 13
    assert [name for name in built_in if f"`{name}`" not in page] == []
