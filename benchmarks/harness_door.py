"""What it costs that a task's questions come from lm-evaluation-harness: the same items through both doors.

    python benchmarks/harness_door.py            # wants the extra `lm-eval` and `calbench setup`

The questions of embedded tasks are written as a data set of the harness's own kind, with the same prompt,
and one loaded model is asked both ways, in turns. The best of several rounds is what each costs; processor
seconds are shown too, since the machine may be busy with other things.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

from calbench import models, tasks
from calbench.inference import score

PROMPTS = {
    "boolq": "{{passage}}\\nQuestion: {{question}}?\\nAnswer:",
    "openbookqa": "{{question}}",
}


def write(folder: Path, name: str, items: list[tasks.Question]) -> None:
    """Write a task of the harness whose documents are these questions."""
    rows = ({"passage": i.passage, "question": i.text, "o": list(i.options), "label": i.label} for i in items)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / f"{name}.yaml").write_text(
        f"task: door_{name}\noutput_type: multiple_choice\ndataset_path: json\ntest_split: test\n"
        f"dataset_kwargs:\n  data_files: {{test: {folder}/{name}.jsonl}}\n"
        f'doc_to_text: "{PROMPTS[name]}"\ndoc_to_choice: o\ndoc_to_target: label\n'
    )


def row(name: str, n_items: int, n_rounds: int, folder: Path) -> dict[str, float | str]:
    """Ask one task both ways, in turns; returns seconds, their ratio and the largest difference."""
    source = models.get("smollm2").resolve()
    module, tokenizer = source.load(), source.load_tokenizer()
    native = tasks.get(f"{name}[rule=sum]")
    items = sorted(native.partition.evaluation[:n_items], key=lambda item: item.id)
    write(folder, name, items)
    harness = tasks.get(f"lm-eval:door_{name}[n_quantization=0]")
    documents = sorted(harness.partition.evaluation, key=lambda item: item.id)
    doors = {"native": (native, items), "harness": (harness, documents)}
    wall, processor, found = {}, {}, {}
    for turn in range(n_rounds):
        for door in list(doors)[:: 1 if turn % 2 else -1]:
            task, asked = doors[door]
            started, spent = time.perf_counter(), time.process_time()
            found[door] = score(module, tokenizer, source, task.request(source), asked).logits
            wall[door] = min(wall.get(door, np.inf), time.perf_counter() - started)
            processor[door] = min(processor.get(door, np.inf), time.process_time() - spent)
    logits = harness.logits(documents, found["harness"])
    return {
        "task": name,
        "items": len(items),
        "native s": wall["native"],
        "harness s": wall["harness"],
        "ratio": wall["harness"] / wall["native"],
        "ratio, processor": processor["harness"] / processor["native"],
        "max |Δ|": float(np.abs(logits - found["native"]).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CALBENCH_LM_EVAL_INCLUDE"] = folder
        rows = [row(name, given.items, given.rounds, Path(folder)) for name in PROMPTS]
    print(tabulate(rows, headers="keys", floatfmt=".3g"))


if __name__ == "__main__":
    main()
