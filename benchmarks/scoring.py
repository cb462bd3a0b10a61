"""calbench and lm-evaluation-harness on the same model and items, alternating.

python benchmarks/scoring.py                            (wants the extra `oracles` and `calbench setup`)
python benchmarks/scoring.py --mmlu DIR --subject NAME  takes the 5-shot questions from MMLU's csv files

A row compares the time that each needs from texts to log-likelihoods, tokenising included. The harness
runs its `hf` model at the batch size that is best for the task among those tried. The machine may be
busy with other things: the best round of each is what it costs, and processor seconds are shown too.
`multiplications` is what the harness multiplies (each option after its context, options of one token
together, the head on every token) over what calbench has to (a shared prefix once, each token of a tree once,
the head where a token is looked up): where the model's own work is all there is, hardly an
engine that computes the same numbers can have a larger ratio (questions of one row share a few tokens more).
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import logging
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from tabulate import tabulate
from torch.nn import Linear

from calbench import models, tasks
from calbench.inference import encode_choices, score
from calbench.inference._choice_tokens import shared_prefix
from calbench.inference._trees import Tree, n_tokens
from calbench.models import quiet
from calbench.tasks import MultipleChoice, Question

BATCH_SIZES = (1, 4, 8, 16, 32)
N_TRIED = 16
WANTED = {"piqa": 3.0, "siqa": 3.0, "mmlu, 5-shot": 5.0}


def peer_scores(lm, request, items):
    """Log-likelihoods by the harness, laid out as calbench does; ``lm`` is its `hf` model."""
    from lm_eval.api.instance import Instance

    asked = [
        Instance("loglikelihood", {}, (request.text(item), continuation), 0)
        for item in items
        for continuation in request.continuations(item)
    ]
    found = iter(lm.loglikelihood(asked, disable_tqdm=True))
    logits = np.full((len(items), max(len(item.options) for item in items)), -np.inf)
    for row, item in enumerate(items):
        for option in range(len(item.options)):
            logits[row, option] = next(found)[0]
    return logits


def harness(model, tokenizer, *, batch_size, max_length):
    """Return the harness's `hf` model around a loaded one."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        from lm_eval.models.huggingface import HFLM

        return HFLM(
            pretrained=model,
            tokenizer=tokenizer,
            backend="causal",
            batch_size=batch_size,
            max_length=max_length,
        )


def subject(folder, name, split):
    path = Path(folder) / split / f"{name}_{split}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Question(f"{split}-{i:04}", row[0], tuple(row[1:5]), "ABCD".index(row[5]))
            for i, row in enumerate(csv.reader(file))
        ]


def cases(options):
    """Each task with its log-likelihoods summed, and the items to ask."""
    found = {name: dataclasses.replace(tasks.get(name), rule="sum") for name in ("piqa", "siqa")}
    found["mmlu, 5-shot"] = tasks.get("mmlu[n_shots=5,rule=letter]")
    if options.mmlu:
        found["mmlu, 5-shot"] = MultipleChoice(
            f"mmlu {options.subject}",
            lambda: subject(options.mmlu, options.subject, "test"),
            "{question}\n{options}\nAnswer:",
            rule="letter",
            n_shots=5,
            load_shots=lambda: subject(options.mmlu, options.subject, "dev"),
            n_quantization=1,
        )
    chosen = found if options.only is None else {options.only: found[options.only]}
    return {name: (task, task.partition.evaluation[: options.n]) for name, task in chosen.items()}


def timed(call):
    wall, processor = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - wall, time.process_time() - processor


def best_batch_size(model, tokenizer, source, request, items):
    """Try the harness at each size on a few items."""
    seconds = {}
    for size in BATCH_SIZES:
        lm = harness(model, tokenizer, batch_size=size, max_length=source.max_length)
        seconds[size] = timed(lambda lm=lm: peer_scores(lm, request, items[:N_TRIED]))[2]
    return min(seconds, key=seconds.get)


def multiplications(loaded, request, items):
    """The harness's over calbench's, of weights and nothing else."""
    model, tokenizer, source = loaded
    questions, _ = encode_choices(tokenizer, request, items, max_length=source.max_length)
    head = model.get_output_embeddings().weight.numel()
    layers = sum(module.weight.numel() for _, module in model.named_modules() if isinstance(module, Linear))
    body = layers - head
    n_prefix = len(shared_prefix(questions)) if len(questions) > 1 else 0
    rows = sum(
        len(q.context) + len(option) - 1
        for q in questions
        for option in (q.options if max(map(len, q.options)) > 1 else q.options[:1])
    )
    tree = n_prefix + sum(n_tokens(q, n_prefix) for q in questions)
    read = sum(len(set(Tree(0).add(q))) for q in questions)
    return rows * (body + head) / (tree * body + read * head)


def compare(name, task, items, loaded, rounds):
    model, tokenizer, source = loaded
    request = task.request(source)
    size = best_batch_size(model, tokenizer, source, request, items)
    lm = harness(model, tokenizer, batch_size=size, max_length=source.max_length)
    calls = {
        "calbench": lambda: score(model, tokenizer, source, request, items).logits,
        "lm-eval": lambda: peer_scores(lm, request, items),
    }
    wall, processor, logits = {}, {}, {}
    for _ in range(rounds):
        for who, call in calls.items():
            logits[who], seconds, cpu_seconds = timed(call)
            wall[who] = min(wall.get(who, np.inf), seconds)
            processor[who] = min(processor.get(who, np.inf), cpu_seconds)
    labels = np.array([item.label for item in items])
    known = np.isfinite(logits["calbench"])
    return {
        "task": name,
        "n": len(items),
        "calbench items/s": len(items) / wall["calbench"],
        "lm-eval items/s": len(items) / wall["lm-eval"],
        "batch": size,
        "ratio": wall["lm-eval"] / wall["calbench"],
        "ratio, processor": processor["lm-eval"] / processor["calbench"],
        "multiplications": multiplications(loaded, request, items),
        "wanted": WANTED[name],
        "max |Δ|": np.abs(logits["calbench"] - logits["lm-eval"])[known].max(),
        "accuracy": f"{accuracy(logits['calbench'], labels):.3f} / {accuracy(logits['lm-eval'], labels):.3f}",
        "peak MB": f"{peak_mb('calbench', name, size)} / {peak_mb('lm-eval', name, size)}",
    }


def accuracy(logits, labels):
    return (logits.argmax(axis=1) == labels).mean()


def peak_mb(who, name, size):
    """Peak memory of one of the two alone, in a process of its own."""
    command = [sys.executable, *sys.argv, "--only", name, "--measure", who, "--batch-size", str(size)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(options):
    ((task, items),) = cases(options).values()
    model, tokenizer, source = load()
    request = task.request(source)
    if options.measure == "calbench":
        score(model, tokenizer, source, request, items)
    else:
        lm = harness(model, tokenizer, batch_size=options.batch_size, max_length=source.max_length)
        peer_scores(lm, request, items)
    # Not getrusage: what it reports outlives exec, and is the peak of the process that started this one.
    status = Path("/proc/self/status").read_text()
    print(int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) // 1024)


def load():
    source = models.get("smollm2").resolve()
    return source.load(), source.load_tokenizer(), source


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=100, help="items of each task")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mmlu", help="folder of MMLU's csv files: dev/, test/")
    parser.add_argument("--subject", default="high_school_us_history")
    parser.add_argument("--only", choices=WANTED, help="one task")
    parser.add_argument("--measure", choices=["calbench", "lm-eval"], help=argparse.SUPPRESS)
    parser.add_argument("--batch-size", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return measure(options)
    loaded = load()
    rows = []
    for name, (task, items) in cases(options).items():
        rows.append(compare(name, task, items, loaded, options.rounds))
        print(f"{name}: {rows[-1]['ratio']:.2f}x", file=sys.stderr, flush=True)
    print(tabulate(rows, headers="keys", floatfmt=".4g", tablefmt="github"))
    return None


if __name__ == "__main__":
    main()
