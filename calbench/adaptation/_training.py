"""Training an adapter: seeded, watched, resumable, and with proof that the base stayed what it was."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calbench import devices
from calbench.adaptation._answers import Student, encode
from calbench.adaptation._data import TrainingData
from calbench.adaptation._interruption import TrainingState, forget, load_state, save_state
from calbench.adaptation._lora import adapter_parameters, adapter_state, attach, base_hash, set_adapter
from calbench.adaptation._losses import distillation_loss, sequence_distillation_loss
from calbench.adaptation._recipe import Recipe
from calbench.adaptation._stored import StoredAdapter, write_adapter
from calbench.cache import lock
from calbench.errors import InputError, QuantizationError, TrainingError
from calbench.inference import check_device, score
from calbench.quantizers import Quantizer
from calbench.records import Float32, softmax

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

OnStep = Callable[[int, str], None]


@dataclass(frozen=True, eq=False)
class Teacher:
    """What a student learns from: answers given beforehand, or a model to ask at every step.

    Parameters
    ----------
    logits : (n, k)
        Of the training items, in their order; for distillation of the answer.
    model
        For distillation of the sequence; in evaluation mode.
    """

    logits: Float32 | None = None
    model: Student | None = None


def train(
    student: Student,
    quantizer: Quantizer,
    data: TrainingData,
    recipe: Recipe,
    *,
    folder: Path,
    identity: Mapping[str, Any],
    teacher: Teacher | None = None,
    on_step: OnStep = lambda _step, _note: None,
) -> StoredAdapter:
    """Train an adapter on a loaded model, or open the one that was trained before.

    The model stays in evaluation mode throughout (an 8-bit layer in training mode takes another path
    than the one that is measured); only the adapters' own dropout is switched on. Afterwards the
    model carries the adapter that was kept.

    Parameters
    ----------
    student
        The model, at full precision or quantized; it gets the adapters, unmerged.
    quantizer
        The one that made it.
    data, recipe
        What it learns from, and how.
    folder
        Where the adapter will be; checkpoints are kept beside it until it is done.
    identity
        See :func:`calbench.adaptation.adapter_identity`.
    teacher
        For a recipe with distillation.
    on_step
        Is told the number of steps done and the loss, in words.

    Raises
    ------
    InputError
        Targets match no layer, the teacher does not fit the recipe, or the model lies on another device
        than identities name.
    TrainingError
        The loss or a gradient became NaN or infinite; the message says where, and where the last
        good adapter is.
    QuantizationError
        The base's weights changed during training.
    """
    check_device(student.module)
    with lock(folder):
        if folder.exists():
            stored = StoredAdapter.read(folder, identity)
            _carry(student.module, stored, recipe, quantizer)
            return stored
        layers = attach(student.module, recipe, compute_dtype=compute_dtype(quantizer))
        # bitsandbytes casts biases to the compute type at the first forward.
        score(student.module, student.tokenizer, student.source, student.request, data.watched[:1])
        before = base_hash(student.module, quantizer)
        run = _Run(student, data, recipe, folder, identity, teacher, on_step)
        state = run.finish()
        if base_hash(student.module, quantizer) != before:
            raise QuantizationError(
                f"the weights of {student.source.id} with {quantizer.id} changed while an adapter was trained"
                " on them; they must stay frozen"
            )
        history = {
            "losses": state.losses,
            "looks": [list(look) for look in state.looks],
            "kept_step": state.best_look[0],
            "n_steps": run.n_steps,
            "n_parameters": sum(tensor.numel() for tensor in state.best.values()),
            "base_hash": before,
            "seconds": round(state.seconds, 3),
        }
        stored = write_adapter(
            folder, state.best, recipe=recipe, layers=layers, identity=identity, history=history
        )
        forget(run.checkpoints)
    return stored


def compute_dtype(quantizer: Quantizer) -> str:
    """Return the floating type in which a quantizer's layers compute: that of a cast, or float32."""
    found = getattr(quantizer, "compute_dtype", None) or getattr(quantizer, "dtype", None)
    return str(found or "float32")


def _carry(model: nn.Module, stored: StoredAdapter, recipe: Recipe, quantizer: Quantizer) -> None:
    """Put a trained adapter into a model, which may have one of its kind already."""
    if not any(".lora_" in name for name, _ in model.named_parameters()):
        attach(model, recipe, compute_dtype=compute_dtype(quantizer))
    set_adapter(model, stored.state())


@dataclass(eq=False)
class _Run:
    """One training from its last checkpoint to its end."""

    student: Student
    data: TrainingData
    recipe: Recipe
    folder: Path
    identity: Mapping[str, Any]
    teacher: Teacher | None
    on_step: OnStep
    _good: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_teacher(self.recipe, self.teacher, self.data)
        self.encoded = encode(self.student, self.data.training)
        self.parameters = adapter_parameters(self.student.module)
        self.n_steps = self.recipe.n_steps(len(self.data.training))
        self.checkpoints = self.folder.with_name(self.folder.name + ".training")

    def finish(self) -> TrainingState:
        """Train to the end, or until looking at the calibration split says that it is time to stop."""
        import torch

        recipe = self.recipe
        optimizer = torch.optim.AdamW(self.parameters.values(), weight_decay=recipe.weight_decay)
        state = load_state(self.checkpoints, self.parameters, optimizer, identity=self.identity)
        looks = recipe.evaluation_steps(self.n_steps)
        started = time.perf_counter() - state.seconds
        with torch.random.fork_rng(devices=devices.seeded_cards()):
            while state.step < self.n_steps and not state.stale(recipe.patience):
                state.losses.append(self._step(state.step, optimizer))
                state.step += 1
                if state.step in looks:
                    self._look(state)
                state.seconds = time.perf_counter() - started
                if state.step % recipe.checkpoint_every == 0 and state.step < self.n_steps:
                    save_state(self.checkpoints, state, self.parameters, optimizer, identity=self.identity)
                self.on_step(state.step, f"loss {np.mean(state.losses[-10:]):.3f}")
        for name, parameter in self.parameters.items():
            parameter.data.copy_(state.best[name])
        return state

    def _step(self, step: int, optimizer: torch.optim.Optimizer) -> float:
        import torch

        rows = self.data.rows(self.recipe.seed, step, self.recipe.batch_size).tolist()
        # From the step and the seed alone, so that a resumed training draws the same.
        torch.manual_seed(np.random.SeedSequence([self.recipe.seed, step]).generate_state(1)[0].item())
        self._dropout(on=True)
        loss = self._loss(rows)
        self._dropout(on=False)
        if not math.isfinite(loss.item()):
            self._stop(step, rows, f"the loss is {loss.item()}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.max_grad_norm)
        if not math.isfinite(norm.item()):
            self._stop(step, rows, f"the gradient's norm is {norm.item()}")
        self._good = adapter_state(self.student.module)
        for group in optimizer.param_groups:
            group["lr"] = self.recipe.rate(step, self.n_steps)
        optimizer.step()
        return loss.item()

    def _loss(self, rows: Sequence[int]) -> Tensor:
        import torch
        from torch.nn import functional

        student, teacher, distillation = self.student, self.teacher, self.recipe.distillation
        labels = torch.tensor([self.data.training[row].label for row in rows], device="cpu")
        if distillation is None or teacher is None:
            found = self.encoded.answers(student, rows)
            return functional.cross_entropy(found, labels.to(found.device))
        weights = {"alpha": distillation.alpha, "temperature": distillation.temperature}
        if teacher.model is not None:
            ours, mask = self.encoded.sequence(student, rows)
            with torch.no_grad():
                theirs, _ = self.encoded.sequence(teacher.model, rows)
            words = self.encoded.label_words(rows).to(ours.device)
            theirs, mask = theirs.to(ours.device), mask.to(ours.device)
            return sequence_distillation_loss(ours, theirs, mask, words, **weights)
        assert teacher.logits is not None  # noqa: S101 (checked when the run began)
        found = self.encoded.answers(student, rows)
        answers = torch.from_numpy(teacher.logits[list(rows)]).to(found.device)
        return distillation_loss(found, answers, labels.to(found.device), **weights)

    def _look(self, state: TrainingState) -> None:
        student, watched = self.student, self.data.watched
        try:
            scored = score(student.module, student.tokenizer, student.source, student.request, watched)
        except InputError as error:
            self._stop(state.step - 1, [], str(error))
        labels = [item.label for item in watched]
        likely = softmax(scored.logits)[np.arange(len(labels)), labels]
        nll = float(-np.log(np.maximum(likely, np.finfo(np.float64).tiny)).mean())
        state.looks.append((state.step, nll))
        if state.best_look[0] == state.step:
            state.best = adapter_state(student.module)

    def _dropout(self, *, on: bool) -> None:
        if self.recipe.dropout:
            for name, module in self.student.module.named_modules():
                if ".lora_dropout." in name:
                    module.train(on)

    def _stop(self, step: int, rows: Sequence[int], what: str) -> None:
        """Keep the last adapter that gave a finite loss and gradient, and say where it went wrong."""
        per_epoch = -(-len(self.data.training) // self.recipe.batch_size)
        read = ", ".join(repr(self.data.training[row].id) for row in rows[:3])
        place = f"step {step + 1} of {self.n_steps} (epoch {step // per_epoch + 1})"
        if read:
            place += f", reading {read}" + (" and others" if len(rows) > 3 else "")
        kept = "there is no good adapter yet"
        if self._good:
            kept = f"the last good adapter is kept in {self._keep(step)}"
        raise TrainingError(
            f"training an adapter of {self.student.source.id} stopped: {what} at {place}; {kept}."
            " Lower the learning rate, or compute in a wider type"
        )

    def _keep(self, step: int) -> Path:
        folder = self.folder.with_name(f"{self.folder.name}.stopped-at-{step + 1}")
        forget(folder)
        layers = tuple(
            dict.fromkeys(name.partition(".lora_")[0] for name in self._good if ".lora_A." in name)
        )
        write_adapter(
            folder,
            self._good,
            recipe=self.recipe,
            layers=layers,
            identity={**self.identity, "stopped_at": step + 1},
            history={"stopped_at": step + 1},
        )
        return folder


def _check_teacher(recipe: Recipe, teacher: Teacher | None, data: TrainingData) -> None:
    if (recipe.distillation is None) != (teacher is None):
        raise InputError("a recipe with distillation needs a teacher, and one without must not be given any")
    if recipe.distillation is None or teacher is None:
        return
    if recipe.distillation.level == "sequence":
        if teacher.model is None:
            raise InputError("to distil the sequence, give the teacher's model: Teacher(model=...)")
        return
    if teacher.model is not None or teacher.logits is None:
        raise InputError("to distil the answer, give the teacher's answers: Teacher(logits=...)")
    if len(teacher.logits) != len(data.training):
        raise InputError(
            f"the teacher answered {len(teacher.logits)} items, and {len(data.training)} are trained on"
        )
