"""``check_task`` passes what keeps the rules, and catches each rule broken on purpose."""

from __future__ import annotations

import itertools

import pytest

from calbench.tasks import Generation as Open
from calbench.tasks import Item, MultipleChoice, OpenQuestion, Question, SequenceClassification
from calbench.testing import check_task


def items(n=200, n_labels=2):
    return [Item(f"q{i}", f"text {i}", i % n_labels) for i in range(n)]


def classification(load=items, classes=("no", "yes"), **more):
    return SequenceClassification("mine", classes, load, **more)


def test_tasks_of_each_kind_keep_the_rules():
    check_task(classification(prompt="{text} Yes or no?", label_words=(" no", " yes")))
    questions = [Question(f"q{i}", f"{i} + 1?", (str(i), str(i + 1)), 1) for i in range(200)]
    check_task(MultipleChoice("sums", lambda: questions))
    check_task(Open("open", lambda: [OpenQuestion(f"q{i}", f"{i} + 1?", (str(i + 1),)) for i in range(200)]))


ROUNDS = itertools.count()
ONCE = iter(items())


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (classification(list), "its items cannot be used: .*no items"),
        (classification(lambda: items(n_labels=3)), "its items cannot be used: .*label"),
        (classification(lambda: [*items(), items()[0]]), "two items have the id 'q0'"),
        (classification(lambda: list(ONCE)), "no items"),
        (classification(lambda: items(200 + next(ROUNDS))), "other items each time"),
        (classification(lambda: items(100), n_quantization=128), "leave some to evaluate on"),
        (classification(lambda: items(129), n_quantization=128), "one item is left"),
        (classification(classes=("no", "yes", "maybe")), "no item is of class maybe"),
    ],
)
def test_a_broken_rule_is_caught(task, message):
    with pytest.raises(AssertionError, match=message):
        check_task(task)


class Showing(SequenceClassification):
    """Asks by a request that breaks a rule."""

    def request(self, source):
        return self.how


@pytest.mark.parametrize(
    ("text", "identity", "message"),
    [
        (lambda item: "always", {}, "every item looks the same"),
        (lambda item: item.text + str(item.label), {}, "depends on the label"),
        (lambda item: f"{item.text} {next(ROUNDS)}", {}, "shown in two ways"),
        (lambda item: "", {}, "shown as no text"),
        (lambda item: item.text, {"set": {1}}, "not plain JSON"),
        (lambda item: item.text, {"pair": (1, 2)}, "on its way through JSON"),
    ],
)
def test_a_way_of_asking_that_breaks_a_rule_is_caught(text, identity, message):
    task = Showing("mine", ("no", "yes"), items)
    Showing.how = type("How", (), {"text": staticmethod(text), "identity": lambda self: identity})()
    with pytest.raises(AssertionError, match=message):
        check_task(task)
