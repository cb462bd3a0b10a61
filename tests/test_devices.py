"""Where models run: what was asked for, what is here, and what torch and transformers are told."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="models need torch")

import torch
import transformers

from calbench import devices, quantizers
from calbench.errors import BackendUnavailableError, InputError
from calbench.models import ModelSource
from tests.test_lazy_imports import modules_after

NAME = devices.ENVIRONMENT_VARIABLE
REFUSAL = r"the device 'cuda' is not here: torch .* sees no CUDA device; .*choose cpu or auto"

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="tests what a machine without a GPU does")


@pytest.fixture(autouse=True)
def _nothing_asked(monkeypatch):
    monkeypatch.delenv(NAME, raising=False)


@pytest.fixture
def cuda(monkeypatch):
    """Ask for CUDA on a machine that has none."""
    monkeypatch.setenv(NAME, "cuda")


@pytest.fixture
def cards(monkeypatch):
    """Make torch say that it sees two GPUs, each with so many free bytes."""

    def cards(free_bytes):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free_bytes, free_bytes))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda card: f"A card ({card})")

    return cards


@pytest.fixture
def calls(monkeypatch):
    """What a model is loaded with, and where it is moved to."""
    seen = []
    whole = transformers.PreTrainedModel.from_pretrained.__func__

    def from_pretrained(kind, *arguments, **options):
        seen.append(options.pop("device_map", None))
        return whole(kind, *arguments, **options)

    def to(self, device):
        seen.append(device)
        return self

    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", classmethod(from_pretrained))
    monkeypatch.setattr(transformers.PreTrainedModel, "to", to)
    return seen


@pytest.fixture
def decoder(tiny_decoder):
    return ModelSource("d", "causal-lm", str(tiny_decoder), max_length=64)


def test_auto_is_the_cpu_where_torch_sees_no_gpu():
    assert (devices.wanted(), devices.kind(), devices.device()) == ("auto", "cpu", "cpu")
    assert devices.describe() == f"cpu ({NAME}=auto: torch sees no CUDA device)"


def test_auto_is_cuda_where_torch_sees_a_gpu(cards):
    cards(0)
    assert (devices.kind(), devices.device()) == ("cuda", "cuda")
    assert devices.describe() == f"cuda ({NAME}=auto: A card (cuda))"


def test_a_torch_that_was_built_for_no_gpu_is_not_imported_to_know_it():
    if torch.version.cuda or torch.version.hip:
        pytest.skip("this torch was built for GPUs, and is asked")
    code = "from calbench import devices; assert devices.device() == 'cpu'"
    assert "torch" not in modules_after(code)


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:one", "mps", "cpu:0", " cpu"])
def test_another_name_is_refused(text, monkeypatch):
    with pytest.raises(InputError, match="use auto, cpu, cuda, or cuda:N"):
        devices.choose(text)
    monkeypatch.setenv(NAME, text)
    with pytest.raises(InputError, match=rf"\${NAME} is '{text}'"):
        devices.kind()


def test_a_gpu_that_is_not_here_is_refused_and_may_still_be_replayed(cuda):
    assert devices.kind() == "cuda"
    with pytest.raises(BackendUnavailableError, match=REFUSAL):
        devices.device()
    assert devices.describe().startswith("none: the device 'cuda' is not here")


def test_a_gpu_beyond_the_last_is_refused(cards, monkeypatch):
    cards(0)
    monkeypatch.setenv(NAME, "cuda:1")
    assert devices.device() == "cuda:1"
    monkeypatch.setenv(NAME, "cuda:2")
    with pytest.raises(BackendUnavailableError, match="torch sees 2, cuda:0 to cuda:1"):
        devices.device()


def test_without_torch_the_extra_is_named(cuda, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendUnavailableError, match=r"calbench\[torch\]"):
        devices.device()


def test_a_model_is_neither_loaded_nor_quantized_for_a_gpu_that_is_not_here(cuda, decoder, calls):
    for work in (
        decoder.load,
        lambda: quantizers.quantize(quantizers.get("bf16"), decoder, probe=[[1]]),
    ):
        with pytest.raises(BackendUnavailableError, match=REFUSAL):
            work()
    assert calls == []


@pytest.mark.parametrize("how", ["--device=cuda", "variable"])
@pytest.mark.parametrize(
    "command", [["run", "--models", "minilm"], ["sensitivity", "minilm", "bnb-nf4", "tweets"]]
)
def test_commands_refuse_a_gpu_that_is_not_here(how, command, monkeypatch, capsys):
    from calbench import cli, models

    monkeypatch.setenv(NAME, "cuda" if how == "variable" else "cpu")
    monkeypatch.setattr(models, "get", _never)
    monkeypatch.setattr(sys, "argv", ["calbench", *command, *([how] if how != "variable" else [])])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert "the device 'cuda' is not here" in capsys.readouterr().err


def _never(*_):
    raise AssertionError("work was begun")


def test_doctor_says_which_device_would_be_used(cuda, monkeypatch, capsys):
    from calbench import cli

    monkeypatch.setattr(sys, "argv", ["calbench", "doctor", "bf16"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    shown = capsys.readouterr().out
    assert caught.value.code == 1
    assert "device       none: the device 'cuda' is not here" in shown
    assert "bf16         unavailable: the device 'cuda' is not here" in shown


def test_a_model_goes_to_the_gpu_that_it_fits_on(cards, calls, decoder, monkeypatch):
    cards(2**40)
    decoder.load()
    monkeypatch.setenv(NAME, "cuda:1")
    decoder.load(torch.bfloat16)
    assert calls == [None, "cuda", None, "cuda:1"]


def n_bytes(source, width):
    return width * sum(parameter.numel() for parameter in source.skeleton().parameters())


def test_a_model_that_is_too_large_for_one_gpu_is_divided(cards, calls, decoder):
    cards(n_bytes(decoder, 4) - 1)
    decoder.load()
    assert calls == ["auto"]
    decoder.load(torch.bfloat16)
    assert calls == ["auto", None, "cuda"]


def test_a_model_that_is_too_large_for_all_gpus_is_refused(cards, calls, decoder, monkeypatch):
    cards(n_bytes(decoder, 2) - 1)
    with pytest.raises(BackendUnavailableError, match=r"'d' does not fit into .* 'auto': it takes 0\.0 GiB"):
        decoder.load()
    cards(n_bytes(decoder, 4) - 1)
    monkeypatch.setenv(NAME, "cuda:1")
    with pytest.raises(BackendUnavailableError, match=r"'cuda:1': .*'cuda' uses all of them"):
        decoder.load()
    assert calls == []


def test_a_model_whose_parts_would_stay_elsewhere_is_refused(cards, calls, decoder, monkeypatch):
    cards(n_bytes(decoder, 4) - 1)
    monkeypatch.setattr(
        transformers.PreTrainedModel, "hf_device_map", {"model": 0, "lm_head": "disk"}, raising=False
    )
    with pytest.raises(BackendUnavailableError, match="some of it was put elsewhere"):
        decoder.load()


def test_dividing_a_model_needs_accelerate(cards, calls, decoder, monkeypatch):
    cards(n_bytes(decoder, 4) - 1)
    monkeypatch.setattr("calbench.models._sources.find_spec", lambda _: None)
    with pytest.raises(BackendUnavailableError, match=r"needs accelerate; pip install 'calbench\[torch\]'"):
        decoder.load()


def test_quantized_weights_are_put_where_models_run_and_not_where_transformers_likes(
    tmp_path, monkeypatch, cards
):
    seen = []

    def from_pretrained(_, **options):
        seen.append(options["device_map"])
        return SimpleNamespace(eval=lambda: None, named_modules={}.items), {
            "missing_keys": [],
            "mismatched_keys": [],
        }

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "bitsandbytes"}}')
    cards(2**40)
    for device in ("cpu", "cuda:1"):
        monkeypatch.setenv(NAME, device)
        ModelSource("q", "causal-lm", str(tmp_path)).load()
    assert seen == [{"": "cpu"}, {"": "cuda:1"}]


def test_the_kind_of_device_is_part_of_a_quantized_models_identity(decoder, monkeypatch):
    def identity(device):
        monkeypatch.setenv(NAME, device)
        return quantizers.identity(quantizers.get("bf16"), decoder, samples=None, seed=0)

    # Records and checkpoints were stored before there was a choice.
    assert "device" not in identity("cpu")
    assert identity("cuda") == {**identity("cpu"), "device": "cuda"}
    assert identity("cuda:1") == identity("cuda")


def test_gptqmodel_sees_no_other_gpus(cards, monkeypatch):
    from calbench.quantizers.gptq import _gptqmodel as native

    cards(0)
    shown = {}
    for device, seen in (("cpu", "4,5"), ("cuda", "4,5"), ("cuda:1", "4,5"), ("cuda:1", "")):
        monkeypatch.setenv(NAME, device)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
        shown[device, seen] = native._visible_cards().get("CUDA_VISIBLE_DEVICES", "as it is")
    assert list(shown.values()) == ["-1", "as it is", "5", "1"]


def test_a_record_names_the_gpus(cards):
    cards(0)
    places = [torch.device("cuda:1"), torch.device("cuda:0"), torch.device("cuda:1"), torch.device("cpu")]
    module = SimpleNamespace(parameters=lambda: [SimpleNamespace(device=place) for place in places])
    assert devices.card_names(module) == ["A card (cuda:0)", "A card (cuda:1)"]


def test_the_generators_of_all_gpus_are_kept_once_they_are_in_use(cards, monkeypatch):
    cards(0)
    assert devices.seeded_cards() == []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert devices.seeded_cards() == [0, 1]


@pytest.mark.parametrize(("device", "n_gpus"), [("cpu", 0), ("cuda:1", 1)])
def test_ray_jobs_are_told_the_kind_of_device_and_given_a_gpu(device, n_gpus, monkeypatch):
    from calbench.runs import Job, RayExecutor

    asked = {}

    class Remote:
        def options(self, **options):
            asked.update(options)
            return self

        def remote(self, job, **_):
            return job

    ray = SimpleNamespace(
        is_initialized=lambda: True,
        cluster_resources=lambda: {"CPU": 4, "GPU": n_gpus},
        remote=lambda _: Remote(),
        wait=lambda waiting, num_returns: (waiting[:1], []),
        get=str,
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv(NAME, device)
    assert RayExecutor().run([Job("m", "q", "t")], store="s", profile="quick") == []
    assert asked["num_gpus"] == n_gpus
    assert asked["runtime_env"]["env_vars"][NAME] == device.partition(":")[0]
    with pytest.raises(BackendUnavailableError, match="each job takes 2 GPU and the Ray cluster has fewer"):
        RayExecutor(gpus_per_job=2).run([Job("m", "q", "t")], store="s", profile="quick")


def test_a_child_process_runs_where_its_parent_does(monkeypatch):
    monkeypatch.setenv(NAME, "cpu")
    devices.choose("cuda")
    code = "from calbench import devices; print(devices.kind())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "cuda\n"
