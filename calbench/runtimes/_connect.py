"""A server found out: which kind it is, what it serves, and whether it can be trusted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from calbench.errors import InputError
from calbench.models import CHAT, DECISIONS, Address, ModelSource
from calbench.runtimes._access import check_host
from calbench.runtimes._chat import ChatServer
from calbench.runtimes._chat_test import chat_tested
from calbench.runtimes._http import Client, Patience
from calbench.runtimes._llama_server import LlamaServer
from calbench.runtimes._openai import OpenAIServer
from calbench.runtimes._self_test import SelfTest, require, tested
from calbench.runtimes._served_runtime import Prepare, ServedRuntime
from calbench.runtimes._systemone import SystemOneServer
from calbench.runtimes._systemone_test import systemone_tested
from calbench.runtimes._tokens import Tokenised

N_AT_ONCE = 8
Server = OpenAIServer | LlamaServer | ChatServer | SystemOneServer


@dataclass(frozen=True)
class Connection:
    """A server that passed, or failed, its self-test.

    Attributes
    ----------
    server, tokenizer
        Who is asked, in the way that the self-test found, and how items are tokenised.
    test
        What it learned.
    context
        Tokens that a request may have; None if the server does not say.
    n_at_once
        Requests in flight.
    """

    server: Server
    tokenizer: Any
    test: SelfTest
    context: int | None
    n_at_once: int

    def runtime(self, source: ModelSource) -> ServedRuntime:
        """Return the runtime; raises :class:`InputError` if the self-test refuses the server."""
        require(self.test, str(self.test.facts["address"]))
        told = {"self_test": self.test.to_dict()}
        return ServedRuntime(self.server.name, self._prepare(source), self.n_at_once, told)

    def _prepare(self, source: ModelSource) -> Prepare:
        server = self.server
        if isinstance(server, ChatServer | SystemOneServer):
            return server.prepared
        longest = min(source.max_length, (self.context or source.max_length + 1) - 1)
        fitted = replace(source, max_length=longest)
        return lambda request, items: Tokenised.of(self.tokenizer, fitted, request, items).prepared(server)


@dataclass(frozen=True, eq=False)
class ServerTokenizer:
    """A server's own tokenizer, with the few members of transformers' that are needed.

    Parameters
    ----------
    server
        That tokenises.
    size
        Tokens of the vocabulary.
    """

    server: LlamaServer
    size: int

    bos_token = None
    unk_token_id = None
    pad_token_id = None

    def __call__(
        self, texts: str | Sequence[str], *, add_special_tokens: bool = True, **_: Any
    ) -> dict[str, Any]:
        """Return ``input_ids`` of a text, or of each."""
        if isinstance(texts, str):
            return {"input_ids": self.server.tokenize(texts, special=add_special_tokens)}
        return {"input_ids": [self.server.tokenize(t, special=add_special_tokens) for t in texts]}

    def __len__(self) -> int:
        return self.size


@contextmanager
def connected(
    address: Address,
    *,
    tokenizer: Any = None,
    declared: bool = False,
    patience: Patience | None = None,
    n_at_once: int = N_AT_ONCE,
    key: str | None = None,
) -> Iterator[Connection]:
    """Connect to a server and put it to the test.

    Parameters
    ----------
    address
        Of the server and the model.
    tokenizer
        The base model's; None takes the server's own, which llama-server offers.
    declared
        Whether a file names the server, and not the user.
    patience, n_at_once
        How long answers are waited for, and how many at once.
    key
        Where the environment's is not meant.

    Raises
    ------
    InputError
        The host may not be asked, serves another model, or needs a tokenizer that was not named.
    ServerError
        There is no server, or none of these kinds.
    """
    check_host(address, declared=declared)
    endpoint = next((end for end in (CHAT, DECISIONS) if address.path.endswith(end)), "")
    asked = replace(address, path=address.path.removesuffix(endpoint))
    client = Client(asked, patience or Patience(), key)
    ways = {CHAT: _chat, DECISIONS: _decisions}
    try:
        yield ways.get(endpoint, _found)(client, tokenizer, n_at_once)
    finally:
        client.close()


@contextmanager
def reconnected(connection: Connection) -> Iterator[Connection]:
    """Connect again to a server that was tested before."""
    old = connection.server.client
    client = Client(old.address, old.patience, old.key)
    tokenizer, server = connection.tokenizer, replace(connection.server, client=client)
    if isinstance(tokenizer, ServerTokenizer):  # its client was closed too
        tokenizer = replace(tokenizer, server=replace(tokenizer.server, client=client))
    if isinstance(server, ChatServer):
        server = replace(server, tokenizer=tokenizer)
    try:
        yield replace(connection, server=server, tokenizer=tokenizer)
    finally:
        client.close()


def _found(client: Client, tokenizer: Any, n_at_once: int) -> Connection:
    props = client.optional("/props")
    model, listed = _model(client)
    facts: dict[str, Any] = {"address": str(client.address), "model": model}
    if _is_llama(props):
        llama, more = _llama(client, props, listed)
        tokenizer = tokenizer or ServerTokenizer(llama, int(more["weights"]["n_vocab"] or 0))
        server, test = tested(llama, tokenizer, facts | {"runtime": "llama-server", **more})
        context = (props.get("default_generation_settings") or {}).get("n_ctx")
        return Connection(server, tokenizer, test, context, min(n_at_once, llama.slots))
    if tokenizer is None:
        raise InputError(
            f"{client.address}: this server's tokenizer cannot be asked for; name the base model's in"
            " calbench.toml: tokenizer = 'org/name'"
        )
    facts |= {"runtime": "openai", "build": _build(client), "root": listed.get("root")}
    server, test = tested(OpenAIServer(client, model), tokenizer, facts)
    return Connection(server, tokenizer, test, listed.get("max_model_len"), n_at_once)


def _is_llama(props: Any) -> bool:
    return isinstance(props, dict) and "default_generation_settings" in props


def _llama(client: Client, props: Any, listed: dict[str, Any]) -> tuple[LlamaServer, dict[str, Any]]:
    """Return llama-server, and what it tells of itself."""
    meta = listed.get("meta") or {}
    return LlamaServer(client, slots=int(props.get("total_slots") or 1)), {
        "build": props.get("build_info"),
        "template": _hash(props.get("chat_template")),
        "weights": {k: meta.get(k) for k in ("n_params", "size", "ftype", "n_vocab")},
    }


def _chat(client: Client, tokenizer: Any, n_at_once: int) -> Connection:
    props = client.optional("/props")
    model, listed = _model(client)
    facts: dict[str, Any] = {"address": _at(client, CHAT), "model": model, "runtime": "chat"}
    if _is_llama(props):
        llama, more = _llama(client, props, listed)
        facts |= more
        tokenizer = tokenizer or ServerTokenizer(llama, int(more["weights"]["n_vocab"] or 0))
        n_at_once = min(n_at_once, llama.slots)
    else:
        facts["build"] = _build(client)
    server, test = chat_tested(ChatServer(client, model, tokenizer), facts)
    return Connection(server, tokenizer, test, None, n_at_once)


def _at(client: Client, endpoint: str) -> str:
    return str(replace(client.address, path=client.address.path + endpoint))


def _decisions(client: Client, tokenizer: Any, n_at_once: int) -> Connection:
    path = "./models" if client.address.path else "/v1/models"
    answer = client.optional(path)
    listed = (answer.get("models") or answer.get("data")) if isinstance(answer, dict) else None
    known = [str(one.get("name") or one.get("id")) for one in listed or [] if isinstance(one, dict)]
    if not client.address.model and len(known) != 1:
        raise InputError(
            f"{client.address.base} serves {', '.join(known) or 'models that it does not name'}; say which:"
            f" write {client.address.base}{DECISIONS}#{known[0] if known else 'model'}"
        )
    model = client.address.model or known[0]
    facts = {"address": _at(client, DECISIONS), "model": model, "runtime": "systemone"}
    server, test = systemone_tested(SystemOneServer(client, model), facts)
    return Connection(server, tokenizer, test, None, n_at_once)


def _model(client: Client) -> tuple[str, dict[str, Any]]:
    """Return the served model's name and what the server says of it."""
    path = "./models" if client.address.path else "/v1/models"
    answer = client.get(path)
    listed = answer.get("data") if isinstance(answer, dict) else None
    known = {str(one.get("id")): one for one in listed or [] if isinstance(one, dict)}
    wanted = client.address.model or (next(iter(known)) if len(known) == 1 else "")
    if wanted not in known:
        raise InputError(
            f"{client.address.base} serves {', '.join(known) or 'no model'},"
            + (f" and not {wanted!r};" if wanted else " so say which;")
            + f" write {client.address.base}#{next(iter(known), 'model')}"
        )
    return wanted, known[wanted]


def _build(client: Client) -> str | None:
    """Return who the server is and of which version, as far as it tells."""
    for path, name in (("/version", "vLLM"), ("/get_server_info", "SGLang"), ("/api/version", "Ollama")):
        answer = client.optional(path)
        if isinstance(answer, dict) and answer.get("version"):
            return f"{name} {answer['version']}"
    return None


def _hash(text: Any) -> str | None:
    return hashlib.sha256(text.encode()).hexdigest()[:16] if isinstance(text, str) else None
