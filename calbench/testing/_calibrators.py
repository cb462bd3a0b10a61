"""The rules that a calibrator keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from calbench import calibrators
from calbench.calibrators import (
    CalibrationContext,
    Calibrator,
    FittedCalibrator,
    check_component,
)
from calbench.errors import CalbenchError, InputError
from calbench.records import Float64, Int64, softmax

_EPSILON = 1 / 14


def check_calibrator(
    calibrator: str | type | object,
    *,
    n_classes: tuple[int, ...] = (2, 4),
    n_samples: int = 400,
    seed: int = 0,
) -> None:
    """Check that a calibrator keeps the rules that calbench relies on.

    On seeded, overconfident synthetic logits, for each number of classes: fitting and applying
    leave their inputs as they are; probabilities are finite, not negative and sum to one; each row
    is mapped by itself, so that the items that are scored never influence one another, nor does
    applying change the fit; a fit repeated with an equal generator is equal; a calibrator that
    declares ``preserves_prediction`` does; what can be saved comes back bit for bit from strict
    JSON; ``n_parameters``, ``size_bytes``, ``warnings`` and ``needs`` are well formed. On data that
    cannot be fitted well (one class, a handful of items, NaN) there is a :class:`CalbenchError` or
    valid probabilities, and never another exception. With ``-inf`` for an
    option that an item does not have it gives valid probabilities, or refuses to fit. One that has
    ``fit_confidences`` is fitted on confidences too: they are mapped one by one into [0, 1], nearer to how
    often answers are right, and come back from JSON as well.

    Parameters
    ----------
    calibrator
        A registered id, a class with ``fit``, or an instance of one.
    n_classes
        Numbers of classes to check with.
    n_samples
        Size of the synthetic calibration split.
    seed
        Of the synthetic data and of the context's generator.

    Raises
    ------
    AssertionError
        A rule is broken; the message says which and how to mend it.

    Examples
    --------
    >>> check_calibrator("temperature")
    """
    method, name = _resolve(calibrator)
    _check_declarations(method, name)
    for k in n_classes:
        logits, labels = _data(n_samples, k, seed)
        fitted = _check_fit(method, name, logits, labels, seed)
        test_logits, _ = _data(n_samples, k, seed + 1)
        probs = _check_probs(fitted, name, test_logits)
        _check_rows_are_independent(fitted, name, test_logits, probs)
        again = _fit(method, logits, labels, seed)
        _check_repeats(again, name, test_logits, probs)
        _check_prediction(method, name, test_logits, probs)
        _check_round_trip(fitted, calibrator, name, test_logits, probs)
        _check_numbers(fitted, name)
        _check_hard_cases(method, name, k, seed)
    _check_absent_options(method, name, max(3, *n_classes), seed)
    if hasattr(method, "fit_confidences"):
        _check_confidences(method, calibrator, name, n_samples, seed)


def _resolve(calibrator: Any) -> tuple[Calibrator, str]:
    if isinstance(calibrator, str):
        return calibrators.get(calibrator), calibrator
    kind = calibrator if isinstance(calibrator, type) else type(calibrator)
    instance = calibrator() if isinstance(calibrator, type) else calibrator
    try:
        check_component(kind.__name__, kind)
    except InputError as error:
        raise AssertionError(str(error)) from None
    return calibrators.adapted(instance), kind.__name__


def _require(holds: object, name: str, message: str) -> None:
    if not holds:
        raise AssertionError(f"{name}: {message}")


def _data(n: int, k: int, seed: int) -> tuple[Float64, Int64]:
    """Logits of a model that is twice as sure as it should be, and labels; every class occurs."""
    rng = np.random.default_rng([seed, n, k])
    logits = rng.normal(scale=2.0, size=(n, k))
    draws = rng.gumbel(size=(n, k))
    labels = np.argmax(logits / 2 + draws, axis=1)
    labels[:k] = np.arange(k)
    return logits, labels.astype(np.int64)


def _context(seed: int) -> CalibrationContext:
    return CalibrationContext(epsilon=_EPSILON, rng=np.random.default_rng(seed))


def _fit(method: Calibrator, logits: Float64, labels: Int64, seed: int) -> FittedCalibrator:
    return method.fit(logits, labels, context=_context(seed))


def _check_declarations(method: Calibrator, name: str) -> None:
    _require(
        method.needs in ("logits", "top-label"),
        name,
        f"needs is {method.needs!r}; declare 'logits' or 'top-label'",
    )
    for attribute in ("preserves_prediction", "needs_epsilon"):
        declared = getattr(getattr(method, "method", method), attribute, False)
        _require(isinstance(declared, bool), name, f"{attribute} is {declared!r}; declare True or False")


def _check_fit(method: Calibrator, name: str, logits: Float64, labels: Int64, seed: int) -> FittedCalibrator:
    given = logits.copy(), labels.copy()
    try:
        fitted = method.fit(given[0], given[1], context=_context(seed))
    except CalbenchError as error:
        raise AssertionError(f"{name}: ordinary data are refused: {error}") from error
    except ValueError as error:
        if "read-only" in str(error):
            raise AssertionError(f"{name}: fit writes into its inputs; work on a copy") from error
        raise
    changed = not (np.array_equal(given[0], logits) and np.array_equal(given[1], labels))
    _require(not changed, name, "fit changed its inputs; work on a copy")
    return fitted


def _check_probs(fitted: FittedCalibrator, name: str, logits: Float64) -> Float64:
    given = logits.copy()
    try:
        probs = fitted(given)
    except InputError as error:
        raise AssertionError(f"{name}: {error}") from error
    except ValueError as error:
        if "read-only" in str(error):
            raise AssertionError(f"{name}: applying the fit writes into its input; work on a copy") from error
        raise
    _require(np.array_equal(given, logits), name, "applying the fit changed its input; work on a copy")
    _require(probs.shape == logits.shape, name, f"returned shape {probs.shape} for logits {logits.shape}")
    _require(np.isfinite(probs).all() and (probs >= 0).all(), name, "returned NaN, inf or a negative number")
    excess = float(np.abs(probs.sum(axis=1) - 1).max())
    _require(excess < 1e-6, name, f"rows of the returned probabilities are off from 1 by up to {excess:.1e}")
    return probs


def _check_rows_are_independent(fitted: FittedCalibrator, name: str, logits: Float64, probs: Float64) -> None:
    order = np.arange(len(logits))[::-2]
    alone = fitted(logits[order])
    _require(
        np.allclose(alone, probs[order], rtol=0, atol=1e-9),
        name,
        "an item's probabilities depend on the other items that are scored with it; what is scored must not"
        " be learned from",
    )
    _require(
        np.array_equal(fitted(logits), probs),
        name,
        "applying the fit twice to the same logits gives two results; a fit must not change when applied,"
        " nor draw random numbers",
    )


def _check_repeats(again: FittedCalibrator, name: str, logits: Float64, probs: Float64) -> None:
    _require(
        np.array_equal(again(logits), probs),
        name,
        "two fits with equally seeded generators differ; draw random numbers from context.rng only",
    )


def _check_prediction(method: Calibrator, name: str, logits: Float64, probs: Float64) -> None:
    if not method.preserves_prediction:
        return
    predicted = logits.argmax(axis=1)
    kept = probs.argmax(axis=1) == predicted
    _require(
        kept.all(),
        name,
        f"preserves_prediction is declared but {int((~kept).sum())} of {len(kept)} predictions changed",
    )


def _check_confidences(method: Any, calibrator: Any, name: str, n: int, seed: int) -> None:
    logits, labels = _data(n, 4, seed)
    probs = softmax(logits)
    given = probs.max(axis=1), probs.argmax(axis=1) == labels
    before = given[0].copy(), given[1].copy()
    try:
        fitted = method.fit_confidences(*given)
        mapped = fitted.confidences(given[0])
    except CalbenchError as error:
        raise AssertionError(f"{name}: fit_confidences on ordinary data: {error}") from error
    except ValueError as error:
        if "read-only" in str(error):
            raise AssertionError(f"{name}: fit_confidences writes into its inputs; work on a copy") from error
        raise
    same = all(np.array_equal(a, b) for a, b in zip(given, before, strict=True))
    _require(same, name, "fit_confidences changed its inputs; work on a copy")
    _require(
        np.allclose(fitted.confidences(given[0][::-2]), mapped[::-2], rtol=0, atol=1e-9),
        name,
        "a confidence is mapped differently beside others; map each by itself",
    )
    _require_round_trip(
        fitted,
        calibrator,
        name,
        lambda restored: np.array_equal(getattr(restored, "confidences", restored)(given[0]), mapped),
    )
    for case, truth in {
        "all answers right": np.ones(n, bool),
        "all answers wrong": np.zeros(n, bool),
    }.items():
        try:
            edge = method.fit_confidences(given[0], truth).confidences(given[0])
        except CalbenchError:
            continue
        except Exception as error:
            raise AssertionError(
                f"{name}: fit_confidences with {case} raised {type(error).__name__}: {error}; raise"
                " calbench.errors.InputError, or return a fit that says so in its warnings"
            ) from error
        _require(np.isfinite(edge).all(), name, f"fit_confidences with {case} gives no confidences")


def _check_round_trip(
    fitted: FittedCalibrator, calibrator: Any, name: str, logits: Float64, probs: Float64
) -> None:
    _require_round_trip(fitted, calibrator, name, lambda restored: np.array_equal(restored(logits), probs))


def _require_round_trip(fitted: Any, calibrator: Any, name: str, is_the_same: Callable[[Any], bool]) -> None:
    function = getattr(fitted, "function", fitted)
    if not hasattr(function, "to_dict"):
        return
    saved = fitted.to_dict()
    try:
        text = json.dumps(saved, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{name}: to_dict() is not plain JSON ({error})") from error
    if not isinstance(calibrator, str):
        owner: Any = calibrator if isinstance(calibrator, type) else type(calibrator)
        _require(
            hasattr(owner, "from_dict"), name, "fits have to_dict but the calibrator has no from_dict(d)"
        )
        restored = owner.from_dict(json.loads(text))
    else:
        try:
            restored = calibrators.from_dict(json.loads(text))
        except InputError as error:
            raise AssertionError(f"{name}: what to_dict() gave cannot be restored: {error}") from error
    _require(
        is_the_same(restored),
        name,
        "a fit restored from to_dict() gives other probabilities; keep every bit (floats survive JSON)",
    )


def _check_absent_options(method: Calibrator, name: str, k: int, seed: int) -> None:
    """Every third item lacks its last option, as questions with fewer choices than others do."""
    absent = np.zeros((300, k), dtype=bool)
    absent[::3, -1] = True
    sides = []
    for more in (3, 4):
        logits, labels = _data(300, k, seed + more)
        sides.append((np.where(absent & (labels[:, None] != np.arange(k)), -np.inf, logits), labels))
    (logits, labels), (test_logits, _) = sides
    case = "-inf for an option that an item does not have"
    try:
        fitted = _fit(method, logits, labels, seed)
    except CalbenchError:
        return
    except Exception as error:
        raise AssertionError(
            f"{name}: {case} raised {type(error).__name__}: {error}; raise calbench.errors.InputError"
        ) from error
    try:
        _check_probs(fitted, name, test_logits)
    except AssertionError as error:
        raise AssertionError(f"{error}; it was given {case}") from error
    except Exception as error:
        raise AssertionError(f"{name}: {case} raised {type(error).__name__}: {error}") from error


def _check_numbers(fitted: FittedCalibrator, name: str) -> None:
    for attribute in ("n_parameters", "size_bytes"):
        value = getattr(fitted, attribute)
        good = isinstance(value, int) and value >= 0
        _require(good, name, f"{attribute} is {value!r}; it must be an integer from 0 up")
    good = isinstance(fitted.warnings, tuple) and all(isinstance(w, str) for w in fitted.warnings)
    _require(good, name, f"warnings is {fitted.warnings!r}; it must be a tuple of strings")


def _check_hard_cases(method: Calibrator, name: str, k: int, seed: int) -> None:
    logits, labels = _data(30, k, seed + 2)
    with_nan = logits.copy()
    with_nan[3, 0] = np.nan
    cases = {
        "labels of one class only": (logits, np.zeros(30, dtype=np.int64)),
        "three items": (logits[:3], labels[:3]),
        "constant logits": (np.zeros((30, k)), labels),
        "separable data": (logits, logits.argmax(axis=1)),
        "NaN in the logits": (with_nan, labels),
    }
    for case, (z, y) in cases.items():
        try:
            fitted = _fit(method, z, y, seed)
            probs = fitted(logits)
        except CalbenchError:
            continue
        except Exception as error:
            raise AssertionError(
                f"{name}: {case} raised {type(error).__name__}: {error}; raise calbench.errors.InputError,"
                " or return a fit that says so in its warnings"
            ) from error
        _require(not np.isnan(z).any(), name, f"{case} was accepted; raise calbench.errors.InputError")
        valid = np.isfinite(probs).all() and np.abs(probs.sum(axis=1) - 1).max() < 1e-6
        _require(valid, name, f"{case}: the fit gives no valid probabilities; raise InputError instead")
