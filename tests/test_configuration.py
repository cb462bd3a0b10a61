"""Declarations without code, and errors that name line and column."""

from __future__ import annotations

import pytest

from calbench.configuration import declared, find
from calbench.errors import InputError


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CALBENCH_CONFIG", raising=False)

    def write(text, name="calbench.toml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_declarations_are_read_from_calbench_toml(write):
    write('[tasks.a]\nkind = "x"\n[models.b]\nlocation = "y"\n')
    assert [(table.name, table.values) for table in declared("tasks")] == [(("tasks", "a"), {"kind": "x"})]
    assert [table.name for table in declared("models")] == [("models", "b")]


def test_declarations_are_read_from_pyproject(write):
    path = write('[project]\nname = "p"\n[tool.calbench.tasks.a]\nkind = 3\n', "pyproject.toml")
    (table,) = declared("tasks")
    assert table.name == ("tasks", "a")
    with pytest.raises(InputError, match=rf"{path}:4:1: \[tasks\.a\] kind is 3; give a text"):
        table.check({"kind": str})


def test_a_pyproject_without_declarations_is_passed_over(write, tmp_path, monkeypatch):
    path = write("")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "pyproject.toml").write_text('[project]\nname = "p"\n')
    monkeypatch.chdir(tmp_path / "inner")
    assert find() == path


def test_a_file_can_be_named(write, tmp_path, monkeypatch):
    path = write("[tasks.a]\n", "mine.toml")
    assert find() is None or find() != path
    monkeypatch.setenv("CALBENCH_CONFIG", str(path))
    assert find() == path
    monkeypatch.setenv("CALBENCH_CONFIG", str(tmp_path / "no.toml"))
    with pytest.raises(InputError, match="no such file"):
        find()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tasks.a]\nkind = \n", r"calbench.toml:2:8: "),
        (
            '[tasks.a]\n  kimd = "x"\n',
            r"calbench.toml:2:3: \[tasks.a\] has no key 'kimd'; did you mean",
        ),
        ("\n[tasks.a]\nn = true\n", r"calbench.toml:3:1: \[tasks.a\] n is True; give a whole number"),
        ('[tasks.a]\nkind = "x"\n[tasks.b]\nkind = 1\n', r"calbench.toml:4:1: \[tasks.b\] kind is 1"),
        ("[tasks]\na = { kind = 1 }\n", r"\[tasks.a\] kind is 1"),
        ("[tasks.a]\nnames = [1]\n", r"calbench.toml:2:1: .* give a list of texts"),
        ("[tasks.a]\nn = 1\n", r"calbench.toml:1:1: \[tasks.a\] lacks the key 'kind'"),
        ("[questions.a]\n", r"has no section 'questions'; there are models and tasks"),
        ("tasks = 3\n", r"tasks is 3; write \[tasks.NAME\]"),
    ],
)
def test_errors_name_file_line_and_column(text, message, write):
    write(text)
    with pytest.raises(InputError, match=message):
        check_all()


def check_all():
    for table in declared("tasks"):
        table.check({"kind": str, "n": int, "names": list}, required=("kind",))


def test_a_file_that_is_no_utf8_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CALBENCH_CONFIG", raising=False)
    (tmp_path / "calbench.toml").write_bytes(b'[tasks."\xe9t\xe9"]\n')
    with pytest.raises(InputError, match=r"calbench\.toml.*utf-8"):
        list(declared("tasks"))


def test_a_tool_table_that_is_no_table_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CALBENCH_CONFIG", raising=False)
    (tmp_path / "pyproject.toml").write_text('[[tool.calbench]]\nmodels = "m"\n')
    with pytest.raises(InputError, match=r"pyproject\.toml.*tool\.calbench"):
        list(declared("tasks"))
