"""Data sets that are named where they are used."""

from __future__ import annotations

import json

import pytest

from calbench import tasks
from calbench.errors import InputError, SetupRequiredError
from calbench.tasks import MultipleChoice, SequenceClassification


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path / "cache"))

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else "".join(map(_line, content)))
        return name

    return write


def _line(row):
    return json.dumps(row) + "\n"


TICKETS = "no,body,category\n" + "".join(f"{i},w{i} w,{'cb'[i % 2]}\n" for i in range(40))


def test_columns_are_given_in_brackets(write):
    write("tickets.csv", TICKETS)
    task = tasks.get("tickets.csv[text=body,label=category,id=no]")
    assert isinstance(task, SequenceClassification)
    assert (task.id, task.classes, task.n_quantization) == ("tickets", ("b", "c"), 4)
    assert [(item.id, item.text, item.label) for item in task.dataset.items[:2]] == [
        ("0", "w0 w", 1),
        ("1", "w1 w", 0),
    ]


def test_plain_columns_need_not_be_named(write):
    write("plain/a.csv", "text,label\n" + "".join(f"w{i},{'ny'[i % 2]}\n" for i in range(30)))
    assert tasks.get("plain/a.csv").classes == ("n", "y")
    rows = [{"question": f"{i}?", "choices": ["x", "y", "z"], "answer": i % 3} for i in range(30)]
    write("plain/b.jsonl", rows)
    asked = tasks.get("./plain/b.jsonl")
    assert isinstance(asked, MultipleChoice)
    assert [item.label for item in asked.dataset.items[:4]] == [0, 1, 2, 0]
    opened = [{"question": f"{i}?", "answers": [str(i)]} for i in range(30)]
    assert tasks.get(write("plain/c.jsonl", opened)).dataset.items[1].answers == ("1",)


def test_letters_of_options_and_texts_with_keys_of_their_own_are_plain(write):
    rows = [
        {"question": f"{i}?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}
        for i in range(30)
    ]
    item = tasks.get(write("arc-like.jsonl", rows)).dataset.items[0]
    assert (item.options, item.label) == (("x", "y"), 1)


def test_a_path_with_commas_and_brackets_and_a_template_stand_in_quotes(write):
    write("a, [b].csv", "t,b,k\n" + "".join(f"t{i},b{i},{i % 2}\n" for i in range(30)))
    task = tasks.get('"a, [b].csv"[text="{t}, [{b}]",label=k,classes=no+yes]')
    assert task.dataset.items[0].text == "t0, [b0]"
    assert task.classes == ("no", "yes")


def test_two_declarations_of_one_file_are_two_tasks(write):
    write("twice.csv", TICKETS)
    one, two = (f"twice.csv[text=body,label=category,n_items={n}]" for n in (20, 30))
    assert tasks.named(one) != tasks.named(two)
    assert tasks.named(one) == tasks.named("twice.csv[n_items=20, label=category, text=body]")
    assert (len(tasks.get(one).dataset.items), len(tasks.get(two).dataset.items)) == (20, 30)


def test_a_selection_takes_places_beside_ids(write):
    from calbench.runs import PROFILES, Selection, grid_of

    write("chosen.csv", TICKETS)
    grid = grid_of(models="minilm", quantizers="fp32", calibrators="identity")
    picked = grid.cells(Selection(tasks=("nyt", "chosen.csv[text=body,label=category]")), PROFILES["quick"])
    assert [cell.task for cell in picked] == ["chosen", "nyt"]
    assert Selection(tasks=("chosen.csv[text=body,label=category]",)).names("tasks", "chosen")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "bad.csv",
            r"'no' \(str\), 'body' \(str\), 'category' \(str\)\. Write one of\n  \"bad.csv\[text=COLUMN",
        ),
        (
            "bad.csv[text=bdy,label=category]",
            r"bad.csv: row 1: column 'bdy' is missing; did you mean 'body'\?",
        ),
        ("bad.csv[text=body,label=no]", r"column 'no' has 200 different values; 2 to 100 classes"),
        ("bad.csv[txt=body,label=category]", r"no argument 'txt' here; there are answer, "),
        ("bad.csv[text=body,label=category,n_items=x]", r"n_items is 'x'; give a whole number"),
        (
            "bad.csv[text=body,label=category,classes=a+z]",
            r"row 1: column 'category' is 'c', which is none of 'a'",
        ),
        ("none.csv", r"'none.csv': there is no such file or folder; write hf:none.csv"),
    ],
)
def test_what_cannot_be_used_is_named(name, message, write):
    write("bad.csv", "no,body,category\n" + "".join(f"{i},w{i},{'cb'[i % 2]}\n" for i in range(200)))
    with pytest.raises(InputError, match=message):
        _ = tasks.get(name).dataset


def test_what_is_on_the_hub_and_cannot_be_reached_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        SetupRequiredError,
        match="'nobody/nothing' is not in the hub's cache and the hub cannot be reached; download it where",
    ):
        tasks.get("hf:nobody/nothing[split=test]")


def test_a_premise_and_a_hypothesis_are_a_pair(write):
    rows = [{"premise": f"w{i} w", "hypothesis": f"v{i}", "label": i % 3, "id": i} for i in range(30)]
    task = tasks.get(write("nli.jsonl", rows))
    item = task.dataset.items[0]
    assert (item.text, item.pair, item.label) == ("w0 w", "v0", 0)
    assert item.row()[-1] == "v0"
    given = tasks.get("nli.jsonl[text=hypothesis,pair=premise,label=label]")
    assert (given.dataset.items[0].text, given.dataset.items[0].pair) == ("v0", "w0 w")


def test_label_words_of_which_one_lost_its_space_are_refused(tmp_path):
    (tmp_path / "words.csv").write_text("text,label\na,no\nb,yes\nc,no\n")
    start = f"{tmp_path / 'words.csv'}[text=text,label=label,prompt={{text}}:,label_words="
    with pytest.raises(InputError, match="only some label_words begin with a space"):
        tasks.get(start + " no+ yes]")
    assert tasks.get(start + r"\sno+\syes]").label_words == (" no", " yes")
