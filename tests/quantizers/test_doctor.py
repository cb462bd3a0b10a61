"""``calbench doctor``, and that suites skip what it says is not there, for the same reason."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from calbench.errors import BackendUnavailableError, InputError, UnknownNameError
from calbench.quantizers import diagnose, get, names, packages
from calbench.quantizers._availability import backend

ROOT = Path(__file__).parents[2]
CONFTEST = """
import calbench
from calbench.models import ModelSource
from calbench.tasks import Item, SequenceClassification

@calbench.model("tiny")
def tiny():
    return ModelSource("tiny", "sequence-classification", {folder!r}, classes=("no", "yes"),
                       default_tasks=("coin",), quantization_task="coin")

@calbench.task("coin")
def coin():
    items = [Item(f"i{{i:03}}", f"w{{i % 60}} w{{i % 7}} w{{i % 11}}", i % 2) for i in range(200)]
    return SequenceClassification("coin", ("no", "yes"), lambda: items, n_quantization=20)
"""
REASON = "bnb-nf4 needs bitsandbytes, which is not installed; pip install 'calbench[bitsandbytes]'"


def without_bitsandbytes(code, cwd=ROOT):
    """Run code in an interpreter that has everything but bitsandbytes."""
    prelude = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.hiding import hide; "
    return subprocess.run(
        [sys.executable, "-c", prelude + "hide('bitsandbytes'); " + code],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def run_doctor(*arguments):
    return f"sys.argv = {['calbench', 'doctor', *arguments]}; from calbench.cli import main; main()"


def test_every_built_in_quantizer_proves_itself_here():
    pytest.importorskip("bitsandbytes", reason="bnb quantizers need bitsandbytes")
    built_in = [name for name in names() if get(name).__class__.__module__.startswith("calbench.")]
    found = {diagnosis.quantizer: diagnosis for diagnosis in diagnose(built_in)}
    assert set(found) == set(built_in)
    assert {d.status for d in found.values()} <= {"works", "unavailable"}
    for name in ("fp32", "bf16", "bnb-int8", "bnb-nf4", "gptq-int4"):
        assert (found[name].status, found[name].reason) == ("works", "")
    assert "bitsandbytes" in found["bnb-nf4"].versions


def test_a_quantizer_that_cannot_prove_itself_is_called_broken(monkeypatch):
    from calbench.quantizers import _cast as cast

    # A cast that forgets to cast.
    monkeypatch.setattr(cast.Cast, "build", lambda self, source, *, samples, seed: source.load())
    (found,) = diagnose(["bf16"])
    assert found.status == "broken"
    assert "are still float" in found.reason


def test_a_backend_for_one_kind_of_model_works_and_says_so(monkeypatch):
    from calbench.quantizers._cast import Cast

    whole = Cast.build

    def build(self, source, *, samples, seed):
        if source.architecture == "causal-lm":
            raise InputError("encoders only")
        return whole(self, source, samples=samples, seed=seed)

    monkeypatch.setattr(Cast, "build", build)
    (found,) = diagnose(["bf16"])
    assert (found.status, found.reason) == ("works", "encoders only")
    monkeypatch.setattr(Cast, "build", lambda *_, **__: (_ for _ in ()).throw(InputError("nothing at all")))
    (found,) = diagnose(["bf16"])
    assert (found.status, found.reason) == ("broken", "nothing at all")


@pytest.mark.parametrize(("name", "error"), [("bnb-nf5", UnknownNameError), ("bnb-nf4[bits=3]", InputError)])
def test_a_wrong_id_is_refused_before_anything_is_tried(name, error):
    with pytest.raises(error, match=r"did you mean|argument"):
        next(diagnose(["bf16", name]))


def test_a_package_that_is_there_but_does_not_import_is_unavailable_and_quoted(monkeypatch, tmp_path):
    (tmp_path / "wrecked_backend.py").write_text(
        "raise OSError('libwrecked.so.7: cannot open shared object')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendUnavailableError, match=r"importing wrecked_backend fails \(OSError: libwr"):
        backend("mine", "wrecked_backend", extra="mine")


def test_packages_that_are_missing_are_listed_with_their_extra(monkeypatch):
    monkeypatch.setattr("calbench.quantizers._diagnosis.installed_versions", lambda _: {"torch": "2"})
    assert packages()["torch"] == "2"
    assert packages()["gptqmodel"] == "not installed; pip install 'calbench[gptq]'"


def test_doctor_says_that_bitsandbytes_is_not_installed():
    done = without_bitsandbytes(run_doctor("--json", "bnb-nf4", "bf16"))
    assert done.returncode == 1, done.stderr
    shown = json.loads(done.stdout)
    nf4, bf16 = shown["quantizers"]
    assert (nf4["status"], nf4["reason"]) == ("unavailable", REASON)
    assert bf16["status"] == "works"
    assert "calbench[bitsandbytes]" in shown["packages"]["bitsandbytes"]


def test_suites_skip_what_doctor_refuses_with_its_reason(tmp_path, tiny_encoder):
    (tmp_path / "conftest.py").write_text(CONFTEST.format(folder=str(tiny_encoder)))
    (tmp_path / "test_transfer.py").write_text((ROOT / "suites" / "test_transfer.py").read_text())
    options = [
        "-p",
        "no:cacheprovider",
        "--calbench-store",
        str(tmp_path / "store"),
        "--calbench-models",
        "tiny",
    ]
    options += ["--calbench-quantizers", "fp32,bf16,bnb-nf4", "--calbench-calibrators", "identity"]
    done = without_bitsandbytes(f"import pytest; sys.exit(pytest.main({options}))", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 skipped" in done.stdout
    assert "failed" not in done.stdout.splitlines()[-1]
    assert f"calbench skipped 1 cell of bnb-nf4: {REASON}" in done.stdout


def test_the_command_lists_what_works(monkeypatch, capsys):
    from calbench import cli

    monkeypatch.setattr(sys, "argv", ["calbench", "doctor", "bf16"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "torch " in out
    assert "bf16         works: torch linear, bfloat16 compute" in out
