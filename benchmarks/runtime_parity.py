"""The same weights in torch, in llama.cpp's child process and behind an address: how far apart are they?

SmolLM2's float weights and the Q4_1 file that they were decoded from; 200 PIQA items (log-likelihoods of
options) and 300 tweets (of label words). ``served`` is told torch's own tokens, ``served-own`` those of the
server's tokenizer. Needs calbench[llama.cpp]. Four minutes a part on 2 cores:

    python benchmarks/runtime_parity.py torch child served served-own shipped
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import calbench
from calbench import models, tasks
from calbench.inference import NoShards
from calbench.runtimes import LlamaCppRuntime, LlamaOptions, TorchRuntime, connected, serving, write_gguf

ASKED = {"piqa[rule=sum]": 200, "tweets": 300}


def ask(runtime, source):
    found = {}
    for name, n_items in ASKED.items():
        task = tasks.get(name)
        items = task.partition.evaluation[:n_items]
        logits = runtime.score(
            task.request(source), items, shards=NoShards(), on_progress=lambda *_: None
        ).logits.astype(np.float64)
        if name == "tweets":  # words are compared with each other: torch gives logits
            logits -= np.logaddexp.reduce(logits, axis=1, keepdims=True)
        found[name] = logits, np.array([item.label for item in items]), [item.id for item in items]
    return found


def parts(wanted, folder):
    source = models.get("smollm2").resolve()
    module, tokenizer = source.load(), source.load_tokenizer()
    if "torch" in wanted:
        yield "torch", ask(TorchRuntime(module, tokenizer, source), source)
    file = Path(folder) / "float.gguf"
    write_gguf(source, module, file)
    if "child" in wanted:
        yield "child", ask(LlamaCppRuntime(file, tokenizer, source), source)
    for name, told in {"served": tokenizer, "served-own": None}.items():
        if name in wanted:
            with (
                serving(file, LlamaOptions(slots=16, context=512)) as server,
                connected(server.client.address, tokenizer=told, key=server.client.key) as found,
            ):
                yield name, ask(found.runtime(source), source)
    if "shipped" in wanted:
        yield "shipped", ask(LlamaCppRuntime(Path(source.gguf), tokenizer, source), source)


def main() -> None:
    found = {}
    with TemporaryDirectory() as folder:
        for name, answers in parts(sys.argv[1:], folder):
            found[name] = answers
            for task, (logits, labels, _) in answers.items():
                print(f"{name:<10} {task:<15} accuracy {np.mean(logits.argmax(1) == labels):.4f}", flush=True)
    for name in found:
        for task in ASKED if name != "torch" and "torch" in found else ():
            (ours, labels, ids), (theirs, _, _) = found["torch"][task], found[name][task]
            apart = np.abs(ours - theirs)
            flips = int(np.sum(ours.argmax(1) != theirs.argmax(1)))
            records = [calbench.Predictions(ids, logits, labels) for logits in (ours, theirs)]
            ece = calbench.compare(*records).difference("ece")
            print(
                f"torch against {name} on {task}: median {np.median(apart):.2g}, 99th percentile"
                f" {np.quantile(apart, 0.99):.2g}, largest {apart.max():.2g} nat; {flips} flips;"
                f" ECE {ece.value:+.4f} [{ece.interval[0]:+.4f}, {ece.interval[1]:+.4f}]",
                flush=True,
            )


if __name__ == "__main__":
    main()
