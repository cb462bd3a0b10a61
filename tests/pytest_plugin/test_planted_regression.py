"""A quantizer gets worse between two runs: the gate on the baseline sees it, and nothing else."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import results

# Labels follow the tiny model's own probabilities, so that it is calibrated; its plugin quantizer adds
# noise of a given size to the weights before nf4.
PLANTED = """
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from calbench.quantizers import get

def answers(texts):
    tokenizer = AutoTokenizer.from_pretrained({folder!r})
    model = AutoModelForSequenceClassification.from_pretrained({folder!r}).eval()
    with torch.no_grad():
        logits = model(**tokenizer(texts, return_tensors="pt")).logits.double().numpy()
    noise = np.random.default_rng(1).gumbel(size=logits.shape)
    return (logits + noise).argmax(axis=1)

@calbench.task("asked")
def asked():
    def read():
        plain = items("asked", 900)
        return [Item(i.id, i.text, int(label)) for i, label in zip(plain, answers([i.text for i in plain]))]
    return SequenceClassification("asked", ("no", "yes"), read, n_quantization=60)

@calbench.quantizer("ours-int4")
def ours(id):
    nf4 = get("bnb-nf4")

    class Ours:
        def __getattr__(self, name):
            return getattr(nf4, name)
        def build(self, source, *, samples, seed):
            model = nf4.build(source, samples=samples, seed=seed)
            torch.manual_seed(0)
            for name, parameter in model.named_parameters():
                if name.startswith("classifier"):
                    parameter.data += {noise} * torch.randn_like(parameter)
                    parameter.data *= 1 + {noise}
            return model
    Ours.id = id
    return Ours()
"""
GATED = """
import calbench

@calbench.grid(models="tiny", tasks="asked", quantizers="ours-int4", calibrators="identity")
def test_it(calbench):
    calbench.transfer().require("ece", max_increase=0.02, against="baseline")
"""


@pytest.fixture
def release(project, pytester, tiny_encoder):
    """Run the gate with a release of the quantizer; each has a store of its own, as a new version would."""
    conftest = pytester.path.joinpath("conftest.py")
    tiny = conftest.read_text()

    def run(noise, *options):
        conftest.write_text(tiny + PLANTED.format(folder=str(tiny_encoder), noise=noise))
        store = ("--calbench-store", str(pytester.path / f"store-{noise}"))
        return project(
            "--calbench-profile=full", "--calbench-baseline=accepted", *store, *options, suite=GATED
        )

    return run


def test_a_worse_quantizer_fails_with_the_whole_message_and_noise_does_not(release, pytester):
    release(0.0, "--calbench-update-baseline").assert_outcomes(passed=1)
    result = release(3.0, "--calbench-report=report")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "ece got worse by more than the margin +0.02",
            "*model tiny, task asked, quantizer ours-int4, calibrator identity, seed 42",
            "*baseline 0.* -> transferred 0.*: change +0.*, 95% interval [[]+0.*, +0.*], n = * test items",
            "*bins that moved most*",
            "*new mistakes made with confidence 0.9 or more: *asked-*",
            "*changed since the baseline: *",
            "*to accept it, run the test again with --calbench-update-baseline",
        ]
    )
    assert results(pytester)["cells"][0]["gates"][0]["interval"][0] > 0.02
    within_noise = release(0.1)
    within_noise.assert_outcomes(failed=0, passed=0)  # undecided is an outcome of its own
    within_noise.stdout.fnmatch_lines(["gates: 0 passed, 0 failed, 1 inconclusive"])
    for seed in range(10):
        release(0.0, f"--calbench-bootstrap-seed={seed}").assert_outcomes(passed=1)
