"""Peak memory of quantizing a model and proving it, each id in a process of its own.

    python benchmarks/memory.py smollm2                       # every id
    python benchmarks/memory.py smollm2 awq-int4 gguf-q8_0    # some

Printed are the peak of the process's resident memory, Python and torch included, and what of it is not
pages of the mapped weights. Needs the embedded models (``calbench setup``) and Linux.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from calbench import models, quantizers, tasks
from calbench.errors import CalbenchError
from calbench.quantizers import QuantizationSamples


def one(model: str, quantizer_id: str) -> None:
    """Quantize as a run does, and print what it took."""
    source = models.get(model).resolve()
    method = quantizers.get(quantizer_id)
    task = tasks.get("tweets")
    request, tokenizer = task.request(source), source.load_tokenizer()
    items = task.partition.quantization
    samples = QuantizationSamples.from_texts(tokenizer, map(request.text, items), max_length=256)
    started = time.perf_counter()
    try:
        made = quantizers.quantize(method, source, samples=samples, probe=samples.token_ids[:16])
    except CalbenchError as error:
        print(f"{quantizer_id:36} refused: {str(error)[:120]}")
        return
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    status = Path("/proc/self/status").read_text().splitlines()
    own = next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 2**20
    bits = made.report.effective_bits, made.report.model_effective_bits
    print(
        f"{quantizer_id:36} peak {peak:.2f} GiB, {own:.2f} of its own at the end, {bits[0]:.2f} bits"
        f" ({bits[1]:.2f} of the whole model), {time.perf_counter() - started:.0f} s"
    )


def main() -> None:
    model, *ids = sys.argv[1:]
    if len(ids) == 1:
        one(model, ids[0])
        return
    for quantizer_id in ids or quantizers.names():
        subprocess.run([sys.executable, __file__, model, quantizer_id], check=True, env=os.environ)


if __name__ == "__main__":
    main()
