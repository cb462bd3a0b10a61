"""llama.cpp's server: no echo, but the raw log-probability of every token that it is made to generate.

``n_probs`` reports log-probabilities before any sampler, over the whole vocabulary. A grammar of token
ids makes one request walk a whole continuation; where a server's grammars know no token ids,
``logit_bias`` forces one token a request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calbench.errors import ServerError
from calbench.runtimes._http import Client, RefusedError
from calbench.runtimes._openai import check_count, finite

FORCED = 1000.0


@dataclass(frozen=True, eq=False)
class LlamaServer:
    """Asks ``/completion``; see :class:`calbench.runtimes.TokenServer`.

    Parameters
    ----------
    client
        Of the server.
    by_grammar
        Whether continuations are walked by a grammar of token ids, in one request each.
    """

    client: Client
    by_grammar: bool = True
    name: str = "llama-server"

    def log_probs(self, context: Sequence[int], continuation: Sequence[int]) -> list[float]:
        """Return the log-probability of each token of a continuation."""
        if self.by_grammar and len(continuation) > 1:
            try:
                return self.walked(context, continuation)
            except ServerError as error:  # pieces of characters make the grammar fail
                if "grammar" not in str(error):
                    raise
        return [
            self._generated([*context, *continuation[:i]], [token], {"logit_bias": [[token, FORCED]]})[0]
            for i, token in enumerate(continuation)
        ]

    def walked(self, context: Sequence[int], continuation: Sequence[int]) -> list[float]:
        """Return the same by a grammar of token ids, in one request."""
        grammar = "root ::= " + " ".join(f"<[{token}]>" for token in continuation)
        return self._generated(context, continuation, {"grammar": grammar})

    def likeliest(self, context: Sequence[int], n: int, **sampling: Any) -> list[tuple[str, float]]:
        """Return the likeliest next tokens, as their ids in words."""
        answer = self._complete(context, {"n_predict": 1, "n_probs": n, **sampling})
        return [(str(one["id"]), _number(one)) for one in _steps(answer, context)[0]["top_logprobs"]]

    def n_tokens(self, prompt: str | Sequence[int]) -> int:
        """Return how many prompt tokens the server counts."""
        body = {"prompt": prompt if isinstance(prompt, str) else list(prompt), "n_predict": 1}
        return int(self.client.post("/completion", {**body, "n_probs": 0})["tokens_evaluated"])

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return a text's tokens by the server's own tokenizer."""
        body = {"content": text, "add_special": special, "parse_special": True}
        found = self.client.post("/tokenize", body)
        return [int(token) for token in found["tokens"]]

    def _generated(
        self, context: Sequence[int], wanted: Sequence[int], forced: Mapping[str, Any]
    ) -> list[float]:
        steps = _steps(self._complete(context, {"n_predict": len(wanted), "n_probs": 1, **forced}), context)
        given = [int(step.get("id", -1)) for step in steps]
        if given != list(wanted):
            raise RefusedError(
                f"{self.client.address.root} was made to generate the tokens {list(wanted)[:8]} and gave"
                f" {given[:8]}: it does not honour {'the grammar' if 'grammar' in forced else 'logit_bias'}",
                200,
            )
        return [_number(step) for step in steps]

    def _complete(self, context: Sequence[int], options: Mapping[str, Any]) -> Any:
        return self.client.post(
            "/completion",
            {
                "prompt": list(context),
                "temperature": 0.0,
                "cache_prompt": True,
                "post_sampling_probs": False,
                # A request that names a slot and waits for it gets wrong numbers after the first token
                # (build 11549): the server chooses, and finds the one that holds the context's beginning.
                "id_slot": -1,
                **options,
            },
        )


def _steps(answer: Any, context: Sequence[int]) -> list[dict[str, Any]]:
    steps = answer.get("completion_probabilities") if isinstance(answer, dict) else None
    if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
        raise ServerError("llama-server sent no completion_probabilities; is it older than January 2025?")
    if answer.get("truncated"):
        raise ServerError(
            "the server cut the prompt: its context is too small; start it with a larger --ctx-size"
        )
    check_count(answer.get("tokens_evaluated"), len(context))
    return steps


def _number(step: Mapping[str, Any]) -> float:
    return finite(step.get("logprob"), step.get("id"))
