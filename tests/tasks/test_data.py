"""Every form of a table gives the items that the same rows written by hand give."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma

import pytest

from calbench import tasks
from calbench.errors import InputError, SetupRequiredError
from calbench.tasks import Item, hash_items
from calbench.tasks._data import LARGE, DataSource
from calbench.tasks._unreadable import reading

ROWS = [
    {"key": f"k{i:02}", "text": f"Text, number {i}", "label": ("neg", "pos")[i % 3 == 0]} for i in range(40)
]
BY_HAND = [Item(row["key"], row["text"], ("neg", "pos").index(row["label"])) for row in ROWS]
ARGUMENTS = "[text=text,label=label,id=key]"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path / "cache"))


def table(rows=ROWS):
    import datasets

    names = datasets.ClassLabel(names=["neg", "pos"])
    return datasets.Dataset.from_list(list(rows)).cast_column("label", names)


def jsonl(rows=ROWS):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def csv(rows=ROWS):
    return "\n".join(
        ['"key","text","label"', *(f'{r["key"]},"{r["text"]}",{r["label"]}' for r in rows)]
    ).encode()


def hub_layout(folder):
    """A repository as push_to_hub leaves it: two configurations, sharded splits, features on the card."""
    for config, parts in (("plain", 3), ("other", 1)):
        for index in range(parts):
            path = folder / config / f"test-{index:05}-of-{parts:05}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            table(ROWS[index::parts] if config == "plain" else ROWS[:2]).to_parquet(path)
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: plain\n  data_files:\n  - split: test\n    path: plain/test-*\n"
        "- config_name: other\n  data_files:\n  - split: test\n    path: other/test-*\n---\n# A card\n"
    )
    return f"{folder}[config=plain,split=test,text=text,label=label,id=key]"


def lines_in_the_hubs_layout(folder):
    for split, rows in (("train", ROWS[:2]), ("test", ROWS)):
        path = folder / "data" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jsonl(rows))
    return f"{folder}[split=test,text=text,label=label,id=key]"


def csv_with_a_separator_on_the_card(folder):
    folder.mkdir()
    (folder / "all.csv").write_bytes(csv().replace(b",", b";").replace(b"Text;", b"Text,"))
    (folder / "README.md").write_text(
        '---\nconfigs:\n- config_name: default\n  data_files: all.csv\n  sep: ";"\n---\n'
    )
    return f"{folder}{ARGUMENTS}"


def saved_table(folder):
    table().save_to_disk(folder, num_shards=3)
    return f"{folder}{ARGUMENTS}"


def saved_splits(folder):
    import datasets

    datasets.DatasetDict(test=table(), train=table(ROWS[:1])).save_to_disk(folder)
    return f"{folder}[split=test,text=text,label=label,id=key]"


def one_file(name, content):
    def write(folder):
        folder.mkdir()
        (folder / name).write_bytes(content)
        return f"{folder / name}{ARGUMENTS}"

    return write


def arrow_file(folder):
    folder.mkdir()
    table().save_to_disk(folder / "saved")
    return f"{next((folder / 'saved').glob('*.arrow')).rename(folder / 'x.arrow')}{ARGUMENTS}"


FORMS = {
    "hub layout": hub_layout,
    "lines in the hub's layout": lines_in_the_hubs_layout,
    "a separator on the card": csv_with_a_separator_on_the_card,
    "save_to_disk": saved_table,
    "save_to_disk of splits": saved_splits,
    "arrow": arrow_file,
    "csv": one_file("x.csv", csv()),
    "csv with a mark": one_file("x.csv", b"\xef\xbb\xbf" + csv()),
    "tsv": one_file("x.tsv", csv().replace(b",", b"\t").replace(b"Text\t", b"Text,")),
    "csv.gz": one_file("x.csv.gz", gzip.compress(csv())),
    "jsonl.bz2": one_file("x.jsonl.bz2", bz2.compress(jsonl())),
    "jsonl.xz": one_file("x.jsonl.xz", lzma.compress(jsonl())),
    "json": one_file("x.json", json.dumps(ROWS).encode()),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_items_of_a_task_made_by_hand(form, tmp_path):
    found = tasks.get(FORMS[form](tmp_path / "data"))
    assert found.classes == ("neg", "pos")
    assert found.dataset.fingerprint == hash_items(BY_HAND)


def test_values_of_a_csv_file_stay_as_they_are_written(tmp_path):
    (tmp_path / "x.csv").write_text("a,b,c,d\n007,NA,true,1.50\nnull,,False,1e5\n")
    assert [row.values for row in DataSource("x.csv").rows] == [
        {"a": "007", "b": "NA", "c": "true", "d": "1.50"},
        {"a": "null", "b": "", "c": "False", "d": "1e5"},
    ]


def test_values_of_several_types_in_one_column_stay_as_they_are(tmp_path):
    rows = [{"a": 1, "o": {"x": 1}}, {"a": "b", "o": {"y": [1, "z"]}}, {"a": None, "o": {}}]
    (tmp_path / "x.jsonl").write_bytes(jsonl(rows))
    assert [row.values for row in DataSource("x.jsonl").rows] == rows


def test_of_a_large_table_a_fixed_random_part_is_taken(tmp_path, caplog):
    (tmp_path / "x.csv").write_text("text\n" + "".join(f"w{i}\n" for i in range(LARGE + 5000)))
    first, again = (DataSource("x.csv", n_items=100).rows for _ in range(2))
    assert [row.id for row in first] == [row.id for row in again] == sorted(row.id for row in first)
    assert len(first) == 100
    assert max(int(row.id.removeprefix("x-")) for row in first) > LARGE
    whole = DataSource("x.csv").rows
    assert len(whole) == LARGE
    assert {row.id for row in first} <= {row.id for row in whole}
    assert f"x.csv: a fixed random {LARGE} of its {LARGE + 5000} rows are used" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"x.csv has no rows"),
        (b"text,label\n", r"x.csv has no rows"),
        (b"text,label\na,b\nc,d,e\n", r"x.csv cannot be read: .*Expected 2 fields in line 3, saw 3"),
        (b"text,label\na,b,c\n", r"x.csv: row 1 has more values than the header has names"),
        (b"text,label\n\xe9,b\n", r"x.csv cannot be read: 'utf-8' codec"),
        (b'text,label\n"a,b\n', r"x.csv cannot be read: .*EOF inside string"),
    ],
    ids=["empty", "header", "ragged", "wide", "encoding", "quote"],
)
def test_a_csv_file_that_cannot_be_read_is_named(content, message, tmp_path):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        _ = DataSource("x.csv").rows


def test_a_table_of_another_kind_is_refused(tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"cos\nsystem\n")
    with pytest.raises(InputError, match=r"x.pkl: unknown format; use .csv"):
        _ = DataSource("x.pkl").rows
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.txt").write_text("a\n")
    with pytest.raises(InputError, match="folder is a folder without tables; name a file in it"):
        _ = DataSource("folder").rows


def test_a_script_is_never_run(tmp_path):
    folder = tmp_path / "scripted"
    folder.mkdir()
    (folder / "scripted.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(InputError, match="scripted is a script, and no data set's own code is run"):
        _ = DataSource(str(folder)).rows


def test_splits_and_configurations_that_are_not_there_are_named(tmp_path):
    lines_in_the_hubs_layout(tmp_path / "two")
    with pytest.raises(InputError, match="two has 2 splits; name one of 'train', 'test'"):
        _ = DataSource("two").rows
    with pytest.raises(InputError, match="two has no split 'dev'; name one of 'train', 'test'"):
        _ = DataSource("two", split="dev").rows
    hub_layout(tmp_path / "configured")
    with pytest.raises(InputError, match=r"configured cannot be read: .*Available: \['plain', 'other'\]"):
        _ = DataSource("configured", config="none").rows


def test_an_empty_split_is_named(tmp_path):
    table().filter(lambda row: False).save_to_disk(tmp_path / "none")
    with pytest.raises(InputError, match="none has no rows"):
        _ = DataSource("none").rows


def test_a_label_outside_its_classes_is_named(tmp_path):
    import pyarrow as pa

    odd = table().with_format("arrow")[:]
    labels = pa.array([7] + [0] * 39, pa.int64())
    odd = odd.set_column(odd.schema.get_field_index("label"), odd.schema.field("label"), labels)
    from pyarrow import parquet

    parquet.write_table(odd, tmp_path / "x.parquet")
    with pytest.raises(
        InputError, match=r"x.parquet: row 1: column 'label' is 7, which is none of 'neg', 'pos'"
    ):
        _ = tasks.get("x.parquet[text=text,label=label]").dataset


def test_nothing_is_written_for_a_local_file(tmp_path):
    (tmp_path / "x.csv").write_bytes(csv())
    assert len(DataSource("x.csv").rows) == 40
    assert not list((tmp_path / "cache").rglob("*.arrow"))


def test_a_gated_set_says_where_its_terms_are_accepted():
    from datasets.exceptions import DatasetNotFoundError

    terms = r"'org/x' only to those who accepted its terms.*hf auth login"
    with pytest.raises(SetupRequiredError, match=terms), reading("org/x"):
        raise DatasetNotFoundError("Dataset 'org/x' is a gated dataset on the Hub.")
