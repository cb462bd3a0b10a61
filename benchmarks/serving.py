"""Prompt tokens a second through calbench, beside what llama.cpp itself reports for the same tokens.

Items of one request and at least 200 tokens each, none of which shares a beginning with another, at as
many slots as requests in flight. Needs calbench[llama.cpp]:

    python benchmarks/serving.py [SLOTS] [ITEMS]
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import httpx

from calbench import models, tasks
from calbench.inference import NoShards
from calbench.runtimes import LlamaOptions, Prepared, ask_all, serving
from calbench.tasks import Item

N_TOKENS = 200


def contexts(tokenizer, n_items):
    """Texts of 200 tokens and more, each of sentences of its own."""
    texts = iter(item.text for item in tasks.get("tweets").partition.evaluation)
    found = []
    while len(found) < n_items:
        tokens: list[int] = []
        while len(tokens) < N_TOKENS:
            tokens += tokenizer(next(texts) + "\n")["input_ids"]
        found.append(tuple(tokens))
    return found


def totals(client):
    """Return the prompt tokens that the server has read, and the seconds that it says they took."""
    headers = {"Authorization": f"Bearer {client.key}"}
    text = httpx.get(f"{client.address.root}/metrics", headers=headers).raise_for_status().text
    return [
        float(re.search(rf"^llamacpp:{name} (\S+)$", text, re.MULTILINE)[1])
        for name in ("prompt_tokens_total", "prompt_seconds_total")
    ]


def main() -> None:
    slots, n_items = (int(text) for text in (sys.argv[1:] + ["4", "24"][len(sys.argv) - 1 :]))
    source = models.get("smollm2").resolve()
    rows = contexts(source.load_tokenizer(), n_items)
    with serving(Path(source.gguf), LlamaOptions(slots=slots, context=512)) as server:
        server.log_probs(rows[0][:5], [5])  # warm
        before, started = totals(server.client), time.perf_counter()
        prepared = Prepared(
            rows, [len(row) for row in rows], [1] * n_items, 1, lambda row: server.log_probs(row, [5]), 0, ""
        )
        items = [Item(f"{n:04}", "text", 0) for n in range(n_items)]
        scored = ask_all(prepared, items, n_at_once=slots, shards=NoShards(), on_progress=lambda *_: None)
        seconds = time.perf_counter() - started
        n_tokens, reported = (after - then for after, then in zip(totals(server.client), before, strict=True))
    ours, theirs = n_tokens / seconds, n_tokens / reported
    print(
        f"{len(scored.logits)} items at {slots} slots: {n_tokens:,.0f} prompt tokens in {seconds:.1f} s,"
        f" {ours:,.0f} a second; llama.cpp says {theirs:,.0f}: {ours / theirs:.0%}"
    )


if __name__ == "__main__":
    main()
