"""What ``calbench check`` and ``calbench recommend`` share: how a model is run, judged and shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calbench.cli._output import plain, say, table
from calbench.errors import InputError

if TYPE_CHECKING:
    from calbench.runs import Runner
    from calbench.studies import Compressed, MissingRow

RAW = "identity"
VERDICTS = {"pass": "kept", "fail": "LOST", "inconclusive": "undecided"}


@dataclass(frozen=True)
class Wanted:
    """One model on one task, as its quantizers are to be compared."""

    runner: Runner
    model: str
    task: str
    quantizers: tuple[str, ...]


def wanted(
    model: str, task: str, quantizers: str, *, profile: str, n_resamples: int, store: str | None
) -> Wanted:
    """Find out what is meant, before anything is loaded.

    Raises
    ------
    InputError
        Several models or tasks are meant, or no quantizer.
    """
    from rich.console import Console

    from calbench.report import TerminalProgress
    from calbench.runs import PROFILES, Cell, Runner, Selection, grid_of, reference_of
    from calbench.store import Store, size_limit

    size_limit()  # one that cannot be read is refused before the work
    grid = grid_of(models=model, tasks=task, quantizers=quantizers, calibrators=RAW)
    cells = grid.cells(Selection(), PROFILES[profile])
    pairs = {(cell.model, cell.task) for cell in cells}
    if len(pairs) != 1:
        raise InputError(f"{model!r} on {task!r} are {len(pairs)} pairs of model and task; name one of each")
    ((model_id, task_id),) = pairs
    reference = Cell(model_id, task_id, reference_of(model_id), RAW)
    chosen = tuple(dict.fromkeys(c.quantizer for c in cells if c.quantizer != reference.quantizer))
    if not chosen:
        raise InputError(
            f"{quantizers!r} picks no quantizer but {reference.quantizer}, the reference; name one more"
        )
    runner = Runner(
        Store.at(store),
        PROFILES[profile],
        n_resamples=n_resamples,
        planned=[reference, *cells],
        progress=TerminalProgress(Console(stderr=True)),
    )
    return Wanted(runner, model_id, task_id, chosen)


def divided(rows: Sequence[Compressed | MissingRow]) -> tuple[list[Compressed], list[MissingRow]]:
    """Divide what was measured from what could not be.

    Raises
    ------
    InputError
        Nothing was measured; the message holds every reason.
    """
    from calbench.studies import Compressed, MissingRow

    found = [row for row in rows if isinstance(row, Compressed)]
    missing = [row for row in rows if isinstance(row, MissingRow)]
    if not found:
        raise InputError(
            "; ".join(f"{row.quantizer}: {row.reason.removeprefix(f'{row.quantizer}: ')}" for row in missing)
        )
    return found, missing


def limits_of(given: Iterable[str]) -> Mapping[str, float]:
    """Read ``ece=0.02`` and the like; what is not named keeps its default.

    A calibration error that is named stands in place of the one that is judged by default.

    Raises
    ------
    InputError
        A part cannot be read; the message shows the form.
    UnknownNameError
        No metric has the id.
    """
    from calbench.gates import GATE_METRIC
    from calbench.metrics import get
    from calbench.studies import LIMITS

    named = {}
    for text in given:
        metric, _, value = text.rpartition("=")
        try:
            named[get(metric).id] = float(value)
        except ValueError:
            raise InputError(
                f"cannot read the limit {text!r}; write METRIC=NUMBER, such as ece=0.02"
            ) from None
    kept = dict(LIMITS)
    if any(name.startswith("ece") for name in named):
        del kept[GATE_METRIC]
    return {**kept, **named}


def division_line(runner: Runner, model: str, task: str) -> str:
    """Say how the rows of a task were divided."""
    from calbench import tasks
    from calbench.runs import n_near_duplicates

    asked = tasks.get(task)
    partition = asked.partition
    items = runner.items(runner.source(model).model, asked)
    n_asked, n_similar = len(items), n_near_duplicates(items)
    parts = [
        (asked.dataset.n_duplicates, "duplicates left out"),
        (len(partition.training), "that the model was tuned on"),
        (len(partition.quantization), "for quantizers to read"),
        (len(partition.evaluation) - n_asked, "not asked in this profile"),
        (n_asked, "asked"),
    ]
    total = sum(n for n, _ in parts)
    alike = f"; {n_similar:,} of them near-duplicates of others" if n_similar else ""
    return f"{task}: {total:,} rows: " + ", ".join(f"{n:,} {what}" for n, what in parts if n) + alike


def show(found: Sequence[Compressed], missing: Sequence[MissingRow]) -> None:
    """Print one row a build: size, each metric's change with its interval, and the verdict."""
    if found:
        metrics = [decision.change.metric for decision in found[0].decisions]
        rows = [
            [one.name, VERDICTS[one.outcome], *_sizes(one), *(_change(d.change) for d in one.decisions)]
            for one in found
        ]
        first = found[0].comparison
        columns = ["build", "verdict", "bits", "MiB", *(f"Δ {metric}" for metric in metrics)]
        shown = [i for i in range(len(columns)) if any(row[i] for row in rows)]  # a server tells no size
        table(
            f"change against the reference, {first.n_test:,} items, {first.level:.0%} intervals",
            [columns[i] for i in shown],
            [[row[i] for i in shown] for row in rows],
        )
    for one in missing:
        say(f"{'skipped' if one.skipped else 'refused'}: {one.quantizer}: {one.reason}")


def reasons(one: Compressed) -> list[str]:
    """Say of each gate of a build that did not pass why, and what would decide it."""
    from calbench.report import Judged

    gates = (decision.to_plain(test="") for decision in one.decisions if decision.outcome != "pass")
    return [
        f"{one.name}: {gate['why']}"
        + (f"; {Judged('', '', gate).remedy()}" if gate["outcome"] == "inconclusive" else "")
        for gate in gates
    ]


def as_plain(one: Compressed) -> dict[str, Any]:
    """Return a build as plain JSON."""
    return {
        "name": one.name,
        "effective_bits": one.effective_bits,
        "size_bytes": one.size_bytes,
        "outcome": one.outcome,
        "gates": [decision.to_plain(test="") for decision in one.decisions],
        "metrics": {
            arm: {
                d.change.metric: plain(one.comparison.estimate(d.change.metric, arm=arm))
                for d in one.decisions
            }
            for arm in (one.comparison.reference, one.comparison.candidate)
        },
    }


def _sizes(one: Compressed) -> list[str]:
    return [
        f"{one.effective_bits:.1f}" if one.effective_bits else "",
        mebibytes(one.size_bytes) if one.size_bytes else "",
    ]


def mebibytes(n_bytes: float) -> str:
    """Return a size in MiB, with the digits that tell small models apart.

    >>> mebibytes(2**19), mebibytes(21_500_000), mebibytes(2**30)
    ('0.50', '20.5', '1024')
    """
    size = n_bytes / 2**20
    return f"{size:.{2 if size < 10 else 1 if size < 100 else 0}f}"


def _change(change: Any) -> str:
    return f"{change.value:+.3f} [{change.interval[0]:+.3f}, {change.interval[1]:+.3f}]"
