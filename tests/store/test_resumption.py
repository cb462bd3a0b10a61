"""A run that was killed goes on where it stopped; two processes share the work; keys tell runs apart."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from types import SimpleNamespace

import pytest

from calbench import models, tasks
from calbench.inference import _scoring as scoring
from calbench.models import ModelSource
from calbench.quantizers import _availability
from calbench.runs import Profile, Runner
from calbench.store import ShardFolder, Store, key_of
from calbench.tasks import Generation, MultipleChoice, OpenQuestion, Question

N_KILLS = 20
RNG = random.Random(0)
FORK = multiprocessing.get_context("fork")
TIMINGS = ("created", "seconds", "items_per_second", "n_shards_reused")
EVERYTHING = Profile("everything")


def words(n):
    return " ".join(f"w{RNG.randrange(60)}" for _ in range(n))


QUESTIONS = [
    Question(f"q{i:03}", words(RNG.randint(2, 12)), tuple(words(RNG.randint(1, 4)) for _ in range(3)), i % 3)
    for i in range(150)
]
TASK = MultipleChoice("resumed", lambda: QUESTIONS, "Text: {question} Sentiment:", n_quantization=10)


OPEN = Generation(
    "open",
    lambda: [OpenQuestion(question.id, question.text, ("w1",)) for question in QUESTIONS],
    "Text: {question} Sentiment:",
    max_new_tokens=2,
    n_quantization=10,
)


@pytest.fixture(autouse=True)
def known(tiny_decoder, monkeypatch):
    """Make the tiny model and the tasks known by name, for this test only."""
    found = {"tiny": ModelSource("tiny", "causal-lm", str(tiny_decoder), max_length=120)}
    asked = {"resumed": TASK, "other": dataclasses.replace(TASK, id="other", rule="sum"), "open": OPEN}
    monkeypatch.setattr(models, "get", found.__getitem__)
    monkeypatch.setattr(tasks, "get", asked.__getitem__)
    monkeypatch.setattr(scoring, "TOKENS_PER_SHARD", 64)
    monkeypatch.setattr("calbench.inference._choices.TOKENS_PER_BATCH", 64)
    return found, asked


@pytest.fixture(autouse=True)
def log(monkeypatch, tmp_path):
    """Note each part that is computed, in which store, and whether it was already there."""
    path, write = tmp_path / "log", ShardFolder._write

    def noted(self, name, data):
        again = (self.folder / name).exists()
        write(self, name, data)
        with path.open("a") as file:
            file.write(f"{self.folder.parents[1].name} {self.folder.name} {name} {again}\n")
        time.sleep(0.01)  # long enough to be killed in the middle

    monkeypatch.setattr(ShardFolder, "_write", noted)
    return path


def computed(log, store):
    return [line.split() for line in log.read_text().splitlines() if line.split()[0] == store]


def record(root, task="resumed", quantizer="fp32"):
    import torch

    torch.set_num_threads(1)  # threads do not survive a fork
    return Runner(Store(root), EVERYTHING).record("tiny", quantizer, task)


def start(function, *arguments):
    process = FORK.Process(target=function, args=arguments)
    process.start()
    return process


def records(root):
    """Finished records; a kill in the middle of writing one leaves a hidden folder."""
    return [folder for folder in (root / "records").glob("*/*") if not folder.name.startswith(".")]


def contents(root):
    """The bytes of a store's only record, timings aside."""
    (folder,) = records(root)
    manifest = json.loads((folder / "record.json").read_text())
    del manifest["checksum"]
    for name in TIMINGS:
        del manifest["provenance"][name]
    del manifest["provenance"]["quantization"]["seconds"]
    return (folder / "predictions.safetensors").read_bytes(), manifest


@pytest.mark.parametrize("task", ["resumed", "open"])
def test_a_run_killed_at_random_moments_ends_like_an_undisturbed_one(task, tmp_path, log):
    record(tmp_path / "undisturbed", task)
    n_shards = len(computed(log, "undisturbed"))
    n_kills = 0
    while n_kills < N_KILLS:
        process = start(record, tmp_path / "killed", task)
        time.sleep(RNG.uniform(0.02, 0.25))
        n_kills += process.is_alive()
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        if records(tmp_path / "killed"):
            # It finished; the kills that are left hit a fresh run.
            assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")
            shutil.rmtree(tmp_path / "killed")
            check_no_part_was_computed_twice(log, n_shards)
            log.write_text("")
    record(tmp_path / "killed", task)
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")
    check_no_part_was_computed_twice(log, n_shards)


def check_no_part_was_computed_twice(log, n_shards):
    done = computed(log, "killed")
    assert {again for *_, again in done} <= {"False"}
    # A kill between writing a part and noting it leaves it out of the log.
    assert len({name for _, _, name, _ in done}) == len(done) <= n_shards


@pytest.mark.parametrize("task", ["resumed", "open"])
def test_what_was_reused_is_counted(task, tmp_path, log):
    found = record(tmp_path / "whole", task)
    folder = Store(tmp_path / "part").shards(found.identity).folder
    process = start(record, tmp_path / "part", task)
    while not (folder.is_dir() and len(list(folder.glob("[!.]*"))) >= 3):
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    n_left = len(list(folder.glob("[!.]*")))
    resumed = record(tmp_path / "part", task)
    assert resumed.provenance["n_shards_reused"] == n_left
    assert resumed.provenance["n_shards"] == found.provenance["n_shards"] > n_left


def test_two_processes_do_each_job_once(tmp_path, log):
    def both_tasks(order):
        for task in order:
            record(tmp_path / "shared", task)

    processes = [start(both_tasks, order) for order in (("resumed", "other"), ("other", "resumed"))]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    done = computed(log, "shared")
    assert len({key for _, key, *_ in done}) == 2
    assert len({tuple(line) for line in done}) == len(done)


class TestKeys:
    @pytest.fixture
    def key(self, tmp_path):
        def of(quantizer="fp32"):
            return key_of(Runner(Store(tmp_path), EVERYTHING).identity("tiny", quantizer, "resumed"))

        return of

    def test_the_same_content_under_another_path_has_the_same_key(self, key, known, tmp_path):
        before = key()
        folder = shutil.copytree(known[0]["tiny"].location, tmp_path / "copy")
        known[0]["tiny"] = dataclasses.replace(known[0]["tiny"], location=str(folder))
        assert key() == before

    @pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"], ids=["weights", "tokenizer"])
    def test_one_byte_of_a_file_changes_the_key(self, file, key, known, tmp_path):
        before = key()
        folder = shutil.copytree(known[0]["tiny"].location, tmp_path / "changed")
        content = bytearray((folder / file).read_bytes())
        content[-1] ^= 1
        (folder / file).write_bytes(bytes(content))
        known[0]["tiny"] = dataclasses.replace(known[0]["tiny"], location=str(folder))
        assert key() != before

    @pytest.mark.parametrize(
        "change",
        [
            {"prompt": "{question} Sentiment:"},
            {"rule": "sum"},
            {"n_shots": 1},
            {"load": lambda: QUESTIONS[1:]},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_another_task_under_the_same_name_changes_the_key(self, change, key, known):
        before = key()
        known[1]["resumed"] = dataclasses.replace(TASK, **change)
        assert key() != before

    def test_the_dtype_and_a_quantizers_arguments_change_the_key(self, key):
        ids = ("fp32", "bf16", "bnb-nf4", "bnb-nf4[double_quant=true]", "bnb-int8", "bnb-int8[threshold=6]")
        assert len({key(quantizer) for quantizer in ids}) == len(ids)

    @pytest.mark.parametrize("package", ["torch", "transformers", "tokenizers", "bitsandbytes"])
    def test_another_version_of_a_library_changes_the_key(self, package, key, monkeypatch):
        from importlib import metadata

        before, installed = key("bnb-nf4"), metadata.distributions

        def another(**context):
            for distribution in installed(**context):
                name = distribution.name
                yield SimpleNamespace(name=name, version="99") if name == package else distribution

        monkeypatch.setattr(metadata, "distributions", another)
        monkeypatch.setattr(_availability, "_found", _availability._found.__wrapped__)  # another process
        assert key("bnb-nf4") != before
