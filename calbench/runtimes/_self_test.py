"""What self-tests of all kinds of servers share: what was found out, step by step, and what is refused."""

from __future__ import annotations

import statistics
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
# Of unlike lengths, as items are: what stands in one batch with what decides in which order sums are taken.
CROWD = (
    "Text: I love it so much, I love it so much\nSentiment: positive",
    "Question: How do you keep a wooden board from cracking?\nAnswer: Rub it with oil; let it dry slowly.",
    "Review: The first half hour was slow and I nearly left, but the second act is one of the best things I"
    " saw this year; go and see it with somebody who likes to argue.\nIs this positive? Answer: yes",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10",
)
# No server needs a context larger than this for the crowd's texts.
CROWD_TOKENS = 56
# What most numbers keep to. Kernels of one server differ by batch; a temperature of 2 or a shift moves more.
SAME = 0.05
# What all keep to. Where activations are rounded too (Q4_1: 0.3 nat), a step that is taken in one batch and
# not in another moves a number now and then; answers that were mixed up differ by whole nats.
IN_A_CROWD = 1.0
N_IN_A_CROWD = 4
SUM = 1e-3
# A sample's largest difference is not that of ten thousand items. Seen: 0.17 nat among 100 numbers of a test,
# and 0.19 among 120 of a record, both of a tail in which one number in twenty moves at all.
_NOISE_MARGIN = 4.0


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
        The largest difference of a log-probability between ways of asking that should not matter, in nats:
        repeats, cached or not, alone and among others, a text split otherwise into prompt and continuation.
    """

    checks: tuple[Check, ...]
    facts: Mapping[str, Any]
    noise: float = 0.0

    @property
    def noise_floor(self) -> float:
        """What a record's log-probability may move by when asked again, in nats: four times the noise."""
        return _NOISE_MARGIN * self.noise

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
            "noise_floor": self.noise_floor,
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

    @property
    def same(self) -> float:
        """Up to which difference two numbers are the same: what noise moves is no finding."""
        return max(SAME, 2 * self.noise)

    def heard(self, differences: Sequence[float]) -> bool:
        """Keep the largest difference; whether they look like rounding: most none, and none a whole nat."""
        self.noise = max(self.noise, *differences)
        return statistics.median(differences) <= SAME and max(differences) <= IN_A_CROWD

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
