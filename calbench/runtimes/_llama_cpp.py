"""llama.cpp itself, in a child process: a GGUF file in, a server on 127.0.0.1 out."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from calbench import devices
from calbench.cache import sha256_of
from calbench.errors import BackendUnavailableError, InputError, ServerError
from calbench.inference import Request, Scored, Shards
from calbench.models import Address, ModelSource, read_header
from calbench.runtimes._http import Client, Patience
from calbench.runtimes._llama_server import LlamaServer
from calbench.runtimes._scoring import ask_all
from calbench.runtimes._tokens import Tokenised
from calbench.tasks import LabelledItem

KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0")
_START_SECONDS = 600.0


@dataclass(frozen=True)
class LlamaOptions:
    """How llama.cpp runs.

    Parameters
    ----------
    kv
        Type of the key-value cache: float32, as torch computes, unless a cache's effect is asked.
    flash
        Whether attention is computed by the fused kernel, which rounds otherwise; a quantized cache
        needs it.
    slots
        Requests at once.
    context
        Tokens of each.
    threads
        Of the CPU; 0 takes a core less than there are, one at least.
    """

    kv: str = "f32"
    flash: bool = False
    slots: int = 16
    context: int = 512
    threads: int = 0

    def __post_init__(self) -> None:
        if self.kv not in KV_TYPES:
            raise InputError(f"kv is {self.kv!r}; llama.cpp's caches here are {', '.join(KV_TYPES)}")

    @property
    def fused(self) -> bool:
        """Whether the fused kernel runs."""
        return self.flash or self.kv.startswith("q")

    def identity(self) -> dict[str, Any]:
        """Return all of it that can change a number by more than rounding."""
        return {"kv": self.kv, "flash": self.fused}


@dataclass(frozen=True, eq=False)
class LlamaCppRuntime:
    """A GGUF file in llama.cpp; see :class:`calbench.runtimes.Runtime`.

    Parameters
    ----------
    path
        The file.
    tokenizer, source
        Of the model that the file is of.
    options
        ``context`` becomes what the longest item needs.
    """

    path: Path
    tokenizer: Any
    source: ModelSource
    options: LlamaOptions = field(default_factory=LlamaOptions)
    name: str = "llama.cpp"

    def score(
        self,
        request: Request,
        items: Sequence[LabelledItem],
        *,
        shards: Shards,
        on_progress: Callable[..., None],
    ) -> Scored:
        """Start llama.cpp, ask every item, and end it."""
        rows = Tokenised.of(self.tokenizer, self.source, request, items)
        fitted = replace(self.options, context=64 * (1 + rows.longest // 64))
        with serving(self.path, fitted) as server:
            return ask_all(
                rows.prepared(server), items, n_at_once=fitted.slots, shards=shards, on_progress=on_progress
            )

    def notes(self) -> Mapping[str, Any]:
        """The runtime and its options."""
        return {"runtime": {"name": self.name, **asdict(self.options)}}


def check_available() -> None:
    """Raise :class:`BackendUnavailableError` if llama.cpp is not installed."""
    for package in ("xllamacpp", "httpx"):
        if find_spec(package) is None:
            raise BackendUnavailableError(
                f"llama.cpp runs by the package xllamacpp, and {package} is missing; pip install"
                " 'calbench[llama.cpp]'"
            )


def identity(path: Path, options: LlamaOptions) -> dict[str, Any]:
    """Return, as plain JSON, all that could change what a file says in llama.cpp."""
    return {
        "runtime": "llama.cpp",
        "gguf": sha256_of(path),
        "xllamacpp": metadata.version("xllamacpp"),
        **options.identity(),
    }


@contextmanager
def serving(path: Path, options: LlamaOptions | None = None) -> Iterator[LlamaServer]:
    """Serve a GGUF file for as long as a block runs; the header is checked before native code sees it.

    Raises
    ------
    BackendUnavailableError
        xllamacpp is not installed.
    InputError
        The file is damaged, or llama.cpp does not know its architecture.
    ServerError
        The child process ended.
    """
    options = options or LlamaOptions()
    check_available()
    read_header(path)
    key = secrets.token_hex(16)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        child = _started(path, options, key, log)
        try:
            client = Client(_address(child, path, log), Patience(seconds=600.0, n_tries=2), key=key)
            try:
                yield LlamaServer(client, name="llama.cpp")
            except ServerError as error:
                if child.poll() is None:
                    raise
                raise ServerError(
                    f"llama.cpp ended ({child.returncode}) while it was asked: {_end(log)}"
                ) from error
            finally:
                client.close()
        finally:
            _stop(child)


def _started(path: Path, options: LlamaOptions, key: str, log: IO[str]) -> subprocess.Popen[str]:
    settings = {
        **asdict(options),
        "path": str(path),
        "flash": options.fused,
        "threads": options.threads or max(1, (os.cpu_count() or 2) - 1),
        "cpu": devices.kind() == "cpu",
    }
    return subprocess.Popen(  # noqa: S603 (this interpreter, and settings of ours)
        [sys.executable, "-m", "calbench.runtimes._llama_child", json.dumps(settings)],
        env={**_environment(), "CALBENCH_CHILD_KEY": key},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )


def _environment() -> Mapping[str, str]:
    """Return this process's environment, its own path of modules, and none of its keys."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALBENCH_API_KEY")}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _address(child: subprocess.Popen[str], path: Path, log: IO[str]) -> Address:
    import threading

    assert child.stdout is not None  # noqa: S101 (it was asked for)
    overdue = threading.Timer(_START_SECONDS, child.kill)
    overdue.start()
    try:
        line = child.stdout.readline()
    finally:
        overdue.cancel()
    if not line:
        code = child.wait()
        raise InputError(f"{path}: llama.cpp cannot load it (its process ended with {code}): {_end(log)}")
    return Address.parse(json.loads(line)["address"])


def _end(log: IO[str]) -> str:
    """Return what native code said last that looks like a reason."""
    log.seek(0)
    lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    reasons = [line for line in lines if " E " in line or "error" in line.lower() or "assert" in line.lower()]
    return " / ".join((reasons or lines)[-3:]) or "it said nothing"


def _stop(child: subprocess.Popen[str]) -> None:
    """End the child: its standard input ends, and if that is not enough, it is killed."""
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            with suppress(OSError):  # it ended before
                stream.close()
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
