"""Which parts of a model are costly to quantize, and which to keep at a budget of bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from calbench import models, quantizers, tasks
from calbench.errors import InputError
from calbench.experiments.bench import Bench
from calbench.experiments.cells import REFERENCE
from calbench.experiments.precision_table import kl_estimate
from calbench.metrics import Items
from calbench.predictions import Predictions
from calbench.quantizers.catalogue import arguments
from calbench.quantizers.selection import module_groups
from calbench.registry import Spec
from calbench.statistics import Estimate, Resampled, difference, resample, resamples_for
from calbench.store import Record
from calbench.tasks import split_evaluation

LEVEL = 0.95
_STEPS = 4000  # the budget is divided into so many; a group's bytes are rounded up to the next


@dataclass(frozen=True)
class Change:
    """What quantizing something does to a model's answers, against full precision, same items."""

    kl_divergence: Estimate
    accuracy: Estimate
    ece: Estimate


@dataclass(frozen=True)
class GroupCost:
    """A group of layers, and what quantizing it alone costs and saves.

    Parameters
    ----------
    name
        A block (``bert.encoder.layer.0``) or a layer outside of them (``classifier``).
    layers
        Its linear layers.
    quantizer
        The id that quantizes this group and nothing else.
    saved_bytes
        By how much the whole model shrinks.
    change
        On the calibration items.
    """

    name: str
    layers: tuple[str, ...]
    quantizer: str
    saved_bytes: int
    change: Change

    @property
    def kl_per_mib(self) -> float:
        """KL paid for each MiB saved: what makes a group worth keeping."""
        return self.change.kl_divergence.value / (self.saved_bytes / 2**20)


@dataclass(frozen=True)
class Suggestion:
    """The groups to keep at full precision, and what that gives.

    Parameters
    ----------
    keep
        Names of the groups.
    quantizer, uniform
        The id that keeps them, and the one that quantizes every group.
    budget_bytes, size_bytes, uniform_bytes
        Of the whole model: allowed, with the groups kept, and with none.
    predicted_kl
        Sum of the other groups' KL: what the choice minimises.
    change, uniform_change
        Measured on the test items, which had no part in the choice.
    """

    keep: tuple[str, ...]
    quantizer: str
    uniform: str
    budget_bytes: int
    size_bytes: int
    uniform_bytes: int
    predicted_kl: float
    change: Change
    uniform_change: Change


@dataclass(eq=False)
class Sensitivity:
    """Measures a model group by group; every measurement is a stored record like any other.

    Parameters
    ----------
    bench
        Gives the records.
    model, quantizer, task
        Ids; the quantizer's may have arguments, but not ``skip`` and ``include``.
    seed
        Of the division of the items: groups are chosen on the calibration items and the choice is
        measured on the test items.

    Raises
    ------
    InputError
        The quantizer has no ``skip`` and ``include``, or they are given; the task's questions are open.
    """

    bench: Bench
    model: str
    quantizer: str
    task: str
    seed: int = 42
    groups: Mapping[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        tasks.closed(tasks.get(self.task))
        spec = Spec.parse(self.quantizer)
        taken = {"skip", "include"}
        if not taken <= set(arguments(spec.id)):
            raise InputError(
                f"{spec.name} cannot leave layers out: it has no arguments 'skip' and 'include'; use a bnb or"
                " gptq quantizer"
            )
        if taken & {name for name, _ in spec.arguments}:
            raise InputError(f"leave skip and include out of {spec.id!r}: finding them is the task")
        source = models.get(self.model).resolve()
        method = quantizers.get(spec)
        method.check_available()
        skeleton = source.skeleton()
        self.groups = module_groups(skeleton)
        self._default = frozenset(method.targets(skeleton))
        quantizers.check_fits(quantizers.get(self.narrowed(self.groups)), source)

    def costs(self) -> Iterator[GroupCost]:
        """Quantize each group alone, and yield what that costs."""
        reference = self._record(REFERENCE)
        ids = self._split(reference)[0]
        for name, layers in self.groups.items():
            quantizer = self.narrowed([name])
            record = self._record(quantizer)
            saved = _size(reference) - _size(record)
            if saved <= 0:
                raise InputError(
                    f"{quantizer} saves nothing of {self.model}'s {name}: there is no cost to weigh"
                )
            yield GroupCost(name, layers, quantizer, saved, self._change(record, reference, ids))

    def suggest(self, costs: Sequence[GroupCost], *, budget_bytes: int | None = None) -> Suggestion:
        """Choose the groups to keep, and measure the choice on items that had no part in it.

        Parameters
        ----------
        costs
            All of :meth:`costs`.
        budget_bytes
            The whole model may take so many; by default what quantizing everything leaves, and
            a fifth of what it saves.

        Raises
        ------
        InputError
            Not even the model with every group quantized fits into the budget.
        """
        reference = self._record(REFERENCE)
        ids = self._split(reference)[1]
        uniform = self._record(self.narrowed(self.groups))
        smallest = _size(uniform)
        if budget_bytes is None:
            budget_bytes = smallest + (_size(reference) - smallest) // 5
        if budget_bytes < smallest:
            raise InputError(
                f"the budget of {budget_bytes / 2**20:.1f} MiB is below the {smallest / 2**20:.1f} MiB that"
                f" {self.model} takes with every group at {self.quantizer}; raise it or use fewer bits"
            )
        keep = best_set(costs, budget_bytes - smallest)
        chosen = self._record(self.narrowed([name for name in self.groups if name not in keep]))
        return Suggestion(
            keep,
            quantizer=chosen.provenance["quantization"]["quantizer"],
            uniform=self.narrowed(self.groups),
            budget_bytes=budget_bytes,
            size_bytes=_size(chosen),
            uniform_bytes=smallest,
            predicted_kl=sum(c.change.kl_divergence.value for c in costs if c.name not in keep),
            change=self._change(chosen, reference, ids),
            uniform_change=self._change(uniform, reference, ids),
        )

    def narrowed(self, wanted: Collection[str]) -> str:
        """Return the id that quantizes these groups and nothing else; none at all is the reference."""
        if not wanted:
            return REFERENCE
        spec = Spec.parse(self.quantizer)
        kept = [name for name in self.groups if name not in wanted and self._is_default(name)]
        extra = [name for name in wanted if not self._is_default(name)]
        parts = {"skip": "+".join(kept), "include": "+".join(extra)}
        added = tuple((name, text) for name, text in parts.items() if text)
        return quantizers.get(Spec(spec.name, (*spec.arguments, *added))).id

    def _is_default(self, group: str) -> bool:
        return bool(self._default & set(self.groups[group]))

    def _record(self, quantizer: str) -> Record:
        return self.bench.record(self.model, quantizer, self.task)

    def _split(self, record: Record) -> tuple[tuple[str, ...], tuple[str, ...]]:
        ids = record.predictions.item_ids.tolist()
        n_calibration, _ = self.bench.profile.sizes(models.get(self.model).architecture, len(ids))
        split = split_evaluation(ids, n_calibration=n_calibration, seed=self.seed)
        return split.calibration, split.test

    def _change(self, record: Record, reference: Record, ids: Sequence[str]) -> Change:
        resamples = resamples_for(ids, n_resamples=self.bench.n_resamples, seed=self.seed)
        here, there = (r.class_vectors.take(resamples.item_ids) for r in (record, reference))

        def measured(predictions: Predictions) -> dict[str, Resampled]:
            return resample(("accuracy", "ece"), Items.from_record(predictions), resamples)

        a, b = measured(here), measured(there)
        return Change(
            kl_divergence=kl_estimate(here, there, resamples, LEVEL),
            accuracy=difference(a["accuracy"], b["accuracy"], LEVEL),
            ece=difference(a["ece"], b["ece"], LEVEL),
        )


def best_set(costs: Sequence[GroupCost], spare_bytes: int) -> tuple[str, ...]:
    """Return the groups to keep that save the most KL within the spare bytes, in their own order.

    A 0/1 knapsack, solved by dynamic programming over the bytes in 4000 steps. That KL adds up over
    groups is an approximation; :meth:`Sensitivity.suggest` measures what the set really gives.
    """
    unit = max(1, spare_bytes // _STEPS)
    capacity = spare_bytes // unit
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())] * (capacity + 1)
    for index, cost in enumerate(costs):
        weight = -(-cost.saved_bytes // unit)
        gain = cost.change.kl_divergence.value
        for room in range(capacity, weight - 1, -1):
            kl, chosen = best[room - weight]
            if kl + gain > best[room][0]:
                best[room] = (kl + gain, (*chosen, index))
    return tuple(costs[index].name for index in best[capacity][1])


def _size(record: Record) -> int:
    return int(record.provenance["quantization"]["resident_bytes"])
