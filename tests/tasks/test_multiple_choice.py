"""Multiple choice: what can be asked, how, and by which rule."""

from __future__ import annotations

import dataclasses

import pytest

from calbench.errors import InputError
from calbench.models import ModelSource
from calbench.tasks import Dataset, Item, MultipleChoice, Question

DECODER = ModelSource("d", "causal-lm", "nowhere")
QUESTIONS = [
    Question(f"q{n}", f"What is {n}?", ("this", f"that {n}", "it")[: 2 + n % 2], n % 2) for n in range(10)
]
TASK = MultipleChoice("t", lambda: QUESTIONS, n_quantization=2)
LETTERED = dataclasses.replace(TASK, prompt="{question}\n{options}\nAnswer:", rule="letter")


def test_options_are_shown_with_letters_and_answered_by_letter():
    request = LETTERED.request(DECODER)
    assert request.text(QUESTIONS[1]) == "What is 1?\nA. this\nB. that 1\nC. it\nAnswer:"
    assert request.continuations(QUESTIONS[1]) == [" A", " B", " C"]


def test_options_are_answered_by_their_text_under_every_other_rule():
    for rule in ("sum", "mean-per-token", "mean-per-byte"):
        request = dataclasses.replace(TASK, rule=rule).request(DECODER)
        assert request.continuations(QUESTIONS[0]) == [" this", " that 0"]


@pytest.mark.parametrize(
    ("rule", "lengths"),
    [("letter", [1, 1]), ("sum", [1, 1]), ("mean-per-token", [3, 5]), ("mean-per-byte", [4, 6])],
)
def test_each_rule_divides_by_its_own_length(rule, lengths):
    question = Question("q", "?", ("néo", "that 0"), 0)  # é is two bytes
    assert dataclasses.replace(LETTERED, rule=rule).request(DECODER).lengths(question, [3, 5]) == lengths


def test_a_question_that_holds_a_placeholder_is_left_alone():
    question = Question("q", "what is {options}?", ("a", "b"), 0, passage="{question}")
    request = dataclasses.replace(TASK, prompt="{passage} {question}").request(DECODER)
    assert request.text(question) == "{question} what is {options}?"


def test_chance_is_the_mean_over_ragged_questions():
    counts = [len(item.options) for item in TASK.partition.evaluation]
    assert set(counts) == {2, 3}
    assert TASK.chance == pytest.approx(sum(1 / n for n in counts) / len(counts))
    assert TASK.classes == ("A", "B", "C")


@pytest.mark.parametrize("text", ["What is 0?", "what is  0?"], ids=["the same", "normalized"])
def test_examples_from_elsewhere_must_not_be_asked(text):
    shown = [dataclasses.replace(QUESTIONS[0], text=text)]
    leaking = dataclasses.replace(TASK, n_shots=1, load_shots=lambda: shown)
    with pytest.raises(InputError, match="'q0' is also asked"):
        leaking.request(DECODER)


def test_too_few_examples_are_refused():
    few = dataclasses.replace(TASK, n_shots=2, load_shots=lambda: [Question("x", "?", ("a", "b"), 0)])
    with pytest.raises(InputError, match="2 examples are wanted, there are 1"):
        few.request(DECODER)


def test_a_quantizer_is_not_shown_the_examples_again_and_again():
    request = dataclasses.replace(TASK, n_shots=3).request(DECODER)
    assert request.sample(QUESTIONS[0]) == "Question: What is 0?\nAnswer:"
    assert request.text(QUESTIONS[0]).endswith(request.sample(QUESTIONS[0]))


def test_a_classifier_is_refused():
    encoder = ModelSource("e", "sequence-classification", "nowhere", classes=("a", "b"))
    with pytest.raises(InputError, match="choose a causal LM"):
        TASK.request(encoder)


@pytest.mark.parametrize(
    "change",
    [
        {"rule": "sum"},
        {"prompt": "{question} Answer:"},
        {"n_shots": 1},
        {"description": "Answer."},
        {"overlong": "refuse"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_a_prediction_changes_the_identity(change):
    assert dataclasses.replace(TASK, **change).request(DECODER).identity() != TASK.request(DECODER).identity()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "Answer:"}, r"no \{question\}"),
        ({"rule": "mean"}, "'mean'; there are 'letter', 'sum', 'mean-per-token', 'mean-per-byte'"),
        ({"rule": "letter"}, r"shows the \{options\}"),
        ({"overlong": "cut"}, "'truncate', 'refuse'"),
        ({"n_shots": -1}, "give 0 or more"),
    ],
)
def test_tasks_that_cannot_be_asked_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(TASK, **change)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Question("a", "?", ("one",), 0), "'a' has 1 options; give 2 to 26"),
        (Question("a", "?", ("one", " "), 0), r"'a' has an empty option \(B\)"),
        (Question("a", "?", ("one", "two"), 2), "'a' has label 2, of 2 options"),
        (Question("a", " ", ("one", "two"), 0), "'a' has an empty text"),
    ],
)
def test_bad_questions_are_refused(question, message):
    with pytest.raises(InputError, match=message):
        Dataset.of([question], 26, source="test")


def test_the_same_question_with_other_options_is_no_duplicate():
    dataset = Dataset.of(
        [
            Question("a", "?", ("one", "two"), 0),
            Question("b", "?", ("one", "three"), 0),
            Question("c", "? ", ("ONE", "two"), 1),
        ],
        26,
        source="test",
    )
    assert ([item.id for item in dataset.items], dataset.n_duplicates) == (["a", "b"], 1)


@pytest.mark.parametrize(
    "change", [{"passage": "x"}, {"text": "!"}, {"options": ("one", "2")}, {"label": 1}, {"id": "b"}]
)
def test_every_field_is_part_of_the_fingerprint(change):
    base = Question("a", "?", ("one", "two"), 0)
    changed = dataclasses.replace(base, **change)
    assert Dataset.of([base], 26, source="t").fingerprint != Dataset.of([changed], 26, source="t").fingerprint


def test_an_item_of_another_kind_is_refused():
    with pytest.raises(InputError, match="is a Item; multiple choice needs a Question"):
        TASK.request(DECODER).text(Item("a", "x", 0))
