"""Decisions: declared, asked as typed questions, with labels that are names of options or levels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calbench.errors import InputError
from calbench.models import ModelSource
from calbench.tasks import Decision, Item, closed
from calbench.testing import check_task

SERVED = ModelSource("d", "causal-lm", "", builds=(("served", "http://127.0.0.1/v1/systemone"),))
ITEMS = [Item(f"i{n}", f"ticket {n}", n % 2) for n in range(20)]
TRIAGE = Decision("triage", lambda: ITEMS, "Who answers?", {"billing": "Payments", "other": None})


def declared(tmp_path, monkeypatch, lines):
    from calbench.configuration import declared as tables
    from calbench.tasks._configured import task_of

    (tmp_path / "tickets.csv").write_text("subject,body,team\nCard,twice,billing\nApp,closes,other\n")
    (tmp_path / "calbench.toml").write_text(
        '[tasks.triage]\nkind = "decision"\nfile = "tickets.csv"\nstate = "{subject}: {body}"\n'
        f'label = "team"\ninstructions = "Who answers?"\n{lines}\n'
    )
    monkeypatch.chdir(tmp_path)
    (table,) = tables("tasks")
    return task_of(table)


def test_a_file_declares_a_choice(tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="tables are read with datasets")
    task = declared(tmp_path, monkeypatch, 'options = { billing = "Payments", other = "" }')
    item = task.dataset.items[0]
    assert (item.text, item.label) == ("Card: twice", 0)
    assert task.request(SERVED).question(item) == {
        "type": "choice",
        "instructions": "Who answers?",
        "criteria": {"billing": "Payments", "other": None},
    }


def test_a_file_declares_levels(tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="tables are read with datasets")
    task = declared(tmp_path, monkeypatch, 'levels = ["other", "billing"]')
    assert [item.label for item in task.dataset.items] == [1, 0]
    assert task.request(SERVED).question(task.dataset.items[0])["criteria"] == ["other", "billing"]


def test_a_question_with_neither_is_answered_no_or_yes():
    task = Decision("t", lambda: ITEMS, "Is it?", yes="It is")
    assert task.classes == ("no", "yes")
    assert task.request(SERVED).question(ITEMS[0])["criteria"] == {"true": "It is"}


def test_the_order_of_options_is_part_of_the_identity():
    turned = replace(TRIAGE, order="reversed")
    assert list(turned.request(SERVED).question(ITEMS[0])["criteria"]) == ["other", "billing"]
    assert turned.classes == TRIAGE.classes
    assert turned.request(SERVED).identity() != TRIAGE.request(SERVED).identity()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"levels": ("low", "high")}, "of one kind"),
        ({"options": {"one": None}}, "give 2 to 255 different"),
        ({"options": {}, "levels": tuple(map(str, range(11)))}, "give 2 to 10 different"),
        ({"instructions": " "}, "say what is to be decided"),
        ({"order": "random"}, "'given', 'reversed', 'shuffled'"),
        ({"options": {}, "order": "reversed"}, "only the options of a choice"),
    ],
)
def test_what_is_no_question_is_refused(fields, reason):
    with pytest.raises(InputError, match=reason):
        replace(TRIAGE, **fields)


def test_a_decision_keeps_the_rules_of_tasks():
    check_task(TRIAGE)


def test_nothing_is_trained_on_decisions():
    with pytest.raises(InputError, match="decision servers alone"):
        closed(TRIAGE)
