"""Served builds of a model: peers of a quantizer, asked at an address instead of being made here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from calbench import quantizers
from calbench.cache import replacing
from calbench.errors import InputError, ModelLoadingForbiddenError
from calbench.models import Address, ModelSource
from calbench.runtimes import Connection, Runtime, connected, oldest_answer, reconnected, require
from calbench.store import Store, key_of


@dataclass(frozen=True)
class ServedReport:
    """What stands in a served record's place of a quantization report: nothing was made here."""

    quantizer: str
    model: str
    address: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON; what a server does not tell is None."""
        known = {"quantizer": self.quantizer, "model": self.model, "address": self.address}
        unknown = dict.fromkeys(("effective_bits", "resident_bytes", "epsilon", "proof"))
        return {**known, **unknown, "seconds": {}, "kernel": "the server's"}


@dataclass(eq=False)
class ServedBuild:
    """One build of a served model.

    Parameters
    ----------
    source
        The model.
    name
        Of the build.
    store
        Keeps what the self-test learned, so that stored records are found without the server.
    replay
        Never ask a server.
    """

    source: ModelSource
    name: str
    store: Store
    replay: bool
    _connection: Connection | None = field(default=None, repr=False)
    _facts: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def address(self) -> Address:
        """Where it is asked."""
        return Address.parse(dict(self.source.builds)[self.name])

    @property
    def report(self) -> ServedReport:
        """What is noted of it."""
        return ServedReport(self.name, self.source.id, str(self.address))

    def identity(self) -> Mapping[str, Any]:
        """Return all that the self-test learned; a changed server is another model.

        Raises
        ------
        InputError, ServerError
            There is no such server, or it cannot be trusted.
        ModelLoadingForbiddenError
            It was never asked, and only stored records may be used.

        Notes
        -----
        No server tells a hash of its weights, so that it may have others tomorrow. With a largest age, see
        :func:`calbench.runtimes.forget_after`, it is asked anew when what it said is older.
        """
        kept = self.store.root / "served" / f"{key_of({'address': str(self.address)})}.json"
        if self.replay:
            if not kept.is_file():
                raise ModelLoadingForbiddenError(
                    f"{self.address} was never asked from this store, and this is a replay,"
                    " which uses stored records alone; run it once without replay"
                )
            facts: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
            return facts
        if self._facts is not None:
            return self._facts
        facts = dict(self._tested().test.facts)
        if (oldest := oldest_answer()) is not None:
            known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
            since = known.get("since", "")
            facts["since"] = since if since >= oldest else datetime.now(timezone.utc).isoformat()
        with replacing(kept) as temporary:
            temporary.write_text(json.dumps(facts, sort_keys=True), encoding="utf-8")
        self._facts = facts
        return facts

    def _tested(self) -> Connection:
        if self._connection is None:
            tokenizer = self.source.load_tokenizer() if self.source.location else None
            with connected(self.address, tokenizer=tokenizer, declared=self.source.declared) as found:
                require(found.test, str(self.address))
                self._connection = found
        return self._connection

    @contextmanager
    def runtime(self) -> Iterator[Runtime]:
        """Give the server's runtime while a block runs."""
        with reconnected(self._tested()) as connection:
            yield connection.runtime(self.source)


def served_build(source: ModelSource, name: str, store: Store, *, replay: bool) -> ServedBuild | None:
    """Return a model's served build, or None if the model is not served.

    Raises
    ------
    InputError
        The model is served, and has no build of this name.
    """
    if not source.builds:
        return None
    if name not in dict(source.builds):
        known = ", ".join(build for build, _ in source.builds)
        raise InputError(f"{source.id} is served as {known}, and not as {name!r}; choose one of these")
    return ServedBuild(source, name, store, replay)


def epsilon_of(source: ModelSource, quantizer: str) -> float | None:
    """Return the unit error of a quantizer; a server tells none."""
    return None if source.builds else quantizers.get(quantizer).epsilon
