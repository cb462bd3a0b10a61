"""The runner of arms: trains what is missing, asks each arm the same items, keeps every record."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calbench import quantizers, tasks
from calbench.adaptation._answers import Student
from calbench.adaptation._budgets import BUDGETS, Budget
from calbench.adaptation._data import TrainingData
from calbench.adaptation._effects import METRICS
from calbench.adaptation._lora import attach, set_adapter
from calbench.adaptation._merged import merged_source
from calbench.adaptation._recipe import Recipe
from calbench.adaptation._result import VariantStudy
from calbench.adaptation._stored import StoredAdapter, adapter_identity, folder_of
from calbench.adaptation._training import Teacher, compute_dtype, train
from calbench.adaptation._variants import VARIANTS, Adapter, Variant, variants
from calbench.errors import InputError, ModelLoadingForbiddenError
from calbench.gates import FittedSplit, Split, split_items
from calbench.models import Architecture, ModelSource
from calbench.quantizers import QuantizedModel
from calbench.runs import N_PROBE, QUANTIZATION_SEED, REFERENCE, InferenceRun, Profile, Runner
from calbench.store import StoredPredictions, key_of
from calbench.tasks import ClosedTask, LabelledItem, MultipleChoice, hash_items


@dataclass(eq=False)
class AdaptationRunner:
    """Compares arms, training and running a model only where nothing stored answers.

    Parameters
    ----------
    runner
        Serves the arms without an adapter, and everything that both benches share.
    budgets
        Per architecture; by default those of the runner's profile.
    """

    runner: Runner
    budgets: Mapping[str, Budget] = field(default_factory=dict)

    def compare(
        self, model: str, task: str, quantizer: str, *, seed: int, arms: Sequence[str] = tuple(VARIANTS)
    ) -> VariantStudy:
        """Measure arms on one division of the items.

        The division decides which calibration items stop the training, so every seed has adapters of
        its own.

        Raises
        ------
        CalbenchError
            Any of what a model, a quantizer, a task, training or the store may raise.
        """
        setting = _Setting(self.runner, model, task, quantizers.get(quantizer).id, seed, self._budget(model))
        chosen = variants(arms)
        records = {arm.id: setting.record(arm) for arm in chosen}
        return VariantStudy(
            model=model,
            task=task,
            quantizer=setting.quantizer,
            seed=seed,
            variants=chosen,
            splits={arm.id: setting.divided(records[arm.id], arm) for arm in chosen},
            records=records,
            training={
                name: record.provenance["training"]
                for name, record in records.items()
                if "training" in record.provenance
            },
            n_training=len(setting.data.training),
            level=self.runner.level,
        )

    def _budget(self, model: str) -> Budget:
        architecture = self.runner.source(model).model.architecture
        own, profile = self.budgets.get(architecture), self.runner.profile.name
        if own is None and profile not in BUDGETS:
            raise InputError(
                f"the profile {profile!r} has no budget for training adapters of a {architecture}; give one:"
                f" AdaptationRunner(runner, budgets={{{architecture!r}: Budget(...)}})"
            )
        return own or BUDGETS[profile][architecture]


def _with_sizes(profile: Profile, architecture: Architecture, sizes: tuple[int, int]) -> Profile:
    n_calibration, n_test = sizes
    return replace(profile, n_calibration={architecture: n_calibration}, n_test={architecture: n_test})


@dataclass(eq=False)
class _Setting:
    """One model, task, quantizer and seed, in which all arms live."""

    runner: Runner
    model: str
    task_name: str
    quantizer: str
    seed: int
    budget: Budget

    def __post_init__(self) -> None:
        self.open = self.runner.source(self.model)
        self.source: ModelSource = self.open.model
        self.task: ClosedTask = tasks.closed(tasks.get(self.task_name))
        if isinstance(self.task, tasks.HarnessChoice):
            raise InputError(f"adapters are not trained on {self.task_name!r}, a task of lm-eval")
        self.request = self.task.request(self.source)
        n_calibration = self._narrow()
        self.items: tuple[LabelledItem, ...] = self.runner.items(self.source, self.task)
        self.split: Split = split_items(
            [item.id for item in self.items],
            n_calibration=n_calibration,
            seed=self.seed,
            clusters=tasks.clusters_of(self.items),
        )
        by_id = {item.id: item for item in self.items}
        self.data = TrainingData.of(
            self._pool()[: self.budget.n_training],
            calibration=[by_id[name] for name in self.split.calibration[: self.budget.n_watched]],
            test=[by_id[name] for name in self.split.test],
        )

    def _narrow(self) -> int:
        """Ask no more than the budget says, and leave items to train on; returns the calibration's size."""
        architecture, profile = self.source.architecture, self.runner.profile
        if self.budget.n_asked is not None:
            profile = _with_sizes(profile, architecture, self.budget.n_asked)
        n_items, n_training = len(self.task.partition.evaluation), len(self._training_part())
        wanted = self.budget.n_training
        missing = n_items // 5 * (not n_training) if wanted is None else max(0, wanted - n_training)
        sizes = profile.sizes(architecture, n_items - min(missing, n_items // 3))
        if sizes != self.runner.profile.sizes(architecture, n_items):
            self.runner = self.runner.narrowed(_with_sizes(profile, architecture, sizes))
        return sizes[0]

    def _training_part(self) -> tuple[LabelledItem, ...]:
        """Return the task's training items; those that a prompt shows with their answers teach nothing."""
        return () if isinstance(self.task, MultipleChoice) else self.task.partition.training

    def _pool(self) -> tuple[LabelledItem, ...]:
        """Return what may be trained on: the task's training part, and evaluation items nobody is asked."""
        asked = {item.cluster for item in self.items} - {""}
        spare = self.task.partition.evaluation[len(self.items) :]
        return (*self._training_part(), *(item for item in spare if item.cluster not in asked))

    def record(self, arm: Variant) -> StoredPredictions:
        """Return an arm's predictions of all evaluation items, making them if need be."""
        if arm.adapter == "none":
            quantizer = REFERENCE if arm.weights == "full" else self.quantizer
            return self.runner.record(self.model, quantizer, self.task_name)
        return self._stored_or_made(self._arm_identity(arm), arm, self.items)

    def divided(self, record: StoredPredictions, arm: Variant) -> FittedSplit:
        """Return an arm's calibration and test parts."""
        quantizer = quantizers.get(REFERENCE if arm.weights == "full" else self.quantizer)
        return FittedSplit.of(
            record.class_vectors,
            self.split,
            metrics=METRICS,
            resamples=self.runner.resamples(self.split.test, self.seed, tasks.clusters_of(self.items)),
            epsilon=quantizer.epsilon,
            fit_seed=self.seed,
        )

    def _stored_or_made(
        self, identity: dict[str, Any], arm: Variant, items: Sequence[LabelledItem]
    ) -> StoredPredictions:
        store = self.runner.store
        found = store.get(identity)
        if found is not None:
            return found
        if self.runner.replay:
            raise ModelLoadingForbiddenError(
                f"there is no stored record of the arm {arm.id!r} of {self.model} on {self.task_name} (key"
                f" {key_of(identity)}), and this is a replay,"
                " which uses stored records alone; run it once without replay"
            )
        quantizers.get(self.quantizer).check_available()
        with store.computing():
            found = store.get(identity)  # another process may have made it while this one waited
            if found is not None:
                return found
            self.runner.kept.let_go()  # training wants the memory
            loaded, training = self._loaded(arm)
            record = self._scored(identity, arm, loaded, training, items)
            del loaded
            gc.collect()
        return record

    def _loaded(self, arm: Variant) -> tuple[QuantizedModel, StoredAdapter]:
        """Return an arm's model, with its adapter in place, training that if need be."""
        recipe = self._recipe(arm.adapter)
        if arm.weights == "merged-quantized":
            adapter = self._adapter(arm.adapter)
            merged = merged_source(
                self.source,
                adapter,
                recipe,
                parent=self.runner.store.root / "merged",
                identity=self._adapter_identity(arm.adapter),
            )
            return self._quantized(merged, self.quantizer, f"{arm.id}: quantize and prove"), adapter
        quantizer = REFERENCE if arm.weights == "full" else self.quantizer
        stored = self._trained(arm.adapter)
        if stored is None and self._trained_over(arm.adapter) != quantizer:
            stored = self._adapter(arm.adapter)
        teacher = self._teacher(arm.adapter) if stored is None else None
        loaded = self._quantized(self.source, quantizer, f"{arm.id}: load")
        if stored is None:
            return loaded, self._train(loaded, arm.adapter, teacher)
        dtype = compute_dtype(quantizers.get(quantizer))
        attach(loaded.module, recipe, compute_dtype=dtype)
        set_adapter(loaded.module, stored.state())
        return loaded, stored

    def _adapter(self, kind: Adapter) -> StoredAdapter:
        """Return a trained adapter, over a model of its own if it has to be trained."""
        stored = self._trained(kind)
        if stored is None:
            teacher = self._teacher(kind)
            loaded = self._quantized(self.source, self._trained_over(kind), "load for training")
            stored = self._train(loaded, kind, teacher)
            del loaded
            gc.collect()
        return stored

    def _trained(self, kind: Adapter) -> StoredAdapter | None:
        folder = self._folder(kind)
        return StoredAdapter.read(folder, self._adapter_identity(kind)) if folder.exists() else None

    def _train(self, loaded: QuantizedModel, kind: Adapter, teacher: Teacher | None) -> StoredAdapter:
        over, recipe = self._trained_over(kind), self._recipe(kind)
        what = f"{self.model} × {over} × {self.task_name}: train {kind} adapter, seed {self.seed}"
        total = recipe.epochs * len(self.data.training)
        with self.runner.progress.step(what, total) as advance:
            return train(
                Student(loaded.module, self.open.tokenizer, self.source, self.request),
                quantizers.get(over),
                self.data,
                recipe,
                folder=self._folder(kind),
                identity=self._adapter_identity(kind),
                teacher=teacher,
                on_step=lambda step, note: advance(min(step * recipe.batch_size, total), note),
            )

    def _teacher(self, kind: Adapter) -> Teacher | None:
        """Return the teacher's answers to the training items, which it gives once."""
        if self._recipe(kind).distillation is None:
            return None
        arm = VARIANTS["tuned" if kind == "distilled" else "base"]
        identity = {
            **self._identity(self.data.training),
            "teacher": self._teacher_identity(kind),
        }
        store = self.runner.store
        found = store.get(identity)
        if found is None:
            if arm.adapter == "none":
                loaded = self._quantized(self.source, REFERENCE, "teacher: load")
                found = self._scored(identity, arm, loaded, None, self.data.training)
            else:
                loaded, adapter = self._loaded(arm)
                found = self._scored(identity, arm, loaded, adapter, self.data.training)
            del loaded
            gc.collect()
        answers = found.class_vectors.take([item.id for item in self.data.training])
        return Teacher(logits=answers.logits.copy())

    def _quantized(self, source: ModelSource, quantizer: str, what: str) -> QuantizedModel:
        method = quantizers.get(quantizer)
        with self.runner.progress.step(f"{self.model} × {quantizer}: {what}"):
            probe = self.open.tokens(tasks.get(source.quantization_task or self.task_name), N_PROBE)
            return quantizers.quantize(
                method,
                source,
                samples=self.open.samples(self.task_name) if method.n_samples else None,
                probe=probe,
                checkpoint_dir=self.runner.store.checkpoints,
                seed=QUANTIZATION_SEED,
            )

    def _scored(
        self,
        identity: dict[str, Any],
        arm: Variant,
        loaded: QuantizedModel,
        adapter: StoredAdapter | None,
        items: Sequence[LabelledItem],
    ) -> StoredPredictions:
        training = None if adapter is None else {**adapter.history, "adapter": adapter.tensors_hash}
        return InferenceRun(self.source, self.open.tokenizer, self.task, items).ask(
            loaded,
            self.runner.store,
            identity,
            metadata={
                "model": self.model,
                "quantizer": self.quantizer,
                "task": self.task_name,
                "arm": arm.id,
            },
            step=self.runner.progress.step(f"{self.model} × {self.task_name}: ask {arm.id}", len(items)),
            provenance={} if training is None else {"training": training},
        )

    def _arm_identity(self, arm: Variant) -> dict[str, Any]:
        return {
            **self._identity(self.items),
            "adapter": self._adapter_identity(arm.adapter),
            "weights": self._base(REFERENCE if arm.weights == "full" else self.quantizer),
            "merged": arm.weights == "merged-quantized",
        }

    def _identity(self, items: Sequence[LabelledItem]) -> dict[str, Any]:
        """Return what the runner's own records are identified by, less the model."""
        identity = self.runner.identity(self.model, self.quantizer, self.task_name)
        del identity["model"]
        return {**identity, "task": {**identity["task"], "items": hash_items(items)}}

    def _adapter_identity(self, kind: Adapter) -> dict[str, Any]:
        return adapter_identity(
            self._base(self._trained_over(kind)),
            source=self.source,
            request=self.request,
            data=self.data,
            recipe=self._recipe(kind),
            teacher=self._teacher_identity(kind),
        )

    def _teacher_identity(self, kind: Adapter) -> dict[str, Any] | None:
        if kind == "distilled":
            return {"adapter": self._adapter_identity("full")}
        return {"base": self._base(REFERENCE)} if kind == "distilled-base" else None

    def _base(self, quantizer: str) -> dict[str, Any]:
        method = quantizers.get(quantizer)
        samples = self.open.samples(self.task_name) if method.n_samples else None
        return quantizers.identity(method, self.source, samples=samples, seed=QUANTIZATION_SEED)

    def _recipe(self, kind: Adapter) -> Recipe:
        distillation = self.budget.distillation if kind.startswith("distilled") else None
        if distillation is not None and kind == "distilled-base":
            # Labels would tune the student, and it is compared with untuned arms.
            distillation = replace(distillation, alpha=1.0)
        return replace(self.budget.recipe, seed=self.seed, distillation=distillation)

    def _trained_over(self, kind: Adapter) -> str:
        return REFERENCE if kind == "full" else self.quantizer

    def _folder(self, kind: Adapter) -> Path:
        root = self.runner.store.root / "adapters"
        return folder_of(root, self.source, self._adapter_identity(kind))
