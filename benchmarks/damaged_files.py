"""Damage a small file of each input format many times; every reading must be refused or valid.

Run ``python -m benchmarks.damaged_files [N] [FORMAT...]`` from the checkout; the default is 10,000 a format.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.interchange.mutations import run
from tests.interchange.seeds import CHECKSUMMED, FORMATS, RECORD, intact


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for name in sys.argv[2:] or FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            path, columns = intact(name, Path(folder))
            started = time.perf_counter()
            counts = run(path, columns, n, seed=1, original=RECORD if name in CHECKSUMMED else None)
            print(
                f"{name}: {n:,} damaged files in {time.perf_counter() - started:.0f} s: {counts}", flush=True
            )


if __name__ == "__main__":
    main()
