"""Which parts of a model are costly to quantize, and which to keep at a budget of bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from calbench import models, quantizers, tasks
from calbench.errors import InputError
from calbench.gates import clusters_of, split_items
from calbench.metrics import Outcomes
from calbench.quantizers import arguments, module_groups
from calbench.records import Predictions
from calbench.registry import Spec
from calbench.runs import REFERENCE, Runner
from calbench.seeds import SEED
from calbench.statistics import Estimate, Resampled, difference, resample, resamples_for
from calbench.store import StoredPredictions
from calbench.studies._precision import kl_estimate

LEVEL = 0.95
KeptAt = Literal["full", "int8"]
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
    """The groups to keep at a higher precision, and what that gives.

    Parameters
    ----------
    keep, kept_at
        Names of the groups, and the precision: ``"full"`` or ``"int8"``.
    quantizer, uniform
        The id that keeps them, and the one that quantizes every group alike.
    budget_bytes, size_bytes, uniform_bytes
        Of the whole model: allowed, with the groups kept, and with none.
    predicted_kl
        Sum of the other groups' KL: what the choice minimises.
    change, uniform_change
        Measured on the test items, which had no part in the choice.
    """

    keep: tuple[str, ...]
    kept_at: KeptAt
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
    runner
        Gives the records.
    model, quantizer, task
        Ids; the quantizer's may have arguments, but not ``skip`` and ``include``.
    seed
        Of the division of the items: groups are chosen on the calibration items and the choice is
        measured on the test items.
    kept_at
        What a group that is kept becomes: ``"full"``, or ``"int8"`` where the quantizer can give
        single layers 8 bits. Those cost a group a seventh of the bytes of full precision and, as the
        choice assumes, no KL.

    Raises
    ------
    InputError
        The quantizer lacks the arguments that this needs, or they are given; the task's questions are open.
    """

    runner: Runner
    model: str
    quantizer: str
    task: str
    seed: int = SEED
    kept_at: KeptAt = "full"
    groups: Mapping[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        tasks.closed(tasks.get(self.task))
        spec = Spec.parse(self.quantizer)
        known = arguments(spec.id)
        if not {"skip", "include"} <= set(known):
            raise InputError(
                f"{spec.name} cannot leave layers out: it has no arguments 'skip' and 'include'; use a bnb or"
                " gptq quantizer"
            )
        if self.kept_at == "int8" and "int8" not in known:
            raise InputError(
                f"{spec.name} cannot give single layers 8 bits: it has no argument 'int8'; use gptq-int4 or"
                " gptq-int3, or keep groups at full precision"
            )
        if {"skip", "include", "int8"} & {name for name, _ in spec.arguments}:
            raise InputError(f"leave skip, include and int8 out of {spec.id!r}: finding them is the task")
        source = models.get(self.model).resolve()
        method = quantizers.get(spec)
        method.check_available()
        skeleton = source.skeleton()
        self.groups = module_groups(skeleton)
        self._default = frozenset(method.targets(skeleton))
        self._n_weights = {
            group: sum(skeleton.get_parameter(f"{name}.weight").numel() for name in layers)
            for group, layers in self.groups.items()
        }
        quantizers.check_fits(
            quantizers.get(self.keeping(self.groups if self.kept_at == "int8" else ())), source
        )

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
        uniform, kept = self._record(self.keeping(())), self._record(self.keeping(self.groups))
        smallest = _size(uniform)
        if budget_bytes is None:
            budget_bytes = smallest + (_size(kept) - smallest) // 5
        if budget_bytes < smallest:
            raise InputError(
                f"the budget of {budget_bytes / 2**20:.1f} MiB is below the {smallest / 2**20:.1f} MiB that"
                f" {self.model} takes with every group at {self.quantizer}; raise it or use fewer bits"
            )
        prices = self._prices(costs, _size(kept) - smallest)
        spare = budget_bytes - smallest
        while True:
            keep = best_set(costs, prices, spare)
            chosen = self._record(self.keeping(keep))
            # A group's share of the bytes is right but for the padding of codes to whole words.
            if _size(chosen) <= budget_bytes:
                break
            spare -= _size(chosen) - budget_bytes
        return Suggestion(
            keep,
            self.kept_at,
            quantizer=chosen.provenance["quantization"]["quantizer"],
            uniform=self.keeping(()),
            budget_bytes=budget_bytes,
            size_bytes=_size(chosen),
            uniform_bytes=smallest,
            predicted_kl=sum(c.change.kl_divergence.value for c in costs if c.name not in keep),
            change=self._change(chosen, reference, ids),
            uniform_change=self._change(uniform, reference, ids),
        )

    def keeping(self, groups: Collection[str]) -> str:
        """Return the id that quantizes every group, and keeps these at the higher precision."""
        if self.kept_at == "full":
            return self.narrowed([name for name in self.groups if name not in groups])
        return self.narrowed(self.groups, int8=groups)

    def _prices(self, costs: Sequence[GroupCost], total: int) -> dict[str, int]:
        """Bytes that keeping each group takes; ``total`` is what keeping all takes."""
        if self.kept_at == "full":
            return {cost.name: cost.saved_bytes for cost in costs}
        all_weights = sum(self._n_weights.values())
        return {c.name: -(-total * self._n_weights[c.name] // all_weights) for c in costs}

    def narrowed(self, wanted: Collection[str], *, int8: Collection[str] = ()) -> str:
        """Return the id that quantizes these groups and nothing else; none at all is the reference."""
        if not wanted:
            return REFERENCE
        spec = Spec.parse(self.quantizer)
        kept = [name for name in self.groups if name not in wanted and self._is_default(name)]
        extra = [name for name in wanted if not self._is_default(name)]
        parts = {"skip": "+".join(kept), "include": "+".join(extra), "int8": "+".join(int8)}
        added = tuple((name, text) for name, text in parts.items() if text)
        return quantizers.get(Spec(spec.name, (*spec.arguments, *added))).id

    def _is_default(self, group: str) -> bool:
        return bool(self._default & set(self.groups[group]))

    def _record(self, quantizer: str) -> StoredPredictions:
        return self.runner.record(self.model, quantizer, self.task)

    def _split(self, record: StoredPredictions) -> tuple[tuple[str, ...], tuple[str, ...]]:
        ids = record.predictions.item_ids.tolist()
        n_calibration, _ = self.runner.profile.sizes(models.get(self.model).architecture, len(ids))
        clusters = clusters_of(record.predictions)
        split = split_items(ids, n_calibration=n_calibration, seed=self.seed, clusters=clusters)
        return split.calibration, split.test

    def _change(self, record: StoredPredictions, reference: StoredPredictions, ids: Sequence[str]) -> Change:
        clusters = clusters_of(record.predictions)
        resamples = resamples_for(
            ids,
            n_resamples=self.runner.n_resamples,
            seed=self.seed,
            clusters=[clusters[item] for item in ids] if clusters else None,
        )
        here, there = (r.class_vectors.take(resamples.item_ids) for r in (record, reference))

        def measured(predictions: Predictions) -> dict[str, Resampled]:
            return resample(("accuracy", "ece"), Outcomes.from_record(predictions), resamples)

        a, b = measured(here), measured(there)
        return Change(
            kl_divergence=kl_estimate(there, here, resamples, LEVEL),
            accuracy=difference(b["accuracy"], a["accuracy"], LEVEL),
            ece=difference(b["ece"], a["ece"], LEVEL),
        )


def best_set(costs: Sequence[GroupCost], prices: Mapping[str, int], spare_bytes: int) -> tuple[str, ...]:
    """Return the groups to keep that save the most KL within the spare bytes, in their own order.

    A 0/1 knapsack, solved by dynamic programming over the bytes in 4000 steps. That KL adds up over
    groups is an approximation; :meth:`Sensitivity.suggest` measures what the set really gives.
    """
    unit = max(1, spare_bytes // _STEPS)
    capacity = spare_bytes // unit
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())] * (capacity + 1)
    for index, cost in enumerate(costs):
        weight = -(-prices[cost.name] // unit)
        gain = cost.change.kl_divergence.value
        for room in range(capacity, weight - 1, -1):
            kl, chosen = best[room - weight]
            if kl + gain > best[room][0]:
                best[room] = (kl + gain, (*chosen, index))
    return tuple(costs[index].name for index in best[capacity][1])


def _size(record: StoredPredictions) -> int:
    return int(record.provenance["quantization"]["resident_bytes"])
