"""What self-tests of all kinds of servers share: what was found out, step by step, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from calbench.errors import InputError, ServerError
from calbench.runtimes._http import UnreachableError, as_documented

if TYPE_CHECKING:
    from typing_extensions import Self

Outcome = Literal["ok", "noted", "refused"]
TEXTS = (
    "The capital of France is Paris, and the capital of Italy is",
    "Text: I love it so much, I love it so much\nSentiment:",
    "1, 2, 3, 4, 5, 6, 7, 8, 9,",
)
# Kernels of one server differ by batch; a temperature of 2 or a shift moves log-probabilities by whole nats.
SAME = 0.05
# Batches are computed otherwise than lone requests; answers that were mixed up differ by whole nats.
IN_A_CROWD = 0.5
N_IN_A_CROWD = 4
SUM = 1e-3


@dataclass(frozen=True)
class Check:
    """One question to a server, how it came out, and what that means."""

    name: str
    outcome: Outcome
    what: str


@dataclass(frozen=True)
class SelfTest:
    """What a server told of itself.

    Attributes
    ----------
    checks
        In the order in which they were made.
    facts
        What could change a record's numbers: part of its identity.
    noise
        The largest difference of a log-probability between repeats, in nats.
    """

    checks: tuple[Check, ...]
    facts: Mapping[str, Any]
    noise: float = 0.0

    @property
    def refusal(self) -> str | None:
        """Why the server is not asked any further, if it is not."""
        reasons = [f"{check.name}: {check.what}" for check in self.checks if check.outcome == "refused"]
        return "; ".join(reasons) or None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON, for a record."""
        return {
            "checks": [asdict(check) for check in self.checks],
            "facts": dict(self.facts),
            "noise": self.noise,
        }


Answer = TypeVar("Answer")


@dataclass(eq=False, kw_only=True)
class UnderWay:
    """What a self-test found so far, and by how much repeats differed."""

    checks: list[Check] = field(default_factory=list)
    noise: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether a step refused the server."""
        return any(check.outcome == "refused" for check in self.checks)

    def note(self, name: str, outcome: Outcome, what: str) -> None:
        """Keep what one step found."""
        self.checks.append(Check(name, outcome, what))

    def take(self, steps: Iterable[tuple[str, Callable[[Self], None]]]) -> None:
        """Ask a server one thing after the other, until one refuses it."""
        for name, step in steps:
            try:
                with as_documented(name):
                    step(self)
            except UnreachableError:  # it may be trusted when it is there again
                raise
            except ServerError as error:
                self.note(name, "refused", str(error))
            if self.refused:
                return

    def ask_at_once(
        self,
        ask: Callable[[Any], Answer],
        inputs: Sequence[Any],
        apart: Callable[[Answer, Answer], float],
        *,
        limit: float = IN_A_CROWD,
    ) -> None:
        """Ask one after the other, then all several times at once; refuse answers to something else."""
        alone = [ask(one) for one in inputs]
        with ThreadPoolExecutor(N_IN_A_CROWD) as pool:
            crowd = list(pool.map(ask, [*inputs] * N_IN_A_CROWD))
        most = max(apart(*pair) for pair in zip(alone * N_IN_A_CROWD, crowd, strict=True))
        self.noise = max(self.noise, most)
        if most > limit:
            raise ServerError(
                f"asked for several answers at once, the server gives others than one by one ({most:.3g}"
                " apart): it mixes them up, or several models answer"
            )
        what = f"largest difference from requests one by one: {most:.2g}"
        self.note("at once", "ok" if most == 0 else "noted", what)


def require(test: SelfTest, where: str) -> None:
    """Raise :class:`InputError` if a self-test refuses a server."""
    if test.refusal:
        raise InputError(f"{where} cannot be trusted with log-probabilities: {test.refusal}")
