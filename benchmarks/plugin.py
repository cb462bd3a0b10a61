"""What the pytest plugin costs: a run that does not use it, collecting many cells, replaying them.

python benchmarks/plugin.py [cells]     (10000 take about five minutes on two cores)

The cells are of a tiny random encoder that really runs once, with 1,250 calibrators (histograms of
as many numbers of bins) on two tasks and four quantizers. Only the replay is timed as warm: its
records and results are in the store.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
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
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**inherited, **dict(environment)},
        check=False,
    )
    return time.perf_counter() - started, done


def unused(folder):
    """Return the ratio of start-up times with and without the plugin, of a run that does not use it."""
    (folder / "test_one.py").write_text("def test_it():\n    pass\n")
    # Only calbench: other plugins of this environment cost more than it does.
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    seconds = {"with": [], "without": []}
    for repeat in range(REPEATS + 1):
        for name, options in (("with", ("-p", "calbench.pytest_plugin")), ("without", ())):
            took, done = run(folder, *options, environment=alone)
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
        print(f"unused plugin: start-up ratio {middle:.3f} (of medians), {fastest:.3f} (of minima);"
              f" {base * 1000:.0f} ms without it", flush=True)  # fmt: skip

        many = folder / "many"
        project(many, n_cells)
        store = ("--calbench-store", str(many / "store"))
        environment = {"CALBENCH_CACHE": str(many / "cache"), "OMP_NUM_THREADS": "1"}
        collected = [run(many, "--collect-only", "-qq", *store, environment=environment) for _ in range(3)]
        assert collected[0][1].returncode == 0, collected[0][1].stdout[-2000:]
        print(f"collecting {n_cells:,} cells: {min(t for t, _ in collected):.2f} s", flush=True)

        parallel = ("-n", "2", "--calbench-replay")
        cold, done = run(many, "-n", "2", *store, environment=environment)
        print(f"first run, models included: {cold:.0f} s; {done.stdout.splitlines()[-1]}", flush=True)
        for options in (parallel, ("--calbench-replay",)):
            warm, done = run(many, *options, *store, environment=environment)
            print(
                f"replaying them, {' '.join(options)}: {warm:.1f} s; {done.stdout.splitlines()[-1]}",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
