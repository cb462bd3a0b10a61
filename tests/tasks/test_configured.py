"""Tasks out of files, declared without code."""

from __future__ import annotations

import json

import pytest

from calbench.configuration import declared
from calbench.errors import InputError
from calbench.models import ModelSource
from calbench.tasks._configured import task_of

DECODER = ModelSource("d", "causal-lm", "nowhere")
CHOICE = '[tasks.t]\nkind = "multiple-choice"\nquestion = "q"\nn_quantization = 1\n'
TEXTS = (
    '[tasks.t]\nkind = "classification"\nfile = "x.csv"\ntext = "text"\nlabel = "label"\nn_quantization = 1\n'
)
OPEN = '[tasks.t]\nkind = "generation"\nfile = "x.jsonl"\nquestion = "q"\nn_quantization = 1\n'


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CALBENCH_CONFIG", raising=False)

    def task(declaration, **files):
        (tmp_path / "calbench.toml").write_text(declaration)
        for name, content in files.items():
            (tmp_path / name.replace("_", ".")).write_text(content)
        (table,) = declared("tasks")
        return task_of(table)

    return task


def jsonl(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_columns_of_a_csv_file_without_a_header(task):
    found = task(
        CHOICE + 'file = "x.csv"\ncolumns = ["q", "A", "B", "C", "key"]\n'
        'options = ["A", "B", "C"]\nanswer = "key"\n',
        x_csv='one?,a,b,c,C\n"two,\nlines?",a,b,,A\n',
    )
    assert [(item.id, item.text, item.options, item.label) for item in found.dataset.items] == [
        ("x-000001", "one?", ("a", "b", "c"), 2),
        ("x-000002", "two,\nlines?", ("a", "b"), 0),
    ]


@pytest.mark.parametrize("answers", [("A", "B"), ("1", "2"), (1, 2)], ids=["letters", "texts", "numbers"])
def test_answer_keys_may_be_letters_or_numbers(answers, task):
    rows = [{"q": f"{i}?", "o": ["x", "y"], "a": answer} for i, answer in enumerate(answers)]
    found = task(CHOICE + 'file = "x.jsonl"\noptions = "o"\nanswer = "a"\n', x_jsonl=jsonl(*rows))
    assert [item.label for item in found.dataset.items] == [0, 1]


def test_numbers_count_from_where_the_declaration_says(task):
    found = task(
        CHOICE + 'file = "x.jsonl"\noptions = "o"\nanswer = "a"\nanswer_start = 0\n',
        x_jsonl=jsonl({"q": "?", "o": ["x", "y"], "a": 0}),
    )
    assert found.dataset.items[0].label == 0


@pytest.mark.parametrize(
    ("options", "answer", "key"), [(["2", "3", "4", "5"], "4", "5"), (["C", "A", "B"], "A", "C")]
)
def test_an_answer_that_is_a_key_and_another_options_text_is_refused(options, answer, key, task):
    row = jsonl({"q": "2 + 2?", "o": options, "a": answer})
    declared = CHOICE + 'file = "x.jsonl"\noptions = "o"\nanswer = "a"\n'
    with pytest.raises(InputError, match=rf"x.jsonl: row 1: column 'a' is '{answer}', the key of .* '{key}'"):
        _ = task(declared, x_jsonl=row).dataset
    for more, meant in (("answer_start = 1\n", key), ('keys = "o"\n', answer)):
        (item,) = task(declared + more, x_jsonl=row).dataset.items
        assert item.options[item.label] == meant


def test_each_items_own_keys_decide(task):
    found = task(
        CHOICE + 'file = "x.jsonl"\noptions = "c[].text"\nkeys = "c[].label"\nanswer = "a"\n',
        x_jsonl=jsonl({"q": "?", "c": [{"text": "x", "label": "3"}, {"text": "y", "label": "4"}], "a": "4"}),
    )
    assert (found.dataset.items[0].options, found.dataset.items[0].label) == (("x", "y"), 1)


def test_parquet_is_read(task, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    rows = [{"q": "?", "o": ["x", "y"], "a": "B"}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    found = task(CHOICE + 'file = "*.parquet"\noptions = "o"\nanswer = "a"\n')
    assert found.dataset.items[0].label == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"o": ["x", "y"], "a": "A"},
            r"x.jsonl: row 1: column 'q' is missing; there are 'o' \(list\), 'a' \(str\)",
        ),
        (
            {"q": "?", "o": ["x", "y"], "a": "E"},
            r"x.jsonl: row 1: column 'a' is 'E', which is none of .*'A', 'B'",
        ),
        ({"q": "?", "o": ["x", "y"], "a": 0}, r"column 'a' is 0, which is none of the keys '1', '2'"),
        ({"q": "?", "o": [], "a": "A"}, r"column 'o' is \[\]; a list of options is wanted"),
        ({"q": None, "o": ["x", "y"], "a": "A"}, r"column 'q' is None; a text is wanted"),
        ({"q": "?", "o": {"x": 1, "y": 1}}, r"column 'o' marks 2 options as right"),
        (
            {"q": "?", "o": {"choices": ["x", "y", "x"], "labels": [0, 1, 1]}},
            r"x.jsonl: row 1: column 'o' marks 'x' both as right and as wrong",
        ),
        ({"q": "?", "o": ["x", ""], "a": "A"}, r"'x-000001' has an empty option \(B\)"),
    ],
)
def test_bad_rows_are_named_with_their_line_and_column(row, message, task):
    found = task(CHOICE + 'file = "x.jsonl"\noptions = "o"\nanswer = "a"\n', x_jsonl=jsonl(row))
    with pytest.raises(InputError, match=message):
        _ = found.dataset


def test_half_a_character_is_refused(task):
    rows = [{"q": "?", "o": ["x", "y"], "a": "A"}, {"q": "? \ud83d", "o": ["x", "y"], "a": "A"}]
    lines = r"x.jsonl cannot be read: .*surrogate pair in string is invalid. in row 2"
    listed = r"x.json: holds '\\ud83d', half of a char"
    for name, message, text in (("x.jsonl", lines, jsonl(*rows)), ("x.json", listed, json.dumps(rows))):
        found = task(
            CHOICE + f'file = "{name}"\noptions = "o"\nanswer = "a"\n', **{name.replace(".", "_"): text}
        )
        with pytest.raises(InputError, match=message):
            _ = found.dataset
    whole = jsonl({"q": "? \U0001f600", "o": ["x", "y"], "a": "A"})
    assert "\\ud83d" in whole
    found = task(CHOICE + 'file = "x.jsonl"\noptions = "o"\nanswer = "a"\n', x_jsonl=whole)
    assert found.dataset.items[0].text == "? \U0001f600"


def test_broken_lines_are_named(task):
    found = task(
        CHOICE + 'file = "x.jsonl"\noptions = "o"\n', x_jsonl='{"q": 1, "o": {"x": 1, "y": 0}}\n{"q" 1}\n'
    )
    with pytest.raises(
        InputError, match=r"x.jsonl cannot be read: JSON parse error: Missing a colon.* in row 2"
    ):
        _ = found.dataset
    ragged = task(TEXTS + 'classes = ["a", "b"]\n', x_csv="text,label\nx,a\ny\n")
    with pytest.raises(InputError, match=r"x.csv: row 2: column 'label' is ''"):
        _ = ragged.dataset


def test_ids_that_appear_twice_are_refused(task):
    found = task(
        CHOICE + 'id = "i"\nfile = "x.jsonl"\noptions = "o"\nanswer = "a"\n',
        x_jsonl=jsonl(*({"i": "same", "q": q, "o": ["x", "y"], "a": "A"} for q in "ab")),
    )
    with pytest.raises(InputError, match="two items have the id 'same'"):
        _ = found.dataset


def test_many_raw_labels_may_stand_for_one_class(task):
    found = task(
        TEXTS + 'classes = ["bad", "good"]\nlabels = { awful = "bad", "2" = "good" }\n',
        x_csv="text,label\nx,awful\ny,2\nz,good\nw,bad\n",
    )
    assert [item.label for item in found.dataset.items] == [0, 1, 1, 0]


def test_a_label_of_no_class_is_named(task):
    found = task(TEXTS + 'classes = ["bad", "good"]\n', x_csv="text,label\nx,fair\n")
    with pytest.raises(InputError, match=r"x.csv: row 1: column 'label' is 'fair', which is none of 'bad'"):
        _ = found.dataset


EXPLODED = (
    TEXTS.replace('"text"', '"{title} [{entity}]"') + 'classes = ["bad", "good"]\n'
    '[tasks.t.explode]\ncolumn = "d"\nkey = "entity"\nvalue = "label"\n'
)
HEADLINES = "title,d\nUp and down,\"{'A': 'good', 'B': 'bad'}\"\nBroken,{'C's': 'bad'}\n"


def test_a_mapping_gives_an_item_per_entry(task, caplog):
    found = task(EXPLODED + 'unreadable = "drop"\n', x_csv=HEADLINES)
    assert [(item.id, item.text, item.label) for item in found.dataset.items] == [
        ("x-000001-1", "Up and down [A]", 1),
        ("x-000001-2", "Up and down [B]", 0),
    ]
    assert "1 rows were left out; the first" in caplog.text
    assert "x.csv: row 2: column 'd'" in caplog.text


def test_a_mapping_that_cannot_be_read_is_refused_unless_declared(task):
    with pytest.raises(InputError, match=r"x.csv: row 2: column 'd' is .* a mapping is wanted"):
        _ = task(EXPLODED, x_csv=HEADLINES).dataset


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ('[tasks.t]\nkind = "riddle"\n', r"calbench.toml:2:1: .*'riddle'; use one of 'multiple-choice'"),
        (CHOICE + 'options = "o"\n', r"calbench.toml:1:1: .*lacks the key 'file'"),
        (CHOICE + 'file = "x"\noptions = "o"\nrule = "best"\n', r"calbench.toml:1:1: .*no scoring rule"),
        (CHOICE + 'file = "x"\noptions = "o"\nshots = 5\n', r"calbench.toml:7:1: .*did you mean 'n_shots'"),
    ],
)
def test_bad_declarations_are_named_with_their_line_and_column(declaration, message, task):
    with pytest.raises(InputError, match=message):
        task(declaration)


def test_a_file_that_is_not_there_is_named(task):
    found = task(CHOICE + 'file = "none.csv"\noptions = "o"\n')
    with pytest.raises(InputError, match=r"calbench.toml:5:1: .*'none.csv', and there is no such file"):
        _ = found.dataset


@pytest.mark.parametrize("folder", [".", "./", ""])
def test_a_folder_is_no_file(task, folder):
    found = task(CHOICE + f'file = "{folder}"\noptions = "o"\n')
    with pytest.raises(InputError, match=r"is a folder without tables; name a file in it"):
        _ = found.dataset


class TestSharedFiles:
    def test_mmlu_with_examples_from_another_file(self, task, shared_data):
        folder = shared_data / "questions" / "mmlu"
        found = task(
            f'''[tasks.t]
            kind = "multiple-choice"
            file = "{folder}/test/high_school_geography_test.csv"
            columns = ["question", "A", "B", "C", "D", "answer"]
            question = "question"
            options = ["A", "B", "C", "D"]
            answer = "answer"
            prompt = "{{question}}\\n{{options}}\\nAnswer:"
            rule = "letter"
            n_shots = 5
            shots_file = "{folder}/dev/high_school_geography_dev.csv"
            '''
        )
        assert len(found.dataset.items) + found.dataset.n_duplicates == 202
        assert found.request(DECODER).preamble.count("Answer:") == 5

    def test_arc_in_two_alphabets_with_three_to_five_options(self, task, shared_data):
        found = task(
            f'''[tasks.t]
            kind = "multiple-choice"
            file = "{shared_data}/questions/arc/ARC-Challenge-Test.jsonl"
            id = "id"
            question = "question.stem"
            options = "question.choices[].text"
            keys = "question.choices[].label"
            answer = "answerKey"
            '''
        )
        assert len(found.dataset.items) == 1172
        assert {len(item.options) for item in found.dataset.items} == {3, 4, 5}

    def test_truthfulqa_with_up_to_thirteen_options(self, task, shared_data):
        found = task(
            f'''[tasks.t]
            kind = "multiple-choice"
            file = "{shared_data}/questions/truthfulqa/mc_task.json"
            question = "question"
            options = "mc1_targets"
            '''
        )
        assert len(found.dataset.items) == 817
        assert (len(found.classes), {item.label for item in found.dataset.items}) == (13, {0})

    def test_headlines_with_a_sentiment_per_entity(self, task, shared_data, caplog):
        found = task(
            f'''[tasks.t]
            kind = "classification"
            file = "{shared_data}/sentfin/SEntFiN.csv"
            text = "{{Title}} [{{entity}}]"
            label = "sentiment"
            classes = ["negative", "neutral", "positive"]
            [tasks.t.explode]
            column = "Decisions"
            key = "entity"
            value = "sentiment"
            unreadable = "drop"
            '''
        )
        assert len(found.dataset.items) + found.dataset.n_duplicates == 14_371
        assert "13 rows were left out" in caplog.text


MARKED = CHOICE + 'file = "x.json"\noptions = "o"\n'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"choices": ["a", "b"], "labels": [1]}, "2 choices and 1 labels"),
        ({"choices": "ab", "labels": 1}, "'choices': 'ab'"),
        ({"a": 1, "b": None}, "right"),
        ({"a": 1, "b": [0]}, "right"),
    ],
    ids=["uneven", "no lists", "none", "list"],
)
def test_marks_that_cannot_be_read_are_named_with_their_row(options, message, task):
    found = task(MARKED, x_json=json.dumps([{"q": "1?", "o": options}]))
    with pytest.raises(InputError, match=r"x\.json: row 1: column 'o'") as caught:
        _ = found.dataset
    assert message in str(caught.value)


def test_keys_that_are_no_list_are_named_with_their_row(task):
    found = task(
        CHOICE + 'file = "x.json"\noptions = "o"\nanswer = "a"\nkeys = "k"\n',
        x_json=json.dumps([{"q": "1?", "o": ["x", "y"], "a": 1, "k": 12}]),
    )
    with pytest.raises(InputError, match=r"x\.json: row 1: column 'k' is 12"):
        _ = found.dataset


@pytest.mark.parametrize("name", ["x.csv", "x.json", "x.jsonl"])
def test_a_file_that_is_no_utf8_is_named(name, task, tmp_path):
    found = task(CHOICE + f'file = "{name}"\noptions = "o"\nanswer = "a"\n')
    (tmp_path / name).write_bytes(b'"\xe9t\xe9",o,a\n')
    with pytest.raises(InputError, match=rf"{name} cannot be read"):
        _ = found.dataset


def test_a_column_named_twice_is_refused(task):
    found = task(TEXTS + 'classes = ["a", "b"]\n', x_csv="text,label,label\nt,a,b\n")
    with pytest.raises(InputError, match=r"x\.csv: two columns are called 'label'; rename one"):
        _ = found.dataset


def test_a_plan_of_items_to_label_is_no_task(task):
    found = task(TEXTS + 'classes = ["a", "b"]\n', x_csv="text,label,label_plan\nt,a,200/0.25/42/0\n")
    with pytest.raises(InputError, match="is a plan of which items to label"):
        _ = found.dataset


def test_a_template_does_not_write_none_into_a_text(task):
    found = task(
        TEXTS.replace('text = "text"', 'text = "{a} of {b}"').replace("x.csv", "x.jsonl")
        + 'classes = ["a", "b"]\n',
        x_jsonl=jsonl({"a": "one", "b": None, "label": "a"}),
    )
    with pytest.raises(InputError, match=r"x\.jsonl: row 1: column 'b' is None"):
        _ = found.dataset


def test_files_of_one_name_in_several_folders_give_ids_of_their_own(task, tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "0.csv").write_text(f"text,label\nof {part},a\nmore of {part},b\n")
    found = task(TEXTS.replace("x.csv", "*/0.csv") + 'classes = ["a", "b"]\n')
    ids = [item.id for item in found.dataset.items]
    assert ids == ["test/0.csv-000001", "test/0.csv-000002", "train/0.csv-000001", "train/0.csv-000002"]


def test_a_mapping_with_a_key_of_no_name_is_refused(task):
    found = task(
        TEXTS + 'classes = ["a", "b"]\n[tasks.t.explode]\ncolumn = "m"\nkey = "text"\nvalue = "label"\n',
        x_csv='m\n"{[]: 1}"\n',
    )
    with pytest.raises(InputError, match=r"x\.csv: row 1: column 'm'"):
        _ = found.dataset


def test_a_negative_number_of_quantization_samples_is_refused(task):
    found = task(
        TEXTS.replace("n_quantization = 1", "n_quantization = -1") + 'classes = ["a", "b"]\n',
        x_csv="text,label\none,a\ntwo,b\nthree,a\n",
    )
    with pytest.raises(InputError, match="-1"):
        _ = found.partition


def test_open_questions_take_answers_from_several_columns(task):
    found = task(
        OPEN
        + 'answers = ["a.value", "a.aliases"]\nconfidence = "p-true"\nstop = ["\\n", "."]\nn_shots = 1\n',
        x_jsonl=jsonl({"q": "?", "a": {"value": "Paris", "aliases": ["City of Light", None, "Paris"]}}),
    )
    assert found.dataset.items[0].answers == ("Paris", "City of Light")
    assert (found.confidence, found.stop, found.n_shots) == ("p-true", ("\n", "."), 1)


def test_open_questions_read_a_list_that_a_csv_file_keeps_as_text(task):
    found = task(
        OPEN.replace("jsonl", "csv") + 'answers = "a[]"\n', x_csv='q,a\nwho?,"[""politician"", ""leader""]"\n'
    )
    assert found.dataset.items[0].answers == ("politician", "leader")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"q": "?"}, r"x.jsonl: row 1: column 'a' is missing; there are 'q' \(str\)"),
        ({"q": "?", "a": ["...", None]}, r"x.jsonl: row 1: column 'a' gives \['...'\]; an accepted answer"),
        (
            {"q": "?", "a": [{"text": "x"}]},
            r"x.jsonl: row 1: column 'a' holds {'text': 'x'}; an answer or a list",
        ),
        ({"q": None, "a": "x"}, r"x.jsonl: row 1: column 'q' is None; a text is wanted"),
    ],
)
def test_open_questions_that_cannot_be_asked_are_named_with_their_place(row, message, task):
    found = task(OPEN + 'answers = "a"\n', x_jsonl=jsonl(row))
    with pytest.raises(InputError, match=message):
        _ = found.dataset


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ('answer = "a"\n', r"calbench.toml:6:1: \[tasks.t\] has no key 'answer'; did you mean 'answers'"),
        ("answers = []\n", r"calbench.toml:6:1: \[tasks.t\] answers is \[\]; name one column or more"),
        ('answers = "a"\nconfidence = "gut"\n', r"calbench.toml:1:1: \[tasks.t\] .*use one of 'sequence'"),
        ('answers = "a"\nstop = "."\n', r"calbench.toml:7:1: \[tasks.t\] stop is '.'; give a list"),
        ("", r"calbench.toml:1:1: \[tasks.t\] lacks the key 'answers'"),
    ],
)
def test_open_tasks_that_are_declared_wrongly_are_named_with_their_place(declaration, message, task):
    with pytest.raises(InputError, match=message):
        task(OPEN + declaration)


def test_a_data_set_on_the_hub_may_be_a_local_folder(task, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    folder = tmp_path / "trivia_qa" / "rc.nocontext"
    folder.mkdir(parents=True)
    rows = [{"question": "?", "answer": {"value": "Paris", "aliases": ["City of Light"]}}]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "validation-00000-of-00001.parquet")
    found = task(
        f'[tasks.t]\nkind = "generation"\nhub = "{tmp_path}/trivia_qa"\n'
        'file = "rc.nocontext/validation-*.parquet"\nquestion = "question"\n'
        'answers = ["answer.value", "answer.aliases"]\n'
    )
    assert found.dataset.items[0].answers == ("Paris", "City of Light")
