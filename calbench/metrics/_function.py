"""What a metric's function looks like to a type checker."""

from __future__ import annotations

from typing import ParamSpec, Protocol, overload

import numpy.typing as npt

P = ParamSpec("P")


class MetricFunction(Protocol[P]):
    """A metric of one model's answers: ``(probs, labels, *, ..., sample_weight=None) -> float``."""

    __name__: str

    @overload
    def __call__(
        self, probs: npt.ArrayLike, labels: npt.ArrayLike, /, *args: P.args, **options: P.kwargs
    ) -> float: ...

    @overload
    def __call__(
        self,
        probs: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        sample_weight: npt.ArrayLike | None = None,
        **options: object,
    ) -> float: ...
