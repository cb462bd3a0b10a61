"""The runner: runs a model once per quantizer and task, keeps the records, and replays everything else."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from calbench import devices, models, quantizers, tasks
from calbench.errors import CalbenchError, ModelLoadingForbiddenError, as_refusal
from calbench.gates import (
    SEED,
    Arm,
    CrossFitted,
    FittedSplit,
    clusters_of,
    division,
    split_items,
    transfer_between,
)
from calbench.models import ModelSource
from calbench.quantizers import QuantizedModel, Quantizer, installed_versions
from calbench.records import one_record
from calbench.runs._builds import ServedBuild, epsilon_of, served_build
from calbench.runs._cells import Cell, Profile
from calbench.runs._declarations import REFERENCE
from calbench.runs._inference_run import InferenceRun, Reported, described
from calbench.runs._kept_models import KeptModels
from calbench.runs._measured import Measured
from calbench.runs._opened_model import OpenedModel
from calbench.runs._progress import Progress, Silence
from calbench.runs._runtimes import runtime_for
from calbench.runtimes import Runtime
from calbench.statistics import Resamples, resamples_for
from calbench.store import Store, StoredPredictions, key_of, nearest
from calbench.tasks import Generation, LabelledItem, Task, hash_items

QUANTIZATION_SEED = 0
N_PROBE = 16
Span = tuple[int, int]  # of a task's evaluation items: from, and before
Part = Span | tuple[int, int, int]  # or every how many of them


@dataclass(eq=False)
class Runner:
    """Gives any cell's result, running a model only where no stored record answers.

    Parameters
    ----------
    store
        Where records and quantized checkpoints are kept.
    profile
        How much of each task is used.
    n_resamples, level
        Of the bootstrap.
    bootstrap_seed
        Of the bootstrap; None takes the seed of the division.
    planned
        All cells of this run: when a quantized model is loaded, every planned task is asked, so
        that it is loaded once.
    progress
        Is told about loading, quantizing and scoring.
    replay
        Never load a model; raise if a record is missing.
    most_items
        Test items that a gate may take of each task; None for what the profile says.
    kept
        Models that later looks find in memory.
    """

    store: Store
    profile: Profile
    n_resamples: int = 2000
    level: float = 0.95
    bootstrap_seed: int | None = None
    planned: Sequence[Cell] = ()
    progress: Progress = field(default_factory=Silence)
    replay: bool = False
    most_items: int | None = None
    kept: KeptModels = field(default_factory=KeptModels, repr=False)
    # By model, quantizer, task and folds: runs/_looks.py plans them, alike for all calibrators.
    looks: dict[tuple[str, str, str, int], tuple[Any, ...]] = field(default_factory=dict, repr=False)
    _builds: dict[tuple[str, str], ServedBuild | None] = field(default_factory=dict, repr=False)
    _sources: dict[str, OpenedModel] = field(default_factory=dict, repr=False)
    _records: dict[tuple[str, str, str, Part | None], StoredPredictions | CalbenchError] = field(
        default_factory=dict, repr=False
    )
    _splits: dict[tuple[Any, ...], FittedSplit] = field(default_factory=dict, repr=False)

    def transfer(
        self, cell: Cell, *, seed: int = SEED, spans: tuple[Span, ...] = (), folds: int = 1
    ) -> Measured:
        """Compare a cell with its full-precision reference on one division of the items, or in folds.

        The items of ``spans``, later parts of the task, are test items beside those of the profile.

        Raises
        ------
        CalbenchError
            Any of what a model, a quantizer, a task or the store may raise; the message says what
            to do.
        """
        against = self.source(cell.model).model.reference
        reference = self.record(cell.model, against, cell.task)
        candidate = self.record(cell.model, cell.quantizer, cell.task)
        sides = [
            self._split(record, cell, quantizer, cell.calibrator, seed)
            for record, quantizer in ((reference, against), (candidate, cell.quantizer))
        ]
        if folds > 1 and sides[0].n_calibration:
            sides = [
                self._crossed(record, cell, quantizer, seed, spans, folds)
                for record, quantizer in ((reference, against), (candidate, cell.quantizer))
            ]
        elif spans:
            sides = [
                self._extended(side, cell, quantizer, seed, spans)
                for side, quantizer in zip(sides, (against, cell.quantizer), strict=True)
            ]
        comparison = transfer_between(sides[0], sides[1], cell.calibrator, level=self.level)

        def ranked() -> Arm:
            if sides[0].n_calibration:
                return comparison.arm("transferred")
            return self._split(candidate, cell, cell.quantizer, None, seed).raw

        epsilons = sides[0].epsilon, sides[1].epsilon
        return Measured(cell, seed, comparison, reference, candidate, ranked, epsilons)

    def record(self, model: str, quantizer: str, task: str, *, span: Part | None = None) -> StoredPredictions:
        """Return the stored predictions of a quantized model on a task, making them if need be.

        Of the items that the profile asks; or of a later part of the task's items, from the first of
        ``span`` up to before the second.
        """
        place = (model, quantizer, task, span)
        if place not in self._records:
            try:
                self._records[place] = self._stored_or_made(*place)
            except Exception as error:  # noqa: BLE001 (it ends this cell, and no other)
                # Every other calibrator would meet it again.
                self._records[place] = as_refusal(" × ".join(place[:3]), error)
        found = self._records[place]
        if isinstance(found, CalbenchError):
            raise found
        return found

    def keys(self, cell: Cell, spans: Iterable[Span]) -> tuple[tuple[str, str], ...]:
        """Return the keys of the reference's and the candidate's record of each later part of a task."""
        names = self.source(cell.model).model.reference, cell.quantizer
        of = [[self.record(cell.model, name, cell.task, span=span).key for name in names] for span in spans]
        return tuple((reference, candidate) for reference, candidate in of)

    def _stored_or_made(self, model: str, quantizer: str, task: str, span: Part | None) -> StoredPredictions:
        identity = self.identity(model, quantizer, task, span=span)
        found = self.store.get(identity)
        if found is None:
            # First: without the backend the record of another machine has another key.
            if not self.source(model).model.builds:
                quantizers.get(quantizer).check_available()
            if self.replay:
                near = nearest(self.store, f"{model}::{task}::{quantizer}", identity)
                raise ModelLoadingForbiddenError(
                    f"there is no stored record of {model} with {quantizer} on {task} (key"
                    f" {key_of(identity)}){near and f': {near}'}. This is a replay, which uses stored records"
                    " alone; run it once without replay"
                )
            self._compute(model, quantizer, task, span)
            found = self.store.get(identity)
            assert found is not None  # noqa: S101 (_compute put it there, or raised)
        asked = tasks.get(task)
        return replace(
            found, predictions=described(found.predictions, self.items(self.source(model).model, asked, span))
        )

    def _compute(self, model: str, quantizer: str, task: str, span: Part | None) -> None:
        """Load a model once and ask it every planned task that has no record yet, or a part of this one."""
        planned = (c.task for c in self.planned if (c.model, c.quantizer) == (model, quantizer))
        if quantizer == self.source(model).model.reference:
            planned = (c.task for c in self.planned if c.model == model)
        wanted = dict.fromkeys((task, *planned) if span is None else (task,))
        if self._served(model, quantizer) is not None:
            self._ask_server(model, quantizer, wanted, span)
            return
        if quantizers.get(quantizer).n_samples and self.source(model).model.quantization_task is None:
            wanted = {task: None}  # what it reads belongs to the task: each has a model of its own
        with self.store.computing():
            # Another process may have done it while this one waited.
            if self.store.get(self.identity(model, quantizer, task, span=span)) is not None:
                return
            source = self.source(model)
            asked = tasks.get(task)
            InferenceRun(source.model, source.tokenizer, asked, self.items(source.model, asked, span)).check()
            quantized = self.kept.get(
                model,
                key_of(self._made(source, quantizer, task)),
                partial(self._load, source, quantizers.get(quantizer), task),
                is_reference=quantizer == source.model.reference,
            )
            with runtime_for(quantizers.get(quantizer), quantized, source.tokenizer, source.model) as runtime:
                for name in wanted:
                    # A planned neighbour that fails will say so in a test of its own.
                    with nullcontext() if name == task else suppress(Exception):
                        if self.store.get(self.identity(model, quantizer, name, span=span)) is None:
                            self._score(source, quantizer, name, quantized, runtime, span)
            if quantized not in self.kept:
                del quantized, runtime
                gc.collect()  # half a second in a large process

    def _served(self, model: str, quantizer: str) -> ServedBuild | None:
        place = model, quantizer
        if place not in self._builds:
            source = self.source(model).model
            self._builds[place] = served_build(source, quantizer, self.store, replay=self.replay)
        return self._builds[place]

    def _ask_server(self, model: str, quantizer: str, wanted: Iterable[str], span: Part | None) -> None:
        build = self._served(model, quantizer)
        assert build is not None  # noqa: S101 (the caller looked)
        with build.runtime() as runtime:
            for n, name in enumerate(wanted):
                with nullcontext() if n == 0 else suppress(Exception):
                    if self.store.get(self.identity(model, quantizer, name, span=span)) is None:
                        self._score(self.source(model), quantizer, name, build, runtime, span)

    def _load(self, source: OpenedModel, quantizer: Quantizer, task: str) -> QuantizedModel:
        work = "load" if quantizer.id == REFERENCE else "quantize and prove"
        with self.progress.step(f"{source.model.id} × {quantizer.id}: {work}"):
            probe = source.tokens(tasks.get(source.model.quantization_task or task), N_PROBE)
            return quantizers.quantize(
                quantizer,
                source.model,
                samples=source.samples(task) if quantizer.n_samples else None,
                probe=probe,
                checkpoint_dir=self.store.checkpoints,
                seed=QUANTIZATION_SEED,
            )

    def _score(
        self,
        source: OpenedModel,
        quantizer: str,
        name: str,
        loaded: Reported,
        runtime: Runtime,
        span: Part | None,
    ) -> None:
        task = tasks.get(name)
        tokenizer = None if source.model.builds else source.tokenizer
        asking = InferenceRun(source.model, tokenizer, task, self.items(source.model, task, span))
        asking.ask(
            loaded,
            self.store,
            self.identity(source.model.id, quantizer, name, span=span),
            metadata={
                "model": source.model.id,
                "quantizer": quantizer,
                "task": name,
                "chance": task.chance,
                **({} if span is None else {"part": list(span)}),
                "n_calibration": self.profile.sizes(
                    source.model.architecture, len(task.partition.evaluation)
                )[0],
            },
            step=self.progress.step(f"{source.model.id} × {quantizer} × {name}", len(asking.items)),
            runtime=runtime,
        )

    def identity(self, model: str, quantizer: str, task: str, *, span: Part | None = None) -> dict[str, Any]:
        """All that could change the predictions; known before anything is loaded."""
        source, asked = self.source(model), tasks.get(task)
        build = self._served(model, quantizer)
        return {
            "model": self._made(source, quantizer, task) if build is None else build.identity(),
            "tokenizer": source.model.tokenizer_hash,
            "max_length": source.model.max_length,
            "task": {
                "dataset": asked.dataset.fingerprint,
                "items": hash_items(self.items(source.model, asked, span)),
                "request": _request_identity(source.model, asked),
            },
            "device": devices.kind() if build is None else "served",
            "versions": installed_versions(("torch", "transformers", "tokenizers")),
        }

    def _made(self, source: OpenedModel, quantizer: str, task: str) -> dict[str, Any]:
        method = quantizers.get(quantizer)
        samples = source.samples(task) if method.n_samples else None
        return quantizers.identity(method, source.model, samples=samples, seed=QUANTIZATION_SEED)

    def items(self, source: ModelSource, task: Task, span: Part | None = None) -> tuple[LabelledItem, ...]:
        """Return the items of a task that this profile asks a model, calibration and test together."""
        evaluation = task.partition.evaluation
        if span is not None:
            return evaluation[slice(*span)]
        return evaluation[: sum(self.profile.sizes(source.architecture, len(evaluation)))]

    def _split(
        self, record: StoredPredictions, cell: Cell, quantizer: str, calibrator: str | None, seed: int
    ) -> FittedSplit:
        """Divide a record for a calibrator; without one, as for those that are fitted."""
        ids = record.predictions.item_ids.tolist()
        task = tasks.get(cell.task)
        source = self.source(cell.model).model
        n_calibration = self.profile.sizes(source.architecture, len(task.partition.evaluation))[0]
        clusters = clusters_of(record.predictions)
        split = (
            split_items(ids, n_calibration=n_calibration, seed=seed, clusters=clusters)
            if calibrator is None
            else division(ids, calibrator, n_calibration=n_calibration, seed=seed, clusters=clusters)
        )
        key = (record.key, seed, bool(split.calibration))
        if key not in self._splits:
            self._splits[key] = FittedSplit.of(
                record.predictions,
                split,
                resamples=self.resamples(split.test, seed, clusters),
                epsilon=epsilon_of(source, quantizer),
                fit_seed=seed,
            )
        return self._splits[key]

    def _extended(
        self, side: FittedSplit, cell: Cell, quantizer: str, seed: int, spans: tuple[Span, ...]
    ) -> FittedSplit:
        """Return a division with later parts of the task among its test items; its fits stay."""
        parts = [self.record(cell.model, quantizer, cell.task, span=span) for span in spans]
        key = (cell.model, quantizer, cell.task, seed, side.n_calibration, spans)
        if key not in self._splits:
            test = one_record([side.test, *(part.predictions for part in parts)])
            test = test.take(sorted(test.item_ids.tolist()))
            self._splits[key] = side.with_test(test, self.resamples(test.item_ids.tolist(), seed))
        return self._splits[key]

    def _crossed(
        self,
        record: StoredPredictions,
        cell: Cell,
        quantizer: str,
        seed: int,
        spans: tuple[Span, ...],
        folds: int,
    ) -> FittedSplit:
        """Return all items of a record and of later parts, in folds."""
        parts = [self.record(cell.model, quantizer, cell.task, span=span).predictions for span in spans]
        key = (record.key, seed, folds, spans)
        if key not in self._splits:
            whole = one_record([record.predictions, *parts]) if parts else record.predictions
            clusters = clusters_of(whole)
            self._splits[key] = CrossFitted.divided(
                whole,
                folds,
                resamples=self.resamples(sorted(whole.item_ids.tolist()), seed, clusters),
                seed=seed,
                clusters=clusters,
                epsilon=epsilon_of(self.source(cell.model).model, quantizer),
            )
        return self._splits[key]

    def resamples(
        self, test: Sequence[str], seed: int, clusters: Mapping[str, str] | None = None
    ) -> Resamples:
        """Return the resamples of a division's test items: those of every record of these items."""
        return resamples_for(
            test,
            n_resamples=self.n_resamples,
            seed=seed if self.bootstrap_seed is None else self.bootstrap_seed,
            clusters=[clusters[item] for item in test] if clusters else None,
        )

    def narrowed(self, profile: Profile) -> Runner:
        """Return a runner that asks as much as another profile says, of what it is asked about alone."""
        return replace(self, profile=profile, planned=(), looks={}, _records={}, _splits={})

    def source(self, model: str) -> OpenedModel:
        """Return a model's resolved source, opened once."""
        if model not in self._sources:
            self._sources[model] = OpenedModel(models.get(model).resolve(), self.store)
        return self._sources[model]


def _request_identity(source: ModelSource, task: Task) -> dict[str, Any]:
    request = task.request(source).identity()
    if isinstance(task, Generation) and source.end_tokens:
        return {**request, "end_tokens": list(source.end_tokens)}
    return request
