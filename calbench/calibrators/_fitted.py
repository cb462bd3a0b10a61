"""What every built-in fit shares: checked application in blocks, its size, and its JSON form."""

from __future__ import annotations

import dataclasses
import math
import typing
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from calbench.calibrators._array_ops import NUMPY, Ops
from calbench.calibrators._inputs import BLOCK, check_logits
from calbench.calibrators._interface import Needs
from calbench.errors import InputError
from calbench.records import Float64

if TYPE_CHECKING:
    from typing_extensions import Self

_NOT_STORED = ("n_classes", "warnings")
# Whether something holds of a fit's parameters, and what is wrong where it does not.
Problems = Iterator[tuple[bool, str]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Fitted(ABC):
    """A built-in calibrator's fit: parameters, and one formula in :class:`Ops`.

    A method's own fit is a frozen dataclass that adds its parameters as fields (floats, strings,
    arrays and tuples of arrays), names its calibrator, and defines ``formula`` and
    ``n_parameters``.

    Parameters
    ----------
    n_classes
        Number of classes that the parameters are for, or None if the formula fits any.
    warnings
        What a reader of the result must know.
    """

    calibrator: ClassVar[str]
    n_classes: int | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            for array in value if isinstance(value, tuple) else (value,):
                if isinstance(array, np.ndarray):
                    array.setflags(write=False)

    @abstractmethod
    def formula(self, ops: Ops, z: Any) -> Any:
        """Probabilities of float64 logits ``z`` ``(n, k)``, row by row."""

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """How many numbers were learned."""

    @property
    def size_bytes(self) -> int:
        """What the fit stores, as float64, learned or not."""
        return 8 * sum(_count(value) for value in self._parameters().values())

    def __call__(self, logits: npt.ArrayLike) -> Float64:
        """Return probabilities ``(n, k)`` float64; raises :class:`InputError` for bad logits."""
        z = check_logits(logits, self.n_classes)
        probs = np.empty(z.shape)
        rows = max(1, BLOCK // 8 // z.shape[1])
        for start in range(0, len(z), rows):
            block = z[start : start + rows].astype(np.float64)
            probs[start : start + rows] = self.formula(NUMPY, block)
        if np.isnan(probs.sum()):
            row = int(np.argmax(np.isnan(probs).any(axis=1)))
            raise InputError(
                f"the {self.calibrator} fit gives no probabilities for logits[{row}]: its parameters are out"
                " of all proportion to them; fit it again"
            )
        return probs

    def at(self, epsilon: float | None) -> Self:  # noqa: ARG002 (a hook)
        """Return the fit as it applies to a model of another precision: unchanged."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON; floats keep every bit."""
        return {
            "calibrator": self.calibrator,
            "format": 1,
            "n_classes": self.n_classes,
            "parameters": {name: _plain(value) for name, value in self._parameters().items()},
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Self:
        """Restore what :meth:`to_dict` wrote; raises :class:`InputError` if it does not fit."""
        try:
            if d["calibrator"] != cls.calibrator or d["format"] != 1:
                raise InputError(
                    f"expected a fit of {cls.calibrator!r} in format 1, found"
                    f" {d['calibrator']!r} in format {d['format']}"
                )
            parameters = {name: _restored(value) for name, value in d["parameters"].items()}
            fitted = cls(n_classes=d["n_classes"], warnings=tuple(d["warnings"]), **parameters)
            found = chain(fitted._well_typed(), fitted.problems())
            wrong = next((text for holds, text in found if not holds), None)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"this is no fit of {cls.calibrator!r} as to_dict() wrote it ({error!r})"
            ) from error
        if wrong:
            raise InputError(f"this is no fit of {cls.calibrator!r} as to_dict() wrote it: {wrong}")
        return fitted

    def problems(self) -> Problems:
        """What its parameters must keep, besides being finite and of their types."""
        yield from ()

    def _well_typed(self) -> Problems:
        known = self.n_classes is None or (_is_whole(self.n_classes) and self.n_classes >= 2)
        yield known, f"n_classes is {self.n_classes!r}"
        yield all(isinstance(w, str) for w in self.warnings), "warnings are not texts"
        kinds = typing.get_type_hints(type(self))
        for name, value in self._parameters().items():
            kind = kinds[name]
            if kind is int:
                good = _is_whole(value) and value >= 0
            elif kind is float or (value is not None and type(None) in typing.get_args(kind)):
                good = isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)
            elif typing.get_origin(kind) is tuple:
                good = isinstance(value, tuple) and len(value) > 0 and all(map(_is_finite, value))
            elif kind == Float64:
                good = _is_finite(value)
            else:
                good = value is None or isinstance(value, str)
            yield good, f"{name} is {value!r}"

    def _parameters(self) -> dict[str, Any]:
        fields = (f.name for f in dataclasses.fields(self) if f.name not in _NOT_STORED)
        return {name: getattr(self, name) for name in fields}


class Method:
    """A built-in calibrator: names the type of its fits and its paper, and adds its settings and ``fit``."""

    fit_type: ClassVar[type[Fitted]]
    source: ClassVar[str]
    needs: ClassVar[Needs] = "logits"
    needs_epsilon: ClassVar[bool] = False
    preserves_prediction: ClassVar[bool] = False

    @property
    def cross_fits(self) -> bool:
        """Whether so few numbers are learned that folds may be pooled."""
        return False

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Fitted:
        """Restore a fit from what its ``to_dict()`` gave."""
        return cls.fit_type.from_dict(d)


def table_problems(edges: Float64, values: Float64, *, more: int) -> Problems:
    """What a table of probabilities must keep: ``more`` values than edges, both in [0, 1], edges in order."""
    yield edges.ndim == values.ndim == 1 and len(values) == len(edges) + more, "a table is not complete"
    yield bool((np.diff(edges) >= 0).all()), "a table's edges are not in order"
    yield all(bool(((part >= 0) & (part <= 1)).all()) for part in (edges, values)), "a table leaves [0, 1]"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim > 0 and bool(np.isfinite(value).all())


def _count(value: Any) -> int:
    if isinstance(value, tuple):
        return sum(map(_count, value))
    return int(np.size(value)) if isinstance(value, float | np.ndarray) else 0


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return {"arrays": [_plain(part) for part in value]}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(_restored(part) for part in value["arrays"])
    if not isinstance(value, list):
        return value
    array = np.array(value)
    if array.dtype.kind not in "iuf" and array.size:
        raise ValueError(f"{value!r} does not hold numbers only")
    return array.astype(np.float64)
