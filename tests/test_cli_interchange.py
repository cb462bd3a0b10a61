"""Commands on other people's files: imports, published figures, transfer of top answers, pictures."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest

from calbench import Predictions, calibrators, cli
from calbench.cli._output import print_json
from calbench.metrics import negative_log_likelihood
from tests.interchange.samples import write

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(400, 3))
LABELS = [int(RNG.choice(3, p=p)) for p in calibrators.softmax(LOGITS)]
MAPPED = ("--columns", "label=answer_idx,logits=logprobs")
TOP = ("--row-ids", "--columns", "predicted=preds,confidence=confs")


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["calbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


@pytest.fixture
def folder(tmp_path):
    for quantizer, scale in (("fp16", 1.0), ("int4", 3.0)):
        record = Predictions(range(400), scale * LOGITS, LABELS)
        record.with_metadata({"model": "m", "task": "t", "quantizer": quantizer}).write(
            tmp_path / "records" / f"{quantizer}.parquet"
        )
    return tmp_path / "records"


def test_import_writes_a_record_with_its_origin(run, tmp_path):
    write(tmp_path)
    target = tmp_path / "kept.parquet"
    code, out, _ = run("import", tmp_path, "-o", target, "--quantizer", "fp16", "--json")
    assert (code, json.loads(out)["n"]) == (0, 3)
    kept = Predictions.read(target).metadata
    assert (kept["quantizer"], kept["origin"]["format"]) == ("fp16", "lm-eval")


def test_import_refuses_an_unknown_format_before_it_reads(run, tmp_path):
    code, _, err = run("import", "missing", "-o", tmp_path / "x.xlsx")
    assert (code, "unknown format" in err) == (2, True)


@pytest.mark.parametrize("command", ["import", "export records"])
def test_what_is_read_is_not_overwritten(run, tmp_path, command):
    path = tmp_path / "mine.csv"
    path.write_text("item_id,confidence,correct,mine\na,0.9,1,x\n")
    kept = path.read_bytes()
    (tmp_path / "here").symlink_to(tmp_path)
    code, _, err = run(*command.split(), path, "-o", tmp_path / "here" / "mine.csv")
    assert (code, "would be overwritten" in err, path.read_bytes()) == (2, True, kept)


TOP_HEADER = "item_id,confidence,correct\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item_id,label,logits_0,logits_1\na,0,1,2\nb,0,abc,2\n", "row 1: logits_0 = 'abc' is no number"),
        (TOP_HEADER + "a,48.6%,1\n", "row 0 is '48.6%'; write 48.6% as 0.486"),
        (TOP_HEADER + "a,48.6,1\n", "confidences[0] = 48.6 is outside [0, 1]; divide percents by 100"),
        (TOP_HEADER + "a,0.5,1\nb,0.5,7\n", "correct[1] = '7', where right and wrong belong"),
        (TOP_HEADER + "a,0.5,maybe\n", "correct[0] = 'maybe'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_a_remedy(run, tmp_path, content, message):
    (tmp_path / "x.csv").write_text(content)
    code, _, err = run("evaluate", tmp_path / "x.csv")
    assert (code, "x.csv" in err) == (2, True)
    assert message in err


def test_percents_of_class_vectors_are_named(run, tmp_path):
    (tmp_path / "x.csv").write_text("item_id,label,p0,p1\na,0,40,60\n")
    _, _, err = run("evaluate", tmp_path / "x.csv", "--columns", "probs=p0+p1")
    assert "probs[0] sums to 100" in err
    assert "divide percents by 100" in err


def test_a_folder_without_records_is_called_that(run, tmp_path):
    code, _, err = run("evaluate", tmp_path)
    assert (code, "holds no files; name a file of predictions" in err) == (2, True)


def test_a_fit_that_is_not_there_is_called_that(run, folder):
    _, _, err = run("evaluate", folder / "int4.parquet", "--apply", folder / "none.json")
    assert "none.json: no such file" in err


def test_compare_names_the_items_that_it_leaves_out(run, folder):
    record = Predictions.read(folder / "int4.parquet")
    record.take(record.item_ids[1:]).write(folder / "int4.parquet")
    code, out, err = run("compare", folder / "fp16.parquet", folder / "int4.parquet", "--margin", "1")
    assert code == 0
    assert "n = 399" in out
    assert "1 items are in the reference only and were left out: 0" in err


def test_transfer_of_top_answers_needs_a_calibrator_of_confidences(run, folder):
    for path in folder.iterdir():
        Predictions.read(path).to_top_label().write(path)
    files = folder / "fp16.parquet", folder / "int4.parquet"
    code, _, err = run("transfer", *files, "--calibrator", "temperature")
    assert (code, "use histogram, isotonic" in err) == (2, True)
    code, out, _ = run("transfer", *files, "--calibrator", "platt", "--json")
    assert code == 0
    assert json.loads(out)["degradation"].keys() == {"ece", "brier_toplabel", "accuracy"}


def test_report_measures_records(run, folder, tmp_path):
    code, _, _ = run("report", folder, "-o", tmp_path / "report", "--n-resamples", 200)
    assert code == 0
    results = tmp_path / "report" / "results.json"
    assert {cell["quantizer"] for cell in json.loads(results.read_text())["cells"]} == {"fp16", "int4"}
    code, _, _ = run("report", results, "-o", tmp_path / "again")
    assert code == 0
    assert (tmp_path / "again" / "comment.md").read_text() == (tmp_path / "report" / "comment.md").read_text()


@pytest.mark.parametrize("kind", ["reliability", "shift"])
def test_pictures_of_records(run, folder, tmp_path, kind):
    pytest.importorskip("matplotlib")
    files = folder / "fp16.parquet", folder / "int4.parquet"
    code, _, _ = run("plot", kind, *files, "-o", tmp_path / "x.svg")
    assert (code, (tmp_path / "x.svg").read_text()[:5]) == (0, "<?xml")


def test_export_in_each_shape(run, folder, tmp_path):
    source = folder / "int4.parquet"
    assert run("export", "records", source, "-o", tmp_path / "x.csv")[0] == 0
    assert len(Predictions.read(tmp_path / "x.csv")) == 400
    code, out, _ = run("export", "results", source, "--task", "t")
    assert "ece,none" in json.loads(out)["results"]["t"]
    code, out, _ = run("export", "model-card", source, "--model", "me/m", "--task", "t")
    assert (code, out.startswith("---\n")) == (0, True)


def test_control_characters_of_a_file_do_not_reach_the_terminal(run, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"item_id": "\\u001b[2J", "label": 9, "logits": [1, 2]}')
    code, _, err = run("evaluate", path, "--columns", "label=\x1b[31m")
    assert code == 2
    assert "\x1b[31m" not in err.replace("\x1b[31merror", "error")


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_where_an_error_comes_from(monkeypatch, place):
    command = ["evaluate", "missing.parquet"]
    monkeypatch.setattr(
        sys, "argv", ["calbench", *(["--debug", *command] if place == "before" else [*command, "--debug"])]
    )
    with pytest.raises(Exception, match="no such file"):
        cli.main()


def test_an_error_of_its_own_is_no_failed_gate(run, monkeypatch, folder):
    monkeypatch.setattr("calbench.gates.evaluate", lambda *_, **__: 1 / 0)
    code, _, err = run("evaluate", folder / "int4.parquet")
    assert code == 2
    assert "internal error: ZeroDivisionError" in err
    assert "Traceback" not in err


def test_a_place_that_cannot_be_written_is_no_internal_error(run, folder, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = run("export", "records", folder / "int4.parquet", "-o", tmp_path / "file" / "x.csv")
    assert code == 2
    assert err.startswith("error: ")
    assert str(tmp_path / "file") in err


def test_report_fits_calibrators_with_and_without_arguments(run, folder, tmp_path):
    chosen = "identity,histogram[n_bins=5,strategy=uniform],not dirichlet"
    options = "--calibrators", chosen, "--n-resamples", 100
    code, _, _ = run("report", folder, "-o", tmp_path, *options)
    cells = json.loads((tmp_path / "results.json").read_text())["cells"]
    assert code == 0
    assert {cell["calibrator"] for cell in cells} == {"identity", "histogram[n_bins=5,strategy=uniform]"}


def test_a_step_function_may_give_the_right_class_nothing(run, folder):
    records = folder / "int4.parquet", "--calibrator", "isotonic", "--fit-on", folder / "fp16.parquet"
    fit = Predictions.read(folder / "fp16.parquet").take(range(30))
    fit.write(folder / "fp16.parquet")
    code, out, err = run("evaluate", *records, "--metrics", "nll,ece", "--json")
    assert (code, err) == (0, "")
    record = Predictions.read(folder / "int4.parquet")
    fitted = calibrators.get("isotonic").fit(fit.logits, fit.labels)
    probs = fitted(record.logits)
    assert (probs[np.arange(400), record.labels] == 0).any()
    expected = negative_log_likelihood(probs, record.labels)
    assert json.loads(out)["metrics"]["nll"]["value"] == pytest.approx(expected, rel=1e-6)  # float32 logits


def test_a_calibrator_is_fitted_on_what_evaluate_reads(run, folder, tmp_path):
    record = Predictions.read(folder / "int4.parquet")
    rows = [{"label": int(y), "p": p.tolist()} for y, p in zip(record.labels, record.probs, strict=True)]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    target = tmp_path / "fit.json"
    code, _, err = run(
        "export", "calibrator", tmp_path / "p.json", "--row-ids", "--columns", "probs=p", "-o", target
    )
    assert (code, "fitted on 400 items" in err) == (0, True)
    record.to_top_label().write(tmp_path / "top.parquet")
    code, _, err = run("export", "calibrator", tmp_path / "top.parquet", "-o", target)
    assert (code, "needs the probability of every class" in err) == (2, True)


def test_a_file_that_is_no_fit_is_named(run, folder, tmp_path):
    (tmp_path / "fit.json").write_text("{}")
    code, _, err = run("evaluate", folder / "int4.parquet", "--apply", tmp_path / "fit.json")
    assert (code, f"{tmp_path / 'fit.json'}: this is no fitted calibrator" in err) == (2, True)


@pytest.mark.parametrize("option", [("--scorer", "match"), ("--per-character",)])
def test_options_of_another_format_are_refused(run, folder, tmp_path, option):
    code, _, err = run("import", folder / "int4.parquet", "-o", tmp_path / "x.parquet", *option)
    assert (code, f"leave out {option[0]}" in err) == (2, True)


def test_json_holds_no_infinity(capsys):
    print_json({"interval": (0.5, float("inf")), "rows": [{"value": float("nan")}]})
    shown = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert shown == {"interval": [0.5, "inf"], "rows": [{"value": "nan"}]}


def test_a_calibrated_models_interval_may_begin_at_0(run, tmp_path):
    logits = RNG.normal(size=(300, 3))
    labels = np.array([RNG.choice(3, p=p) for p in calibrators.softmax(logits)])
    Predictions(range(300), logits, labels).write(tmp_path / "a.parquet")
    _, out, _ = run("evaluate", tmp_path / "a.parquet", "--json")
    assert json.loads(out)["metrics"]["ece"]["interval"][0] == 0
    _, out, _ = run("evaluate", tmp_path / "a.parquet", "--json", "--intervals", "percentile")
    assert json.loads(out)["metrics"]["ece"]["interval"][0] > 0
    _, out, _ = run("export", "model-card", tmp_path / "a.parquet", "--model", "m", "--task", "t")
    card = json.loads(out.strip().strip("-"))["model-index"][0]["results"][0]["metrics"]
    assert next(m for m in card if m["type"] == "ece")["args"]["interval"][0] == 0


@pytest.mark.parametrize(
    ("label", "before", "after"),
    [("0", "BCAA", "2200"), ("A", "ABCD", ("A", "B", "C", "none"))],
    ids=["a wrong one becomes another wrong one", "one is no letter"],
)
def test_each_answer_flips_by_itself(run, tmp_path, label, before, after):
    for name, answers in (("fp16", before), ("int4", after)):
        rows = [f"{i},{answer},{label},0.9\n" for i, answer in enumerate(answers)]
        (tmp_path / f"{name}.csv").write_text("item_id,predicted,label,confidence\n" + "".join(rows))
    _, out, _ = run("compare", tmp_path / "fp16.csv", tmp_path / "int4.csv", "--metric", "accuracy")
    assert "answers that flip: 25.0%" in out


def test_flips_of_correctness_are_called_that(run, tmp_path):
    for name, hits in (("fp16", "1100"), ("int4", "1000")):
        rows = [f"{i},{hit},0.9\n" for i, hit in enumerate(hits)]
        (tmp_path / f"{name}.csv").write_text("item_id,correct,confidence\n" + "".join(rows))
    _, out, _ = run("compare", tmp_path / "fp16.csv", tmp_path / "int4.csv", "--metric", "accuracy")
    assert "answers that turn right or wrong: 25.0%" in out


def test_the_bit_ladder(run, shared_data):
    """Every ECE of table 1 that was published, through the command line."""
    folder = shared_data / "mlx_quantization"
    with (folder / "tables" / "table1_h1_bit_ladder.csv").open() as file:
        rows = list(csv.DictReader(file))[::7]  # of 28: each takes half a second
    for row in rows:
        cell = folder / "cells" / f"{row['model']}__{row['condition']}__{row['benchmark']}.parquet"
        columns = "confidence=conf_pred,correct=is_correct"
        metrics = "ece[strategy=quantile],brier_toplabel"
        options = "--columns", columns, "--metrics", metrics, "--intervals", "percentile", "--json"
        code, out, _ = run("evaluate", cell, *options)
        shown = json.loads(out)["metrics"]
        assert code == 0
        assert shown["ece[strategy=quantile]"]["value"] == pytest.approx(float(row["ece"]), abs=1e-12)
        assert shown["brier_toplabel"]["value"] == pytest.approx(float(row["brier"]), abs=1e-12)
        # Another draw than theirs: 2,000 resamples leave some 2% of the half-width.
        low, high = shown["ece[strategy=quantile]"]["interval"]
        assert (low, high) == pytest.approx((float(row["ece_lo"]), float(row["ece_hi"])), abs=3e-3)


def test_the_accuracies_of_the_harness(run, shared_data):
    folder = shared_data / "lm_eval_samples"
    reported = json.loads(next(folder.glob("results_*.json")).read_text())["results"]
    for task, result in reported.items():
        (path,) = folder.glob(f"samples_{task}_*.jsonl")
        _, out, _ = run("evaluate", path, "--metrics", "accuracy", "--json")
        assert json.loads(out)["metrics"]["accuracy"]["value"] == result["acc,none"]


def test_temperature_on_cifar(run, shared_data, tmp_path):
    pytest.importorskip("torch")
    folder = shared_data / "cifar10_resnet50_logits"
    (test,), (validation,) = folder.glob("*_test_*.pt"), folder.glob("*_val_*.pt")
    options = "--row-ids", "--metrics", "ece,accuracy", "--n-resamples", 100, "--json"

    def percent(*more):
        _, out, _ = run("evaluate", test, *options, *more)
        return {name: f"{100 * e['value']:.2f}" for name, e in json.loads(out)["metrics"].items()}

    assert percent() == {"ece": "4.35", "accuracy": "95.05"}
    fitted = calibrators.get("temperature").fit(LOGITS, LABELS).to_dict()
    (tmp_path / "t.json").write_text(json.dumps({**fitted, "parameters": {"temperature": 2.5}}))
    assert percent("--apply", tmp_path / "t.json")["ece"] == "1.35"
    # Fitted rather than chosen from a grid of tenths: T = 2.4975.
    assert percent("--calibrator", "temperature", "--fit-on", validation)["ece"] == "1.37"


def test_a_transferred_calibrator_that_may_hurt_is_named(run, shared_data):
    cells = shared_data / "mlx_quantization" / "cells"
    files = [cells / f"qwen2.5-1.5b__{name}__arc_challenge.parquet" for name in ("bf16", "mixed_3_6")]
    code, _, err = run("transfer", *files, *MAPPED, "--calibrator", "vector")
    assert code == 0
    assert "the transferred calibrator may hurt: nll +0.0" in err


def test_top_answers_are_served_where_no_class_vector_is_needed(run, shared_data):
    name = "Qwen__Qwen2.5-1.5B-Instruct__{}__arc.json"
    full, four = (shared_data / "top1_only" / name.format(p) for p in ("fp16", "int4"))
    code, out, err = run("evaluate", four, *TOP, "--answers", full, "--json")
    assert (code, json.loads(out)["metrics"]["accuracy"]["value"]) == (0, 0.889)
    code, _, err = run("evaluate", four, *TOP, "--answers", full, "--metrics", "nll")
    assert (code, "needs the probability of every class" in err) == (2, True)


def test_stored_records_are_named_where_a_file_is_taken(run, monkeypatch, tmp_path):
    from calbench.store import Store

    monkeypatch.setenv("CALBENCH_CACHE", str(tmp_path))
    keys = {}
    for quantizer, scale in (("fp32", 1.0), ("bnb-nf4", 3.0), ("bnb-nf4", 4.0)):
        names = {"model": "m", "task": "t", "quantizer": quantizer}
        record = Predictions(range(400), scale * LOGITS, LABELS, names)
        keys[quantizer, scale] = Store.at().put({"scale": scale}, record, {}).key
    first, second = keys["bnb-nf4", 3.0], keys["bnb-nf4", 4.0]
    code, out, _ = run("compare", "m::t::fp32", first[:12], "--metric", "accuracy", "--json")
    assert (code, json.loads(out)["gates"][0]["delta"]) == (0, 0.0)
    code, _, err = run("compare", "m::t::fp32", "m::t::bnb-nf4")
    assert code == 2
    assert "2 stored records are called m::t::bnb-nf4: " in err
    assert "write a key in its place, such as " in err
    assert first[:12] in err and second[:12] in err  # noqa: PT018
    code, _, err = run("evaluate", "m::t::fp16")
    assert (code, "no stored record is called 'm::t::fp16'; did you mean 'm::t::fp32'" in err) == (2, True)


def test_import_prints_the_notes_that_evaluate_prints(run, tmp_path):
    path = tmp_path / "x.csv"
    answers = ["A", "B", "C", "B", "A", "C"]
    rows = [f"{0.5 + i / 20},{said},{i % 3 + 1 if i == 4 else said}" for i, said in enumerate(answers)]
    path.write_text("\n".join(["c,p,l", *rows]) + "\n")
    mapped = ("--row-ids", "--columns", "confidence=c,predicted=p,label=l")
    _, _, evaluated = run("evaluate", path, *mapped, "--n-resamples", 100)
    _, _, imported = run("import", path, "-o", tmp_path / "x.parquet", *mapped)
    notes = [[line for line in err.splitlines() if line.startswith("note:")] for err in (evaluated, imported)]
    assert notes[0] == notes[1] != []


def test_clusters_of_a_file_are_units_of_its_intervals(run, tmp_path):
    path = tmp_path / "x.csv"
    rows = [f"{0.5 + i / 100},{int(i % 12 < 6)},{i // 4}" for i in range(48)]
    path.write_text("\n".join(["c,ok,passage", *rows]) + "\n")
    mapped = "confidence=c,correct=ok"
    found = [
        json.loads(run("evaluate", path, "--row-ids", "--columns", mapped + more, "--json")[1])
        for more in ("", ",cluster_id=passage")
    ]
    alone, together = (f.get("metrics", f)["accuracy"]["interval"] for f in found)
    assert together[1] - together[0] > alone[1] - alone[0]


def test_every_command_that_reads_a_stored_record_can_be_told_the_store(run, tmp_path):
    from calbench.store import Store

    place = tmp_path / "elsewhere"
    record = Predictions(range(400), LOGITS, LABELS, {"model": "m", "task": "t", "quantizer": "q"})
    key = Store.at(place).put({"one": 1}, record, {}).key[:12]
    for command in (
        ("compare", key, key),
        ("plot", "reliability", key, "-o", tmp_path / "a.svg"),
        ("plot", "shift", key, key, "-o", tmp_path / "b.svg"),
        ("export", "records", key, "-o", tmp_path / "a.csv"),
        ("export", "calibrator", key, "-o", tmp_path / "a.json"),
        ("monitor", key, "--baseline", key),
    ):
        code, _, err = run(*command, f"--store={place}")
        assert code in (0, 3), (command, err)


def test_an_id_of_a_conftest_is_said_to_be_known_to_pytest_alone(run, folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    unknown = ("evaluate", folder / "int4.parquet", "--metrics", "median-gap")
    assert "conftest.py" not in run(*unknown)[2]
    (tmp_path / "conftest.py").touch()
    assert "ids of a conftest.py are known to pytest alone" in run(*unknown)[2]
