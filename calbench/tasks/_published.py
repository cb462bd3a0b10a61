"""Data sets on the hub that the studies of calibration under quantization used, by their ids there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calbench.tasks._classification import SequenceClassification
from calbench.tasks._generation import Generation, OpenQuestion
from calbench.tasks._hub import hub_files
from calbench.tasks._items import Item
from calbench.tasks._mapped import OpenColumns, QuestionColumns, TextColumns
from calbench.tasks._multiple_choice import MultipleChoice, Question
from calbench.tasks._registry import task
from calbench.tasks._tables import read_rows

_LETTERED = "{question}\n{options}\nAnswer:"
_FINANCIAL_LABELS = {
    f"{degree} {sign}": sign
    for sign in ("negative", "positive")
    for degree in ("mildly", "moderately", "strong")
}


def _questions(hub_id: str, pattern: str, columns: QuestionColumns) -> Callable[[], list[Question]]:
    def load() -> list[Question]:
        return columns.read(read_rows(hub_files(hub_id, pattern)))

    return load


def _choice(
    name: str, hub_id: str, pattern: str, columns: QuestionColumns, **settings: Any
) -> MultipleChoice:
    return MultipleChoice(name, _questions(hub_id, pattern, columns), **settings)


@task("financial-sentiment")
def financial_sentiment() -> SequenceClassification:
    """Financial news and tweets; nine raw labels stand for three classes.

    Duplicates, of which there are many across the parts, are dropped before anything is divided.
    """
    columns = TextColumns("input", "output", ("negative", "neutral", "positive"), _FINANCIAL_LABELS)

    def load() -> list[Item]:
        return columns.read(read_rows(hub_files("lwrf42/financial-sentiment-dataset", "**/*.parquet")))

    return SequenceClassification(
        "financial-sentiment",
        columns.classes,
        load,
        prompt="Text: {text}\nSentiment:",
        label_words=(" negative", " neutral", " positive"),
    )


@task("mmlu-full")
def mmlu_full() -> MultipleChoice:
    """All test questions of MMLU's 57 subjects, asked for the letter."""
    columns = QuestionColumns("question", "choices", "answer", answer_start=0)
    return _choice("mmlu-full", "cais/mmlu", "all/test-*.parquet", columns, prompt=_LETTERED, rule="letter")


@task("arc-challenge")
def arc_challenge() -> MultipleChoice:
    """ARC-Challenge, test part: three to five options, keys in two alphabets."""
    columns = QuestionColumns("question", "choices.text", "answerKey", keys="choices.label", id="id")
    return _choice("arc-challenge", "allenai/ai2_arc", "ARC-Challenge/test-*.parquet", columns)


@task("truthfulqa")
def truthfulqa() -> MultipleChoice:
    """TruthfulQA, one right answer among up to 13."""
    columns = QuestionColumns("question", "mc1_targets")
    return _choice(
        "truthfulqa",
        "truthfulqa/truthful_qa",
        "multiple_choice/validation-*.parquet",
        columns,
        prompt="Q: {question}\nA:",
        rule="sum",
    )


@task("hellaswag")
def hellaswag() -> MultipleChoice:
    """HellaSwag, validation part: four ways to go on."""
    columns = QuestionColumns("{activity_label}: {ctx}", "endings", "label", answer_start=0)
    return _choice("hellaswag", "Rowan/hellaswag", "data/validation-*.parquet", columns, prompt="{question}")


@task("pubmedqa-full")
def pubmedqa_full() -> MultipleChoice:
    """PubMedQA, all expert-labelled questions with their abstracts."""
    options = ("yes", "no", "maybe")

    def load() -> list[Question]:
        rows = read_rows(hub_files("qiaojin/PubMedQA", "pqa_labeled/train-*.parquet"))
        found = []
        for row in rows:
            decision = row.get("final_decision")
            if decision not in options:
                raise row.error("final_decision", f"is {decision!r}, which is none of {', '.join(options)}")
            passage = " ".join(row.get("context.contexts"))
            found.append(
                Question(
                    row.text("pubid"), row.text("question"), options, options.index(decision), passage=passage
                )
            )
        return found

    return MultipleChoice(
        "pubmedqa-full", load, "Abstract: {passage}\nQuestion: {question}\nAnswer:", rule="sum"
    )


@task("triviaqa")
def triviaqa() -> Generation:
    """TriviaQA without context, validation part: open questions, each with its accepted aliases."""
    columns = OpenColumns("question", ("answer.value", "answer.aliases"), id="question_id")

    def load() -> list[OpenQuestion]:
        return columns.read(
            read_rows(hub_files("mandarjoshi/trivia_qa", "rc.nocontext/validation-*.parquet"))
        )

    return Generation("triviaqa", load)
