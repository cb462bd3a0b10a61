"""How much memory a task takes of which a part of a large table is asked.

    python benchmarks/large_tables.py            # a million rows, 2,000 asked

Writes a parquet file, opens it as a task in a process of its own, and compares the growth of that process's
peak memory (over what importing `datasets` takes) with the bytes of all texts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = 30


def write(path: Path, n_rows: int) -> int:
    """Write texts of about 180 bytes; returns how many bytes they have."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    n_bytes = 0
    schema = pa.schema({"text": pa.string(), "label": pa.string()})
    # One row group, as pyarrow writes it by default: the worst case for a reader.
    texts, labels = [], []
    for start in range(0, n_rows, 10_000):
        n = min(10_000, n_rows - start)
        texts += [" ".join(map(str, row)) for row in rng.integers(0, 100_000, (n, WORDS))]
        labels += [("no", "yes")[i % 2] for i in range(n)]
    n_bytes = sum(map(len, texts))
    parquet.write_table(pa.table([texts, labels], schema=schema), path)
    return n_bytes


def peak_memory() -> int:
    """Most memory that this process held, in bytes; ru_maxrss would begin with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def opened(path: Path, n_items: int) -> dict[str, float]:
    """Open the task and what a run asks of it; returns seconds and peak memory, before and after."""
    import datasets  # noqa: F401

    from calbench import tasks

    before = peak_memory()
    started = time.perf_counter()
    task = tasks.get(f"{path}[text=text,label=label,n_items={n_items}]")
    n_asked = len(task.partition.evaluation)
    _ = task.dataset.fingerprint
    peak = peak_memory()
    return {
        "seconds": time.perf_counter() - started,
        "imports": before,
        "growth": peak - before,
        "asked": n_asked,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=2_000)
    parser.add_argument("--open", type=Path)
    given = parser.parse_args()
    if given.open:
        print(json.dumps(opened(given.open, given.items)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.parquet"
        n_bytes = write(path, given.rows)
        command = [sys.executable, __file__, "--open", str(path), "--items", str(given.items)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(
        f"{given.rows:,} rows, {n_bytes / 1e6:.0f} MB of texts:"
        f" peak memory grows by {found['growth'] / 1e6:.0f} MB"
        f" ({found['growth'] / n_bytes:.2f} x), {found['imports'] / 1e6:.0f} MB for imports,"
        f" {found['seconds']:.1f} s, {found['asked']:,} items left to ask"
    )


if __name__ == "__main__":
    main()
