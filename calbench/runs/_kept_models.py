"""Models that stay in memory, since an undecided gate asks them further items a moment later."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field

from calbench.quantizers import QuantizedModel

MOST_KEPT = 2**30  # bytes; larger ones are let go, since other processes may want the memory


@dataclass(eq=False)
class KeptModels:
    """At most a model at full precision and one that was made of it, both small."""

    _kept: dict[tuple[str, bool, str], QuantizedModel] = field(default_factory=dict)

    def get(
        self, model: str, made: str, load: Callable[[], QuantizedModel], *, is_reference: bool
    ) -> QuantizedModel:
        """Return a model that is in memory, or load it; only the other one of its pair stays beside it.

        Parameters
        ----------
        model, made
            The model's id, and the key of how it is made.
        load
            Loads and proves it.
        is_reference
            Whether it is the one at full precision.
        """
        place = model, is_reference, made
        if place not in self._kept:
            for other in [k for k in self._kept if k[:2] != (model, not is_reference)]:
                del self._kept[other]
            gc.collect()  # modules hold themselves in cycles
            found = load()
            if found.report.working_bytes > MOST_KEPT:
                return found
            self._kept[place] = found
        return self._kept[place]

    def __contains__(self, model: QuantizedModel) -> bool:
        return any(kept is model for kept in self._kept.values())

    def let_go(self) -> None:
        """Free the memory; what is wanted again is loaded again."""
        self._kept.clear()
        gc.collect()
