"""A grid on a local Ray cluster of two nodes, one of which dies in the middle."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from calbench.errors import BackendUnavailableError
from calbench.runs import Cell, Failure, Job, RayExecutor, jobs_of, run_job
from calbench.store import Store

JOBS = [Job("tiny-ray", quantizer, task) for quantizer in ("fp32", "bf16") for task in ("one", "two")]


@pytest.fixture
def declared(tiny_decoder, tmp_path):
    """A model and two tasks that any process finds through the configuration."""
    rows = [
        {"q": f"w{i % 60} w{(i * 7) % 60} w{i // 60}", "o": ["w1 w2", "w3", "w4 w5"], "a": i % 3 + 1}
        for i in range(200)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = 'kind = "multiple-choice"\nfile = "rows.jsonl"\nquestion = "q"\noptions = "o"\nanswer = "a"\n'
    (tmp_path / "calbench.toml").write_text(
        f'[models.tiny-ray]\narchitecture = "causal-lm"\nlocation = "{tiny_decoder}"\nmax_length = 120\n'
        'quantization_task = "one"\n'
        f'[tasks.one]\n{task}[tasks.two]\nrule = "sum"\n{task}'
    )
    return tmp_path


def contents(store):
    return {
        path.parent.name: path.read_bytes()
        for path in (store / "records").glob("*/*/predictions.safetensors")
        if not path.parent.name.startswith(".")
    }


def test_jobs_hold_each_record_once_and_references_first():
    cells = [Cell("minilm", "t", quantizer, calibrator) for quantizer in ("q", "fp32") for calibrator in "ab"]
    assert jobs_of(cells) == [Job("minilm", "fp32", "t"), Job("minilm", "q", "t")]


def test_a_job_that_cannot_be_done_is_a_failure_with_its_reason(tmp_path):
    failure = run_job(Job("none", "fp32", "movie"), store=str(tmp_path), profile="quick")
    assert isinstance(failure, Failure)
    assert "UnknownNameError: no model is called 'none'" in failure.reason


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackendUnavailableError, match=r"calbench\[ray\]"):
        RayExecutor().run([], store="x", profile="quick")


def test_jobs_are_spread_over_the_machines(monkeypatch):
    options = {}
    fake = SimpleNamespace(
        is_initialized=lambda: True,
        cluster_resources=dict,
        remote=lambda _: SimpleNamespace(options=lambda **given: options.update(given)),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    assert RayExecutor(gpus_per_job=0).run([], store="x", profile="quick") == []
    assert options["scheduling_strategy"] == "SPREAD"


@pytest.mark.filterwarnings("ignore")  # ray's own, of its sockets and of what it imports
def test_a_cluster_that_loses_a_node_makes_the_same_records(declared, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed; pip install 'calbench[ray]'")
    import subprocess

    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("CALBENCH_CONFIG", str(declared / "calbench.toml"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # In a process of its own: this one has looked for declarations before.
    code = (
        "from calbench.runs import Job, run_job\n"
        f"for job in {[(job.model, job.quantizer, job.task) for job in JOBS]}:\n"
        f"    print(run_job(Job(*job), store={str(tmp_path / 'alone')!r}, profile='quick'))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        killed = []

        def kill_one(n_done):
            if not killed:
                killed.append(n_done)
                cluster.remove_node(nodes.pop(), allow_graceful=False)

        executor = RayExecutor(address=cluster.address)
        failures = executor.run(JOBS, store=str(tmp_path / "cluster"), profile="quick", on_progress=kill_one)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert failures == []
    assert killed == [1]
    found = contents(tmp_path / "cluster")
    assert len(found) == len(JOBS)
    assert found == contents(tmp_path / "alone")
    assert all(Store(tmp_path / "cluster").describe(key) for key in found)
