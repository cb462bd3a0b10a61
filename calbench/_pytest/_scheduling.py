"""``--dist loadgroup`` of pytest-xdist: one worker gets all cells of a model, and loads it once."""

from __future__ import annotations

from typing import Any

import pytest


def model_of(nodeid: str) -> str | None:
    """Return how the model's name in a test's id begins, if that ends with a cell's id: it has three dashes.

    Models whose names begin alike up to a dash share a worker; no model is ever loaded by two.

    >>> model_of("suites/test_transfer.py::test_ece_transfer[minilm-movie-gptq-int4[g=32]-beta]")
    'minilm'
    >>> model_of("test_other.py::test_it[a-b]")
    """
    _, bracket, parameters = nodeid.rpartition("::")[2].partition("[")
    parts = parameters.split("-")
    return parts[0] if bracket and len(parts) >= 4 else None


def make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return pytest-xdist's scheduler, with cells grouped by their model and all other tests as there.

    Cells carry the mark ``xdist_group``, but pytest-xdist 3.8 appends it to a private attribute that
    pytest 9.2 no longer reads; a cell's id begins with its model's all the same.
    """
    from xdist.scheduler import LoadGroupScheduling  # only where pytest-xdist asks for a scheduler

    class ModelScheduling(LoadGroupScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            return model_of(nodeid) or str(super()._split_scope(nodeid))

    return ModelScheduling(config, log)
