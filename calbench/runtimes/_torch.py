"""The torch runtime: a loaded module is asked in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calbench.inference import Request, Scored, Shards, score
from calbench.models import ModelSource
from calbench.tasks import LabelledItem


@dataclass(frozen=True, eq=False)
class TorchRuntime:
    """A module in evaluation mode; see :class:`calbench.runtimes.Runtime`."""

    module: Any
    tokenizer: Any
    source: ModelSource
    name: str = "torch"

    def score(
        self,
        request: Request,
        items: Sequence[LabelledItem],
        *,
        shards: Shards,
        on_progress: Callable[..., None],
    ) -> Scored:
        """Ask in batches; see :func:`calbench.inference.score`."""
        return score(
            self.module, self.tokenizer, self.source, request, items, shards=shards, on_progress=on_progress
        )

    def notes(self) -> Mapping[str, Any]:
        """Nothing that the build's report does not say."""
        return {}
