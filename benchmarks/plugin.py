"""What the pytest plugin costs: a run that does not use it, collecting many cells, replaying them.

python benchmarks/plugin.py [cells]     (10000 take about five minutes on two cores)

The cells are of a tiny random encoder that really runs once, with 1,250 calibrators (histograms of
as many numbers of bins) on two tasks and four quantizers. Only the replay is timed as warm: its
records and results are in the store.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

REPEATS = 31
QUANTIZERS = "fp32,bf16,bnb-int8,bnb-nf4"

SUITE = f"""
import calbench

@calbench.grid(models="tiny", quantizers="{QUANTIZERS}", calibrators={{calibrators!r}})
def test_it(calbench):
    calbench.transfer().require("ece", max_increase=1)
"""


def run(folder, *options, environment=()):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    # Compiled modules are kept, as on any machine that runs the suite twice.
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    started, before = time.perf_counter(), cpu_seconds()
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**inherited, **dict(environment)},
        check=False,
    )
    return time.perf_counter() - started, cpu_seconds() - before, done


def cpu_seconds():
    """Return the CPU time of finished child processes: what a busy machine does not change."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def unused(folder):
    """Return the ratio of start-up times with and without the plugin, of a run that does not use it."""
    (folder / "test_one.py").write_text("def test_it():\n    pass\n")
    # Other plugins of this environment cost more than calbench, so they are blocked. Autoloading stays on:
    # pytest then looks through the installed packages in both runs, as it does in anyone's.
    plugins = {point.name for point in metadata.entry_points(group="pytest11")}
    assert "calbench" in plugins, "calbench is not installed"
    blocked = {"with": plugins - {"calbench"}, "without": plugins}
    seconds = {"with": [], "without": []}
    for repeat in range(REPEATS + 1):
        for name, hidden in blocked.items():
            _, took, done = run(folder, *(f"-pno:{plugin}" for plugin in sorted(hidden)))
            assert done.returncode == 0, done.stdout
            if repeat:  # the first fills the file cache
                seconds[name].append(took)
    low = {name: min(values) for name, values in seconds.items()}
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return low["with"] / low["without"], middle["with"] / middle["without"], middle["without"]


def project(folder, n_cells):
    """Write a suite of as many cells over a tiny model."""
    from tests.pytest_plugin.conftest import CONFTEST
    from tests.tiny_models import write_encoder

    write_encoder(folder / "encoder")
    (folder / "conftest.py").write_text(CONFTEST.format(folder=str(folder / "encoder")))
    calibrators = [f"histogram[n_bins={n}]" for n in range(2, 2 + n_cells // 8)]
    (folder / "test_many.py").write_text(SUITE.format(calibrators=calibrators))


def main(n_cells):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("unused", "many"):
            (folder / name).mkdir()
        fastest, middle, base = unused(folder / "unused")
        print(
            f"unused plugin: start-up ratio {middle:.3f} (of medians of CPU time), {fastest:.3f} (of minima);"
            f" {base * 1000:.0f} ms without it",
            flush=True,
        )

        many = folder / "many"
        project(many, n_cells)
        # One division and few resamples: what a replay reads back does not depend on either.
        store = ("--calbench-store", str(many / "store"), "--calbench-seeds=42", "--calbench-resamples=200")
        environment = {"CALBENCH_CACHE": str(many / "cache"), "OMP_NUM_THREADS": "1"}
        collected = [run(many, "--collect-only", "-qq", *store, environment=environment) for _ in range(3)]
        assert collected[0][2].returncode == 0, collected[0][2].stdout[-2000:]
        wall, cpu, _ = min(collected, key=lambda measured: measured[0])
        print(f"collecting {n_cells:,} cells: {wall:.2f} s ({cpu:.2f} s of CPU)", flush=True)

        parallel = ("-n", "2", "--calbench-replay")
        cold, _, done = run(many, "-n", "2", *store, environment=environment)
        print(f"first run, models included: {cold:.0f} s; {done.stdout.splitlines()[-1]}", flush=True)
        for options in (parallel, ("--calbench-replay",)):
            wall, cpu, done = run(many, *options, *store, environment=environment)
            shown = f"{wall:.1f} s ({cpu:.1f} s of CPU); {done.stdout.splitlines()[-1]}"
            print(f"replaying them, {' '.join(options)}: {shown}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
