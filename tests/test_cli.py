"""The command line: numbers, JSON, exit statuses and errors without tracebacks."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import typer

from calbench import Predictions, calibrators, cli, metrics

RNG = np.random.default_rng(0)
TRUE = RNG.normal(size=(600, 3))
LABELS = np.array([RNG.choice(3, p=p) for p in calibrators.softmax(TRUE)])


def commands(group, prefix=""):
    """Names of all commands, those of groups within groups included."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"


COMMANDS = sorted(commands(typer.main.get_command(cli.app)))


@pytest.fixture
def files(tmp_path):
    paths = {}
    for name, scale in (("fp32", 1.0), ("int4", 4.0)):
        paths[name] = tmp_path / f"{name}.parquet"
        Predictions([f"i{n}" for n in range(600)], scale * TRUE, LABELS).write(paths[name])
    return paths


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["calbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


def test_evaluate_agrees_with_the_library(run, files):
    code, out, _ = run("evaluate", files["int4"], "--json", "--metrics", "ece,nll")
    shown = json.loads(out)
    record = Predictions.read(files["int4"])
    assert code == 0
    assert shown["n"] == 600
    for name in ("ece", "nll"):
        assert shown["metrics"][name]["value"] == pytest.approx(metrics.get(name)(record.probs, LABELS))


def test_evaluate_prints_a_table(run, files):
    code, out, err = run("evaluate", files["fp32"])
    assert "600 items" in err
    assert code == 0
    assert "accuracy" in out


def test_transfer_prints_every_part(run, files):
    code, out, _ = run("transfer", files["fp32"], files["int4"], "--json", "--calibrator", "temperature")
    shown = json.loads(out)
    assert code == 0
    assert {"degradation", "regret", "benefit", "transferred", "refitted"} <= shown.keys()
    code, out, _ = run("transfer", files["fp32"], files["int4"])
    assert (code, "degradation" in out) == (0, True)


def test_transfer_in_folds_scores_all_items(run, files):
    code, out, _ = run("transfer", files["fp32"], files["int4"], "--folds", "5", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["n_test"] == found["n_calibration"] > 0
    code, _, err = run("transfer", files["fp32"], files["int4"], "--folds", "5", "--calibrator", "histogram")
    assert code == 2
    assert "learns too many numbers to be cross-fitted" in err


@pytest.mark.parametrize(("first", "second", "code"), [("fp32", "int4", 1), ("int4", "fp32", 0)])
def test_compare_exits_1_when_the_gate_fails(run, files, first, second, code):
    """The reference comes first; both sides are named with their values."""
    found, out, _ = run("compare", files[first], files[second], "--metric", "nll,brier", "--margin", "0.02")
    assert found == code
    assert out.startswith(f"reference {files[first]}, candidate {files[second]}\n")
    assert re.search(r"nll reference \d\.\d+ -> candidate \d\.\d+: change [+-]\d\.\d+ \[", out)
    assert "brier reference" in out


def test_compare_prints_a_table_for_a_pull_request(run, files):
    options = ("--metric", "nll,brier", "--margin", "5", "--markdown")
    code, out, _ = run("compare", files["fp32"], files["int4"], *options)
    about, _, head, _, *rows = out.splitlines()
    assert about.startswith("fp32.parquet → int4.parquet: answers that flip: ")
    assert [cell.strip() for cell in head.split("|")[1:4]] == ["metric", "reference", "candidate"]
    assert [row.split("|")[1].strip() for row in rows] == ["nll", "brier"]
    assert code == 0


@pytest.fixture
def by_task(tmp_path):
    """Two records of which only the items of task ``b`` got worse."""
    paths = []
    ids = [f"{'a' if n < 300 else 'b'}/{n}" for n in range(600)]
    for name, scale in (("fp32", 1.0), ("int4", 4.0)):
        scales = np.where(np.arange(600) < 300, 1.0, scale)[:, None]
        paths.append(tmp_path / f"{name}.parquet")
        Predictions(ids, scales * TRUE, LABELS).write(paths[-1])
    return paths


def test_compare_gates_each_task_besides(run, by_task):
    options = ("--metric", "nll,brier", "--by", "task", "--margin", "0.02")
    code, out, _ = run("compare", *by_task, *options, "--json")
    found = {(gate["task"], gate["metric"]): gate for gate in json.loads(out)["gates"]}
    assert code == 1
    assert [found[place]["outcome"] for place in (("", "nll"), ("a", "nll"), ("b", "nll"))] == [
        "fail",
        "pass",
        "fail",
    ]
    assert (found["a", "brier"]["n"], found["", "brier"]["n"]) == (300, 600)
    assert found["a", "nll"]["level"] == pytest.approx(0.975)  # two tasks share one false alarm
    _, out, _ = run("compare", *by_task, *options)
    assert "\nb, at 97.50%: fail: nll reference" in out
    _, out, _ = run("compare", *by_task, *options, "--markdown")
    assert [row.split("|")[1].strip() for row in out.splitlines()[4:]] == ["all", "all", "a", "a", "b", "b"]


def test_compare_by_task_needs_items_that_name_theirs(run, files):
    code, _, err = run("compare", files["fp32"], files["int4"], "--by", "task")
    assert (code, "'i0' does not name its task" in err) == (2, True)


def test_compare_by_class_finds_the_one_that_broke_and_calls_a_small_one_undecided(run, tmp_path):
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1, 2], [1000, 100, 4])
    logits = rng.normal(size=(len(labels), 3))
    logits[np.arange(len(labels)), labels] += 3
    broken = logits + np.where(labels[:, None] == 1, [3.0, -1.0, 0.0], 0.0)  # of 9% of the items
    paths = [tmp_path / f"{name}.parquet" for name in ("fp32", "int4")]
    for path, each in zip(paths, (logits, broken), strict=True):
        Predictions([f"i{n}" for n in range(len(labels))], each, labels).write(path)
    _, out, _ = run("compare", *paths, "--metric", "accuracy", "--by", "class", "--margin", "0.1")
    found = [re.search("(pass|fail|inconclusive): accuracy", line)[1] for line in out.splitlines()[1:5]]
    assert found == ["pass", "pass", "fail", "inconclusive"]


def test_compare_by_class_needs_classes(run, tmp_path):
    paths = [tmp_path / f"{name}.csv" for name in ("a", "b")]
    for path in paths:
        path.write_text("item_id,confidence,correct\n" + "".join(f"i{n},0.7,1\n" for n in range(40)))
    code, _, err = run("compare", *paths, "--by", "class")
    assert (code, "--by class reads records with the probabilities of every class" in err) == (2, True)


@pytest.mark.parametrize(("option", "code"), [((), 3), (("--inconclusive", "pass"), 0)])
def test_compare_exits_3_when_it_cannot_tell(run, files, tmp_path, option, code):
    for name in ("fp32", "int4"):
        record = Predictions.read(files[name])
        record.take(record.item_ids[:60]).write(tmp_path / f"{name}.parquet")
    pair = tmp_path / "fp32.parquet", tmp_path / "int4.parquet"
    found, out, _ = run("compare", *pair, "--metric", "ece", "--margin", "0.1", *option)
    assert (found, out.split("\n")[1].split(":")[0]) == (code, "inconclusive")


@pytest.mark.parametrize("command", ["compare", "transfer"])
def test_a_swapped_pair_is_refused_where_the_records_tell_their_bits(run, files, tmp_path, command):
    """A swap made a broken int4 pass: the reference has more bits than its candidate, or --force is given."""
    for name, quantizer in (("fp32", "fp32"), ("int4", "gptq-int4")):
        record = Predictions.read(files[name])
        told = Predictions(record.item_ids, record.logits, record.labels, metadata={"quantizer": quantizer})
        told.write(tmp_path / f"{name}.parquet")
    pair = tmp_path / "int4.parquet", tmp_path / "fp32.parquet"
    code, _, err = run(command, *pair)
    assert code == 2
    assert "more effective bits (32) than the reference (4)" in err
    assert run(command, *reversed(pair))[0] in (0, 1, 3)
    with pytest.warns(UserWarning, match="more effective bits"):
        assert run(command, *pair, "--force")[0] in (0, 1, 3)


def test_list_names_what_is_registered(run):
    code, out, _ = run("list", "--json")
    assert code == 0
    assert "negative log-likelihood" in json.loads(out)["calibrators"]["temperature"]["what"]
    code, out, _ = run("list", "tasks")
    assert (code, "tweets" in out, "temperature" in out) == (0, True, False)


def test_list_says_what_each_thing_is_in_one_aligned_column(run):
    _, out, _ = run("list")
    lines = [line for line in out.splitlines() if line.startswith("  ")]
    assert all("calbench." not in line for line in lines)
    _, out, _ = run("list", "quantizers")
    starts = {line.index(line.split(maxsplit=1)[1]) for line in out.splitlines() if line.startswith("  ")}
    assert len(starts) == 1


def test_columns_are_mapped(run, tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"id": i, "gold": i % 2, "lp": [-0.5, -1.0]} for i in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)))
    code, out, _ = run("evaluate", path, "--columns", "item_id=id,label=gold,logits=lp", "--json")
    assert (code, json.loads(out)["metrics"]["accuracy"]["value"]) == (0, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "missing.parquet"), "missing.parquet: no such file"),
        (("evaluate", "FP32", "--metrics", "eec"), "did you mean 'ece'"),
        (("evaluate", "FP32", "--columns", "labels=x"), "cannot read 'labels=x'"),
        (("transfer", "FP32", "INT4", "--calibrator", "temprature"), "did you mean 'temperature'"),
    ],
)
def test_bad_input_exits_2_with_a_message(run, files, arguments, message):
    arguments = [files.get(str(a).lower(), a) for a in arguments]
    code, _, err = run(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("suffix", ["json", "safetensors", "onnx"])
def test_a_calibrator_is_exported(run, files, tmp_path, suffix):
    fit = tmp_path / f"fit.{suffix}"
    code, _, err = run("export", "calibrator", files["int4"], "--calibrator", "vector", "-o", fit)
    assert code == 0
    assert fit.is_file()
    assert "vector, 6 parameters, fitted on 600 items" in err


def test_an_exported_pacs_is_for_the_deployed_precision(run, files, tmp_path):
    options = ("--calibrator", "pacs", "--epsilon", "0", "--deployed-epsilon", "0.07")
    run("export", "calibrator", files["fp32"], *options, "-o", tmp_path / "fit.json")
    assert json.loads((tmp_path / "fit.json").read_text())["parameters"]["epsilon"] == 0.07


def test_bad_usage_exits_2(run):
    assert run("nonsense")[0] == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run, command):
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert f"Example: calbench {command}" in out


def test_help_needs_no_heavy_package():
    code = "import sys\nfrom calbench.cli import app\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "scipy", "numpy", "pyarrow"} & set(done.stdout.split())


def test_version(run):
    import calbench

    assert run("--version")[1].strip() == calbench.__version__


@pytest.mark.parametrize("command", ["transfer", "compare"])
def test_records_of_different_classes_are_refused_by_name(run, tmp_path, command):
    logits = RNG.normal(size=(200, 3))
    paths = tmp_path / "two.jsonl", tmp_path / "three.jsonl"
    for path, width in zip(paths, (2, 3), strict=True):
        Predictions(range(200), logits[:, :width], [0, 1] * 100).write(path)
    code, _, err = run(command, *paths)
    assert code == 2
    assert all(str(path) in err for path in paths)
    assert "classes and the candidate" in err


def test_columns_of_padding_are_no_classes(run, tmp_path):
    logits = RNG.normal(size=(200, 3))
    Predictions(range(200), logits, [0, 1] * 100).write(tmp_path / "three.jsonl")
    padded = np.column_stack([logits, np.full(200, -np.inf)])
    Predictions(range(200), padded, [0, 1] * 100).write(tmp_path / "four.npz")
    assert run("transfer", tmp_path / "four.npz", tmp_path / "three.jsonl")[0] == 0


@pytest.mark.parametrize("command", ["ls", "verify", "gc"])
def test_a_store_that_is_not_there_is_called_that(run, tmp_path, command):
    code, out, err = run("store", command, "--store", tmp_path / "none")
    assert (code, out) == (2, "")
    assert "none: there is no store here" in err


def test_a_narrow_terminal_folds_values_and_cuts_no_name(monkeypatch, capsys):
    from calbench.cli._output import table

    monkeypatch.setenv("COLUMNS", "80")
    change = "+0.003 [-0.012, +0.021]"
    name = "smollm2::tweets::gguf-q4_0[runtime=llama.cpp]"
    titles = ["build", "verdict", "bits", "MiB", "Δ ece_shared_bins", "Δ brier", "Δ accuracy"]
    table("", titles, [[name, "undecided", "4.5", "0.21", change, change, change]])
    out = capsys.readouterr().out
    assert "ece_shared_bins" in out
    assert "…" not in out
    cut = "".join(line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│"))
    assert cut == name


def test_a_table_in_a_file_folds_no_line(monkeypatch, capsys):
    from calbench.cli._output import table

    monkeypatch.delenv("COLUMNS", raising=False)
    row = ["q4_0", "undecided", *["+0.003 [-0.012, +0.021]"] * 3]
    table("", ["build", "verdict", "Δ ece_shared_bins", "Δ brier", "Δ accuracy"], [row])
    found = [line for line in capsys.readouterr().out.splitlines() if "q4_0" in line]
    assert [cell.strip() for cell in found[0].split("│")[1:-1]] == row


def test_a_table_for_a_pull_request_says_how_many_items_would_decide(run, tmp_path):
    for name, scale in (("fp32", 1.0), ("int4", 1.05)):
        Predictions(range(60), scale * TRUE[:60], LABELS[:60]).write(tmp_path / f"{name}.parquet")
    files = [tmp_path / "fp32.parquet", tmp_path / "int4.parquet"]
    code, out, _ = run("compare", *files, "--metric", "ece", "--margin", "0.001", "--markdown")
    assert code == 3
    assert re.search(r"inconclusive; about [\d,]+ items would decide \|", out)
