"""A server found out: which kind it is, what it serves, and whether it can be trusted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from calbench.errors import InputError, ServerError
from calbench.models import CHAT, DECISIONS, Address, ModelSource
from calbench.runtimes._access import check_host
from calbench.runtimes._chat import ChatServer
from calbench.runtimes._chat_test import chat_tested
from calbench.runtimes._http import Client, Patience, as_documented
from calbench.runtimes._llama_server import LlamaServer
from calbench.runtimes._openai import OpenAIServer
from calbench.runtimes._self_test import SelfTest, require
from calbench.runtimes._served_runtime import Prepare, ServedRuntime
from calbench.runtimes._systemone import SystemOneServer
from calbench.runtimes._systemone_test import systemone_tested
from calbench.runtimes._token_test import tested
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
    who
        What the server told of itself without a prompt; empty if it is asked for that with each answer.
    """

    server: Server
    tokenizer: Any
    test: SelfTest
    context: int | None
    n_at_once: int
    who: Mapping[str, Any] = field(default_factory=dict)

    def runtime(self, source: ModelSource) -> ServedRuntime:
        """Return the runtime; raises :class:`InputError` if the self-test refuses the server."""
        where = str(self.test.facts["address"])
        require(self.test, where)
        told = {"self_test": self.test.to_dict()}
        return ServedRuntime(
            self.server.name, self._prepare(source), self.n_at_once, told, self.check_unchanged, where
        )

    def check_unchanged(self) -> None:
        """Raise :class:`ServerError` if a server is another one than was put to the test."""
        now = _who(self.server.client).facts if self.who else {}
        changed = [name for name, fact in self.who.items() if now.get(name) != fact]
        if changed:
            told = ", ".join(f"{name} was {self.who[name]!r} and is {now.get(name)!r}" for name in changed)
            raise ServerError(f"{self.server.client.address} changed since the self-test: {told}; run again")

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
        with ThreadPoolExecutor(N_AT_ONCE) as pool:  # a request a text, and each may have to be repeated
            rows = pool.map(lambda text: self.server.tokenize(text, special=add_special_tokens), texts)
            return {"input_ids": list(rows)}

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
        with as_documented(str(address)):
            found = ways.get(endpoint, _found)(client, tokenizer, n_at_once)
        yield found
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
    who = _who(client)
    facts = {"address": str(client.address), **who.facts}
    if who.slots:
        llama = LlamaServer(client)
        tokenizer = tokenizer or who.tokenizer(llama)
        server, test = tested(llama, tokenizer, facts | {"runtime": "llama-server"})
        return Connection(server, tokenizer, test, who.context, min(n_at_once, who.slots), who.facts)
    if tokenizer is None:
        raise InputError(
            f"{client.address}: this server's tokenizer cannot be asked for; name the base model's in"
            " calbench.toml: tokenizer = 'org/name'"
        )
    asked = OpenAIServer(client, who.facts["model"])
    server, test = tested(asked, tokenizer, facts | {"runtime": "openai"})
    return Connection(server, tokenizer, test, who.context, n_at_once, who.facts)


def _chat(client: Client, tokenizer: Any, n_at_once: int) -> Connection:
    who = _who(client)
    facts = {"address": _at(client, CHAT), **who.facts, "runtime": "chat"}
    if who.slots:
        tokenizer = tokenizer or who.tokenizer(LlamaServer(client))
        n_at_once = min(n_at_once, who.slots)
    server, test = chat_tested(ChatServer(client, who.facts["model"], tokenizer), facts)
    return Connection(server, tokenizer, test, None, n_at_once, who.facts)


@dataclass(frozen=True)
class _Who:
    """Who answers, as far as a server tells without a prompt.

    Attributes
    ----------
    facts
        Part of a record's identity.
    slots
        Of llama-server; 0 for others.
    context
        Tokens that a request may have; None if the server does not say.
    """

    facts: Mapping[str, Any]
    slots: int
    context: int | None

    def tokenizer(self, llama: LlamaServer) -> ServerTokenizer:
        """Return llama-server's own tokenizer."""
        size = self.facts["weights"]["n_vocab"]
        if not size:
            raise InputError(
                f"{llama.client.address}: this llama-server does not tell the size of its vocabulary; take a"
                " newer one, or name the base model's tokenizer in calbench.toml: tokenizer = 'org/name'"
            )
        return ServerTokenizer(llama, int(size))


def _who(client: Client) -> _Who:
    props = client.optional("/props")
    model, listed = _model(client)
    with as_documented(client.address.base):
        if not (isinstance(props, dict) and "default_generation_settings" in props):
            facts = {"model": model, "build": _build(client), "root": listed.get("root")}
            return _Who(facts, 0, _count(listed.get("max_model_len")))
        meta = listed.get("meta") or {}
        facts = {
            "model": model,
            "build": props.get("build_info"),
            "template": _hash(props.get("chat_template")),
            "weights": {k: meta.get(k) for k in ("n_params", "size", "ftype", "n_vocab")},
        }
        context = (props["default_generation_settings"] or {}).get("n_ctx")
        return _Who(facts, _count(props.get("total_slots")) or 1, _count(context))


def _count(told: Any) -> int | None:
    """Return a number of tokens or slots; None if it is none."""
    return int(told) if told and int(told) > 0 else None


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
