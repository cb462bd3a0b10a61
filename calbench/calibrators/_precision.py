"""Unit errors of number formats; what they do to a softmax is in :mod:`calbench.metrics._rounding`."""

from __future__ import annotations

import re

from calbench.errors import InputError

_FLOATS = {"fp64": 2.0**-53, "fp32": 2.0**-24, "fp16": 2.0**-11, "bf16": 2.0**-8, "fp8-e4m3": 2.0**-4}


def unit_error(number_format: str) -> float:
    r"""Largest relative rounding error of a number format, PACS's ε.

    ``fp32``, ``fp16``, ``bf16`` and ``fp8-e4m3`` round to nearest with ε = 2⁻²⁴, 2⁻¹¹, 2⁻⁸ and 2⁻⁴;
    a symmetric b-bit integer ``int<b>`` spans ±(2^{b−1} − 1) steps and is off by half of one:
    ε = 1 / (2 (2^{b−1} − 1)).

    >>> unit_error("fp16") == 2**-11, round(1 / unit_error("int4"))
    (True, 14)
    """
    if number_format in _FLOATS:
        return _FLOATS[number_format]
    match = re.fullmatch(r"int(\d+)", number_format)
    if match is None or int(match[1]) < 2:
        raise InputError(
            f"no unit error is known for {number_format!r}; use {', '.join(_FLOATS)} or int<bits>"
        )
    return 0.5 / float(2 ** (int(match[1]) - 1) - 1)
