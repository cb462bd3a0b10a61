"""Ten thousand items of a served model, one request in twenty failing, three kills: is it the same record?

The server is deterministic: its log-probabilities follow from a hash of the tokens. It is asked by
`calbench run` in a process of its own, which is killed with SIGKILL. Prints the two records' keys and
whether all numbers are equal. With `llama.cpp` the failing server passes on to a llama-server
with SmolLM2, and the two records' logits must lie within the noise floor of its self-test, and 99% of
them within the largest difference that it saw:

    python benchmarks/served_resume.py                    (10,000 items, about three minutes)
    python benchmarks/served_resume.py 200                (a short form)
    python benchmarks/served_resume.py 10000 llama.cpp
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from calbench import models
from calbench.errors import ServerError
from calbench.runtimes import LlamaOptions, serving
from calbench.store import Store, StoredPredictions, listed

N_WORDS = 50
N_KILLS = 3
FAILING = (429, 503, "cut")


def log_prob(tokens: list[int], token: int) -> float:
    """A distribution over the vocabulary, from a hash of what comes before."""
    weights = [1 + hashlib.sha256(bytes([*tokens, t])).digest()[0] for t in range(N_WORDS + 2)]
    return math.log(weights[token] / sum(weights))


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.n_asked, self.failing, self.lock = answer, 0, False, threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm, wbufsize = True, -1

    def do_GET(self) -> None:
        self.send(*self.server.answer(self.path, None))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.n_asked += "completion" in self.path
            n = self.server.n_asked
        if self.server.failing and n % 20 == 0:
            how = FAILING[n // 20 % len(FAILING)]
            if how != "cut":
                self.send(how, {"error": "busy"}, {"retry-after": "0"})
                return
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
            return
        self.send(*self.server.answer(self.path, body))

    def send(self, status, value, headers=None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"content-length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None:
        pass


def hashing(tokenizer):
    """Answer as a completions server whose model is the hash."""

    def answer(path, body):
        if body is None:
            return 200 if path == "/v1/models" else 404, {"data": [{"id": "hash", "max_model_len": 64}]}
        prompt = body["prompt"]
        tokens = tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        told = [(t, log_prob(tokens, t)) for t in range(N_WORDS + 2)]
        best = max(told, key=lambda one: one[1])
        listed = sorted(told, key=lambda one: -one[1])[: body.get("logprobs") or 1]
        names = tokenizer.convert_ids_to_tokens
        choice = {
            "text": names(best[0]),
            "logprobs": {"tokens": [names(best[0])], "token_logprobs": [best[1]]},
        }
        choice["logprobs"]["top_logprobs"] = [{names(t): value for t, value in listed}]
        if body.get("prompt_logprobs") is not None:
            known = [{str(t): {"logprob": log_prob(tokens[:i], t)}} for i, t in enumerate(tokens)]
            choice["prompt_logprobs"] = [None, *known[1:]]
        return 200, {"choices": [choice], "usage": {"prompt_tokens": len(tokens)}}

    return answer


def passing_on(client):
    """Answer as the real server does."""

    def answer(path, body):
        try:
            return 200, client.get(path) if body is None else client.post(path, body)
        except ServerError as error:
            return getattr(error, "status", None) or 500, {"error": {"message": str(error)}}

    return answer


def write_tokenizer(folder: Path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[UNK]", "Sentiment:", *(f"w{n}" for n in range(N_WORDS))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    made.save_pretrained(folder)
    return made


def write_project(folder: Path, model: str, words: str, n_items: int) -> None:
    rows = [f"{i:05},w{i % 48} w{i // 48 % 48} w{i // 2304 % 48} w{i % 7},{i % 2}" for i in range(n_items)]
    (folder / "items.csv").write_text("id,text,label\n" + "\n".join(rows) + "\n")
    (folder / "calbench.toml").write_text(
        f"[models.hash]\n{model}"
        'max_length = 32\ndefault_tasks = ["items"]\n[tasks.items]\nkind = "classification"\n'
        'file = "items.csv"\nid = "id"\ntext = "text"\nlabel = "label"\nclasses = ["0", "1"]\n'
        'prompt = "{text} Sentiment:"\n'
        f"label_words = {words}\nn_quantization = 0\n"
    )


def run(folder: Path, store: str) -> subprocess.Popen:
    command = ["run", "--models", "hash", "--calibrators", "identity", "--profile", "full", "--store", store]
    return subprocess.Popen(
        [sys.executable, "-c", "from calbench.cli import main; main()", *command],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
    )


def predictions(folder: Path, store: str) -> StoredPredictions:
    found = Store.at(folder / store)
    (one,) = listed(found)
    return found.read(one.key)


def disturbed(folder: Path, server: Server, n_whole: int) -> int:
    """Run to the end, killing the run after each quarter of the requests; returns how often it was."""
    server.failing, server.n_asked, n_kills = True, 0, 0
    while True:
        child = run(folder, "disturbed")
        while child.poll() is None and (n_kills == N_KILLS or server.n_asked < n_whole * (n_kills + 1) / 4):
            time.sleep(0.01)
        if child.poll() is not None:
            if child.returncode:
                raise SystemExit(f"the run ended with {child.returncode}")
            return n_kills
        child.kill()
        child.wait()
        n_kills += 1


@contextmanager
def asked(folder: Path, kind: str):
    """Give the server's answers, how calbench.toml names it, and two of its words."""
    if kind == "hash":
        named = 'served.only = "http://127.0.0.1:{port}/v1#hash"\ntokenizer = "tokenizer"\n'
        yield hashing(write_tokenizer(folder / "tokenizer")), named, '["w48", "w49"]'
        return
    source = models.get("smollm2").resolve()
    # The tokenizer at hand: a server's own would be asked about each item before the first one is scored.
    named = f'served.only = "http://127.0.0.1:{{port}}"\ntokenizer = "{source.location}"\n'
    with serving(Path(source.gguf), LlamaOptions(slots=4, context=256)) as server:
        yield passing_on(server.client), named, '["no", "yes"]'


def main() -> None:
    n_items = int(sys.argv[1]) if sys.argv[1:] else 10_000
    kind = sys.argv[2] if sys.argv[2:] else "hash"
    with TemporaryDirectory() as place, asked(Path(place), kind) as (answer, named, words):
        folder = Path(place)
        server = Server(answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        write_project(folder, named.format(port=server.server_port), words, n_items)
        started = time.perf_counter()
        if run(folder, "undisturbed").wait():
            raise SystemExit("the undisturbed run failed")
        n_whole = server.n_asked
        n_kills = disturbed(folder, server, n_whole)
        ours, theirs = (predictions(folder, store) for store in ("undisturbed", "disturbed"))
        apart = np.abs(ours.predictions.logits - theirs.predictions.logits)
        most, nearly, moved = float(apart.max()), float(np.quantile(apart, 0.99)), float((apart > 0).mean())
        noise, floor = (ours.provenance["self_test"][name] for name in ("noise", "noise_floor"))
        sure = np.abs(ours.predictions.confidences - theirs.predictions.confidences).mean()
        same_items = ours.predictions.item_ids.tolist() == theirs.predictions.item_ids.tolist()
        print(
            f"{n_items:,} items, {n_whole:,} requests; then {server.n_asked:,} with one in twenty failing and"
            f" {n_kills} kills: key {'the same' if ours.key == theirs.key else 'another'}, {moved:.1%} of"
            f" logits moved, 99% at most {nearly:.2g} (noise {noise:.2g}), all at most {most:.2g} (floor"
            f" {floor:.2g}), confidences by {sure:.1g} on average; {time.perf_counter() - started:.0f} s"
        )
        same = ours.key == theirs.key and same_items
        good = same and nearly <= noise and most <= floor and n_kills == N_KILLS
        raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
