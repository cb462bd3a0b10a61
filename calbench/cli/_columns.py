"""Options that say how a table is read, the same for every command that reads one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from calbench.errors import InputError

if TYPE_CHECKING:
    from calbench.records import ColumnNames

_FIELDS = (
    "item_id",
    "label",
    "logits",
    "probs",
    "positive",
    "confidence",
    "correct",
    "predicted",
    "cluster_id",
    "label_distribution",
)

Columns = Annotated[
    str,
    typer.Option(
        help="Names of the columns, where they differ, or paths such as doc.gold and choices[].logprob:"
        " item_id=, label=, logits= or probs= (one column of lists or of scores by name, a+b+c, or p_*),"
        " positive= of two classes; confidence=, correct=, predicted= where only the top answer is known;"
        " cluster_id= (what was sampled together), label_distribution= (how many people gave each class)."
    ),
]
RowIds = Annotated[bool, typer.Option("--row-ids", help="The file has no ids: number its rows.")]
Where = Annotated[
    str, typer.Option(help="Only rows with these values: model=llama,task=arc, for a table of several runs.")
]
Classes = Annotated[
    str, typer.Option(help="Names of the classes, in the order of their columns: negative,neutral,positive.")
]
LabelStart = Annotated[
    int | None, typer.Option(min=0, max=1, help="Which number is the first class: 0 or 1.")
]
Percent = Annotated[bool, typer.Option("--percent", help="Probabilities and confidences are percents.")]
Renormalise = Annotated[
    bool, typer.Option("--renormalise", help="Divide each row of probabilities by its sum.")
]


class Confidence(str, Enum):
    """Of what a confidence is a probability."""

    of_class = "class"
    verbalised = "verbalised"
    answer = "answer"
    vocabulary = "vocabulary"


ConfidenceOption = Annotated[
    Confidence,
    typer.Option(
        "--confidence-kind",
        help="Of what a confidence is a probability: the best of the classes, which cannot be less than one"
        " over their number; or what a model says of itself, an open answer, a token of the vocabulary.",
    ),
]
Options = dict[str, tuple[Any, Any]]
OPTIONS: Options = {
    "columns": (Columns, ""),
    "row_ids": (RowIds, False),
    "where": (Where, ""),
    "classes": (Classes, ""),
    "label_start": (LabelStart, None),
    "percent": (Percent, False),
    "renormalise": (Renormalise, False),
    "confidence_kind": (ConfidenceOption, Confidence.of_class),
}


def reads_tables(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command with a parameter ``columns: ColumnNames`` the options that say how tables are read."""
    return with_options(command, "columns", OPTIONS, columns_of)


def with_options(
    command: Callable[..., None], name: str, options: Options, make: Callable[..., Any]
) -> Callable[..., None]:
    """Put options in the place of a command's parameter, which gets what ``make`` makes of their values."""

    @wraps(command)
    def called(**arguments: Any) -> None:
        given = {option: arguments.pop(option) for option in options}
        command(**{name: make(**given)}, **arguments)

    hints = get_type_hints(command, localns={"ColumnNames": Any, "Pair": Any}, include_extras=True)
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name == name:
            parameters += [
                inspect.Parameter(option, parameter.KEYWORD_ONLY, default=default, annotation=annotation)
                for option, (annotation, default) in options.items()
            ]
        else:
            annotation = hints[parameter.name]
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=annotation))
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    return called


def columns_of(
    columns: str,
    *,
    row_ids: bool = False,
    where: str = "",
    classes: str = "",
    label_start: int | None = None,
    percent: bool = False,
    renormalise: bool = False,
    confidence_kind: Confidence = Confidence.of_class,
) -> ColumnNames:
    """Read the texts of ``--columns`` and the options beside it."""
    from calbench.records import ColumnNames

    return ColumnNames(
        **_column_names(columns),
        row_ids=row_ids,
        where=dict(_pairs(where, "--where", "COLUMN=VALUE")),
        classes=tuple(filter(None, (name.strip() for name in classes.split(",")))),
        label_start=label_start,
        percent=percent,
        renormalise=renormalise,
        confidence_kind=confidence_kind.value,
    )


def remapped(names: ColumnNames, text: str) -> ColumnNames:
    """Return the same way of reading with other names of columns."""
    return replace(names, **{**dict.fromkeys(_FIELDS), **_column_names(text)})


def _column_names(text: str) -> dict[str, Any]:
    mapped: dict[str, Any] = {}
    form = ", ".join(f"{name}=NAME" for name in _FIELDS)
    for ours, theirs in _pairs(text, "--columns", f"one of {form}"):
        if ours not in _FIELDS:
            raise InputError(f"--columns: cannot read '{ours}={theirs}'; write {form}")
        if ours in mapped:
            raise InputError(f"--columns: {ours} is mapped twice; write it once")
        parts = theirs.split("+")
        mapped[ours] = parts if len(parts) > 1 and ours in ("logits", "probs") else theirs
    return mapped


def _pairs(text: str, option: str, form: str) -> list[tuple[str, str]]:
    pairs = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        if not name or not value:
            raise InputError(f"{option}: cannot read {part!r}; write {form}")
        pairs.append((name.strip(), value.strip()))
    return pairs
