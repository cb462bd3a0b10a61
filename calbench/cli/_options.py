"""Options that several commands share, and how their text is read."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calbench.cli._columns import OPTIONS, Options, columns_of, with_options
from calbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from calbench.gates import Comparison
    from calbench.interchange import Paired
    from calbench.records import AnyRecord, ColumnNames, Predictions

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the resamples, and of the split.")]
Resamples = Annotated[int, typer.Option(min=100, help="Number of bootstrap resamples.")]
Answers = Annotated[
    Path | None, typer.Option(help="A file with the right answers, if they are in another one.")
]
AnswersColumn = Annotated[str, typer.Option(help="The column of --answers that holds them.")]
Tasks = Annotated[
    str,
    typer.Option("--task", help="Of a folder of lm-eval logs, which tasks: names or patterns, with commas."),
]
Chat = Annotated[
    str | None,
    typer.Option(help="Ask causal models in turns, by their chat template: true, or a system prompt."),
]
Multiturn = Annotated[
    bool | None,
    typer.Option(
        "--multiturn/--no-multiturn", help="With --chat: answered examples as turns of their own, or in one."
    ),
]
Metrics = Annotated[str, typer.Option("--metrics", "--metric", help="Ids of metrics, separated by commas.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        help="A server's host, outside of this machine and private networks, that calbench.toml may name."
    ),
]
StoreFolder = Annotated[
    str | None,
    typer.Option("--store", help="Where predictions and quantized models are kept: a folder, or s3://..."),
]


Device = Annotated[
    str,
    typer.Option(
        envvar="CALBENCH_DEVICE",
        help="Where models run: auto (a GPU where torch sees one), cpu, cuda or cuda:N.",
    ),
]


class ProfileName(str, Enum):
    """How many items of each task to use."""

    quick = "quick"
    default = "default"
    full = "full"


Profile = Annotated[ProfileName, typer.Option(help="How many items of each task to use.")]

# A name of a stored record, or the beginning of its key.
_STORED = re.compile(r"::|^[0-9a-f]{6,64}$")
_REQUIRED = inspect.Parameter.empty
SEED = 42  # calbench.gates.SEED and MARGIN, without importing them for a page of help
MARGIN = 0.02
UNDECIDED = 3


class Undecided(str, Enum):
    """What becomes of a gate that cannot be decided."""

    report = "report"
    allow = "pass"


Inconclusive = Annotated[
    Undecided,
    typer.Option(help="What an undecided gate makes of the exit status: report (3), or pass (0)."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Go on where the candidate has more bits than the reference.")
]

VECTOR_METRICS = "ece,nll,brier,accuracy"
TOP_LABEL_METRICS = "ece,brier_toplabel,accuracy"


class FileFormat(str, Enum):
    """What a file is, if its name does not say so."""

    auto = "auto"
    table = "table"
    torch = "torch"
    lm_eval = "lm-eval"
    inspect = "inspect"


Format = Annotated[FileFormat, typer.Option(help="What the files are, if their names do not say so.")]


def named_tasks(text: str) -> tuple[str, ...]:
    """Read the text of ``--task``."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def read_record(
    paths: list[Path] | Path,
    columns: ColumnNames,
    *,
    answers_column: str = "",
    file_format: FileFormat = FileFormat.auto,
    store: str | None = None,
    **options: Any,
) -> AnyRecord:
    """Read a record of any kind, as the options say; see :func:`calbench.interchange.read`.

    What is no file and looks like a stored record's name is one: ``model::task::quantizer``, or a key's
    beginning.
    """
    from calbench import interchange

    first, *others = [paths] if isinstance(paths, Path) else paths
    if not others and not first.exists() and _STORED.search(str(first)):
        from calbench.store import Store, find

        return find(Store.at(store), str(first)).predictions
    return interchange.read(
        paths,
        columns=columns,
        format_=file_format.value,
        answers_column=answers_column or None,
        **options,
    )


def status_of(outcomes: Iterable[str], inconclusive: Undecided) -> int:
    """Return the exit status: 0 all passed, 1 a gate failed, 3 nothing failed but something is undecided."""
    found = set(outcomes)
    if "fail" in found:
        return 1
    return UNDECIDED if "inconclusive" in found and inconclusive is Undecided.report else 0


@dataclass(frozen=True)
class Pair:
    """Two files of predictions, and what they share."""

    reference: Path
    candidate: Path
    both: Paired

    def transferred(self, calibrator: str, moved: Comparison) -> dict[str, Any]:
        """Return what the JSON of a transfer between the two begins with."""
        return {
            "reference": str(self.reference),
            "candidate": str(self.candidate),
            "calibrator": calibrator,
            "n_calibration": moved.n_calibration,
            "n_test": moved.n_test,
        }


def reads_pair(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command with a parameter ``pair: Pair`` the arguments and options that say what to read."""
    return with_options(command, "pair", _PAIR, _read_pair)


def _read_pair(**given: Any) -> Pair:
    columns = columns_of(**{name: given.pop(name) for name in OPTIONS})
    tasks = named_tasks(given.pop("task"))
    both = _paired(columns=columns, tasks=tasks, **given)
    return Pair(given["reference"], given["candidate"], both)


def _paired(reference: Path, candidate: Path, *, columns: ColumnNames, force: bool, **options: Any) -> Paired:
    """Read two records, by the same options, and match their items; refuse a pair that seems swapped."""
    from calbench import interchange
    from calbench.gates import order_problem
    from calbench.statistics import check_same_items

    records = read_record(reference, columns, **options), read_record(candidate, columns, **options)
    try:
        both = interchange.pair(*records)
        check_same_items(both.reference, both.candidate)
    except InputError as error:
        raise InputError(f"{reference} (the reference) and {candidate}: {error}") from None
    problem = order_problem(both.reference, both.candidate)
    if problem and not force:
        raise InputError(
            f"{reference} (the reference) and {candidate}: {problem} Swap them, or go on with --force"
        )
    return both


_PAIR: Options = {
    "reference": (Annotated[Path, typer.Argument(help="Predictions of the reference.")], _REQUIRED),
    "candidate": (
        Annotated[Path, typer.Argument(help="Predictions of the candidate, of the same items.")],
        _REQUIRED,
    ),
    **OPTIONS,
    "answers": (Answers, None),
    "answers_column": (AnswersColumn, ""),
    "file_format": (Format, FileFormat.auto),
    "task": (Tasks, ""),
    "store": (StoreFolder, None),
    "force": (Force, False),
}


def class_vectors(record: AnyRecord) -> Predictions:
    """Return a record that calibrators of logits can be fitted on, or say why it is none."""
    from calbench.records import Predictions

    if not isinstance(record, Predictions):
        raise InputError(
            "calibrating needs the probability of every class; for records of the top answer use"
            " calbench transfer, with a calibrator of confidences such as isotonic"
        )
    return record


def metric_names(metrics: str, record: AnyRecord | None = None) -> tuple[str, ...]:
    """Read the text of ``--metrics``; left out, what the record has enough for is measured.

    Commas inside brackets belong to a metric's arguments.
    """
    from calbench.records import Predictions
    from calbench.selection import split_patterns

    top_label = record is not None and not isinstance(record, Predictions)
    default = TOP_LABEL_METRICS if top_label else VECTOR_METRICS
    return tuple(split_patterns(metrics or default))
