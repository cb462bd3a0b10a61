"""A server that behaves as vLLM documents, over a real tiny model, with faults that can be switched on."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from calbench.errors import ServerError
from tests.runtimes.crowds import CrowdingPool

CONTEXT = 128
FAULTS = (
    "adds-bos",
    "another-tokenizer",
    "echo-ignored",
    "generated-processed",
    "prompt-processed",
    "penalised",
    "off-by-one",
    "floor",
    "unrepeatable",
    "rounds-long-prompts",
    "unnormalised",
    "reads-no-context",
    "mixed-up",
    "miscounted",
    "other-names",
    "null",
    "nan",
)


class CompletionsServer:
    """``/v1/models``, ``/version`` and ``/v1/completions``; a batch of one is deterministic.

    Parameters
    ----------
    folder
        Of the model, whose tokenizer puts a BOS first.
    faults
        Of ``FAULTS``.
    max_logprobs
        As vLLM's option.
    without
        Ways of asking for prompt log-probabilities that the server does not know.
    biased
        What ``logit_bias`` does to log-probabilities: nothing (``"raw"``, it only chooses), it is in them
        (``"processed"``), or it is ``"ignored"`` altogether.
    """

    def __init__(
        self,
        folder: Path,
        faults: tuple[str, ...] = (),
        *,
        max_logprobs: int = 20,
        without: tuple[str, ...] = (),
        version: str = "0.11.0",
        biased: str = "raw",
    ) -> None:
        import transformers

        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        self.faults, self.max_logprobs, self.without, self.version = faults, max_logprobs, without, version
        self.biased = biased
        self.asked = Counter[str]()
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        # Given a path and body, may answer in the server's place: (status, text, headers).
        self.instead: Any = lambda path, body: None

    @torch.no_grad()
    def logits(self, tokens: list[int]) -> torch.Tensor:
        return self.model(input_ids=torch.tensor([tokens])).logits[0].double()

    def distributions(self, tokens: list[int], body: dict[str, Any], *, of_prompt: bool) -> torch.Tensor:
        logits = self.logits(tokens)
        kind = "prompt-processed" if of_prompt else "generated-processed"
        if kind in self.faults:
            logits = logits / max(body.get("temperature", 1.0), 0.01)
        if "penalised" in self.faults:
            logits[:, sorted(set(tokens))] -= body.get("frequency_penalty", 0.0)
        if "reads-no-context" in self.faults:
            logits = self.model(input_ids=torch.tensor(tokens)[:, None]).logits[:, 0].double()
        values = torch.log_softmax(logits, -1)
        if "unnormalised" in self.faults:
            values = values * 0.5
        if "unrepeatable" in self.faults:
            with self.lock:
                self.asked["noise"] += 1
            values = values + 0.3 * (self.asked["noise"] % 3)
        if "mixed-up" in self.faults and CrowdingPool.n_asking:
            values = values - 3
        if "floor" in self.faults:
            least = values.topk(min(self.max_logprobs, values.shape[-1])).values[:, -1:]
            values = torch.maximum(values, least)
        return values

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        prompt = body["prompt"]
        tokens = self.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else list(prompt)
        bos = self.tokenizer.bos_token_id
        if "adds-bos" in self.faults and not isinstance(prompt, str):
            tokens = [bos, *tokens]
        if "another-tokenizer" in self.faults and isinstance(prompt, str):
            tokens = [token for token in tokens for _ in range(2)]
        if "miscounted" in self.faults:
            tokens = [*tokens, *tokens[-2:]]
        if len(tokens) > CONTEXT:
            problem = f"This model's maximum context length is {CONTEXT} tokens, and {len(tokens)} were sent"
            return 400, {"object": "error", "message": problem, "code": 400}
        wanted = body.get("logprobs")
        if (wanted or 0) > self.max_logprobs or (body.get("prompt_logprobs") or 0) > self.max_logprobs:
            problem = f"Requested {wanted} logprobs, which is greater than max allowed: {self.max_logprobs}"
            return 400, {"object": "error", "message": problem, "code": 400}
        generated = self.distributions(tokens, body, of_prompt=False)[-1]
        best = int(generated.argmax())
        choice: dict[str, Any] = {"index": 0, "text": self.written(best), "finish_reason": "length"}
        rows = self.distributions(tokens, body, of_prompt=True)
        shift = 2 if "off-by-one" in self.faults else 1
        known = [
            None if place == 0 else float(rows[max(place - shift, 0), tokens[place]])
            for place in range(len(tokens))
        ]
        if "rounds-long-prompts" in self.faults and len(tokens) > 30:
            with self.lock:
                self.asked[str(tokens)] += 1
                known[-1] += 0.3 * (self.asked[str(tokens)] > 1)
        if "null" in self.faults:
            known[-1] = None
        if "nan" in self.faults:
            known[-1] = float("nan")
        if wanted is not None:
            top = {
                self.written(int(i)): float(v)
                for v, i in zip(*generated.topk(min(wanted, len(generated))), strict=True)
            }
            listed = {"tokens": [self.written(best)], "token_logprobs": [float(generated[best])]}
            if body.get("echo") and "echo-ignored" not in self.faults and "echo" not in self.without:
                listed = {
                    "tokens": [self.written(token) for token in tokens] + listed["tokens"],
                    "token_logprobs": known + listed["token_logprobs"],
                }
            choice["logprobs"] = {**listed, "top_logprobs": [top]}
        if body.get("prompt_logprobs") is not None and "prompt_logprobs" not in self.without:
            choice["prompt_logprobs"] = [
                None if value is None and place == 0 else {str(token): {"logprob": value, "rank": 1}}
                for place, (token, value) in enumerate(zip(tokens, known, strict=True))
            ]
        usage = {"prompt_tokens": len(tokens), "completion_tokens": 1, "total_tokens": len(tokens) + 1}
        return 200, {"object": "text_completion", "model": "tiny", "choices": [choice], "usage": usage}

    def chat(self, body: dict[str, Any]) -> tuple[int, Any]:
        tokens = self.tokenizer(body["messages"][-1]["content"])["input_ids"]
        if "another-tokenizer" in self.faults:
            tokens = [token for token in tokens for _ in range(2)]
        if body.get("top_logprobs", 0) > self.max_logprobs:
            return 400, {"error": {"message": f"top_logprobs must be at most {self.max_logprobs}"}}
        told = self.distributions(tokens, body, of_prompt=False)[-1]
        bias = torch.zeros_like(told)
        for token, value in body.get("logit_bias", {}).items():
            bias[int(token)] = 0.0 if self.biased == "ignored" else value
        if self.biased == "processed":
            told = torch.log_softmax(told + bias, -1)
        best = int((told + bias).argmax())
        first = told.topk(min(body.get("top_logprobs", 0), len(told)))
        entries = [self.entry(int(i), float(v)) for v, i in zip(*first, strict=True)]
        choice = {"index": 0, "message": {"role": "assistant", "content": self.written(best)}}
        if "no-logprobs" not in self.faults:
            choice["logprobs"] = {
                "content": [{**self.entry(best, float(told[best])), "top_logprobs": entries}]
            }
        usage = {"prompt_tokens": len(tokens) + 4}
        return 200, {"object": "chat.completion", "model": "tiny", "choices": [choice], "usage": usage}

    def entry(self, token: int, value: float) -> dict[str, Any]:
        if "nan" in self.faults:
            value = float("nan")
        written = self.written(token)
        return {"token": written, "logprob": value, "bytes": list(written.encode())}

    def written(self, token: int) -> str:
        if "other-names" in self.faults:
            return f"<{token}> <{token}>"
        return str(self.tokenizer.convert_ids_to_tokens(token))

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        with self.lock:
            self.asked[path] += 1
        if (method, path) == ("GET", "/v1/models"):
            return 200, {"data": [{"id": "tiny", "root": "tiny", "max_model_len": CONTEXT}]}
        if (method, path) == ("GET", "/version"):
            return 200, {"version": self.version}
        answers = {"/v1/completions": self.complete, "/v1/chat/completions": self.chat}
        if method != "POST" or path not in answers:
            return 404, {"detail": "Not Found"}
        return answers[path](body)


class Proxy:
    """Passes everything on to a real server, after a request and before an answer is changed."""

    def __init__(self, client, *, request=None, answer=None):
        self.client, self.headers = client, []
        self.instead = lambda path, body: None
        self.request = request or (lambda path, body: body)
        self.changed = answer or (lambda path, value: value)

    def answer(self, method, path, body):
        try:
            body = self.request(path, body)
            value = self.client.get(path) if method == "GET" else self.client.post(path, body)
        except ServerError as error:
            return getattr(error, "status", 500), {"error": {"message": str(error)}}
        return 200, self.changed(path, value)


@contextmanager
def listening(server: Any) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one packet: else each answer waits 40 ms for the other side's receipt.
        disable_nagle_algorithm, wbufsize = True, -1

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def _answer(self, body: dict[str, Any]) -> None:
            server.headers.append(dict(self.headers))
            found = server.instead(self.path, body)
            if found is None:
                status, value = server.answer(self.command, self.path, body)
                found = status, json.dumps(value), {}
            status, text, headers = found
            content = text.encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
