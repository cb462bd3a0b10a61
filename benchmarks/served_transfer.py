"""A Q4_0 build of SmolLM2 beside its float weights, both asked over HTTP: the suite of served builds.

Writes both GGUF files, serves them by llama.cpp, and runs suites/test_served.py with a leaderboard. Needs
calbench[llama.cpp]. The quick profile takes two minutes on 2 cores:

    python benchmarks/served_transfer.py REPORT [PYTEST ARGUMENTS]
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from calbench import models, quantizers
from calbench.runtimes import LlamaOptions, serving, write_gguf

SUITE = Path(__file__).parents[1] / "suites" / "test_served.py"


def written(folder: Path) -> tuple[Path, Path]:
    source = models.get("smollm2").resolve()
    files = folder / "float.gguf", folder / "q4_0.gguf"
    write_gguf(source, source.load(), files[0])
    texts = ("The capital of France is Paris.", "I love it so much!", "1, 2, 3, 4, 5,")
    probe = [source.load_tokenizer()(text)["input_ids"] for text in texts]
    made = quantizers.quantize(quantizers.get("gguf-q4_0"), source, probe=probe)
    write_gguf(source, made.module, files[1])
    return files


def main() -> None:
    report, *arguments = sys.argv[1:]
    options = LlamaOptions(slots=4, context=512)
    with TemporaryDirectory() as place:
        folder = Path(place)
        whole, small = written(folder)
        with serving(whole, options) as reference, serving(small, options) as candidate:
            (folder / "calbench.toml").write_text(
                "[models.smollm2-served]\n"
                f'served.float = "{reference.client.address}"\nserved.q4_0 = "{candidate.client.address}"\n'
                'reference = "float"\ndefault_tasks = ["tweets"]\nmax_length = 400\n'
            )
            keys = {
                f"CALBENCH_API_KEY_127_0_0_1_{one.client.address.port}": one.client.key or ""
                for one in (reference, candidate)
            }
            command = [sys.executable, "-m", "pytest", str(SUITE), f"--rootdir={SUITE.parents[1]}"]
            options_of_run = ["--calbench-store=store", f"--calbench-report={Path(report).resolve()}"]
            done = subprocess.run(
                [*command, *options_of_run, "-p", "no:cacheprovider", *arguments],
                cwd=folder,
                env={**os.environ, **keys},
                check=False,
            )
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
