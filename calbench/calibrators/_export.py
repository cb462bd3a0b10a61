"""Deployment of fitted calibrators: JSON, a torch module, and ONNX of it, from one formula."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from calbench.cache import replacing
from calbench.calibrators._fitted import Fitted
from calbench.calibrators._interface import FittedCalibrator
from calbench.errors import BackendUnavailableError, InputError

if TYPE_CHECKING:
    import torch

_FIT = "calbench_fit"
_OPSET = 18  # what onnxruntime 1.14 and later read


def to_json(fitted: FittedCalibrator) -> str:
    """Return a fit as strict JSON text; floats keep every bit.

    >>> from calbench import calibrators
    >>> fitted = calibrators.get("identity").fit([[1.0, 0.0], [0.0, 1.0]], [0, 1])
    >>> from_json(to_json(fitted))([[0.0, 0.0]]).tolist()
    [[0.5, 0.5]]
    """
    return json.dumps(fitted.to_dict(), allow_nan=False, sort_keys=True)


def from_json(text: str) -> FittedCalibrator:
    """Restore what :func:`to_json` wrote.

    Raises
    ------
    InputError
        The text is not JSON, or no fit.
    """
    from calbench.calibrators import from_dict

    try:
        loaded = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"this is no JSON ({error}); pass what to_json() or `calbench export` wrote"
        ) from None
    return from_dict(loaded)


def to_torch(fitted: FittedCalibrator) -> torch.nn.Module:
    """Return a fit as a ``torch.nn.Module``: logits ``(n, k)`` of any float type to float64 probabilities.

    Parameters are float64 buffers, so ``module.state_dict()`` holds the fit, and
    :func:`calbench.calibrators._export_torch.CalibratorModule` with the same fit's JSON loads it.

    Raises
    ------
    InputError
        The fit is a plugin's: only built-in calibrators have a formula that torch can run.
    BackendUnavailableError
        torch is not installed.
    """
    from calbench.calibrators._export_torch import CalibratorModule

    return CalibratorModule(_built_in(fitted))


def write_torch(fitted: FittedCalibrator, path: str | Path) -> None:
    """Write a fit as safetensors: the module's ``state_dict``, with the fit's JSON as metadata.

    :func:`read_torch` restores the module; the tensors alone are what ``load_state_dict`` takes.

    Raises
    ------
    InputError
        The fit is a plugin's.
    BackendUnavailableError
        torch is not installed.
    """
    module = to_torch(fitted)
    from safetensors.torch import save_file

    with replacing(Path(path)) as temporary:
        save_file(module.state_dict(), temporary, metadata={_FIT: to_json(fitted)})


def read_torch(path: str | Path) -> torch.nn.Module:
    """Return the module that :func:`write_torch` wrote; nothing is read with pickle.

    Raises
    ------
    InputError
        The file cannot be read, or holds no fit.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, framework="pt") as file:
            fit = (file.metadata() or {}).get(_FIT)
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}") from error
    if fit is None:
        raise InputError(f"{path} holds no fitted calibrator; write one with `calbench export calibrator`")
    module = to_torch(from_json(fit))
    module.load_state_dict(state)
    return module


def to_onnx(fitted: FittedCalibrator, path: str | Path, *, n_classes: int | None = None) -> None:
    """Write a fit as an ONNX model: input ``logits`` ``(n, k)`` float32, output ``probs`` float64.

    Parameters
    ----------
    fitted
        A fit of a built-in calibrator.
    path
        The file; replaced in one step.
    n_classes
        Number of classes, for fits that do not say themselves (temperature fits any).

    Raises
    ------
    InputError
        The fit is a plugin's, or the number of classes is missing or contradicts the fit.
    BackendUnavailableError
        torch or onnx is not installed.
    """
    built_in = _built_in(fitted)
    if n_classes is None:
        n_classes = built_in.n_classes
    if n_classes is None or (built_in.n_classes or n_classes) != n_classes:
        raise InputError(
            f"n_classes is {n_classes} but the {built_in.calibrator} fit is for"
            f" {built_in.n_classes or 'any number'}; pass the number of columns of the logits"
        )
    module = to_torch(fitted)
    import torch

    if importlib.util.find_spec("onnx") is None:
        raise BackendUnavailableError("export to ONNX needs onnx; pip install calbench[onnx]")
    with replacing(Path(path)) as temporary, warnings.catch_warnings():
        # Of the two exporters this is the older. The newer takes seconds a fit, and further packages.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            (torch.zeros(2, n_classes),),
            str(temporary),
            input_names=["logits"],
            output_names=["probs"],
            dynamic_axes={"logits": {0: "n"}, "probs": {0: "n"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def write(fitted: FittedCalibrator, path: str | Path, *, n_classes: int | None = None) -> None:
    """Write a fit in the form that the suffix names: ``.json``, ``.safetensors`` (torch) or ``.onnx``.

    Raises
    ------
    InputError
        The suffix is another, or the fit cannot be written in that form.
    """
    path = Path(path)
    if path.suffix == ".json":
        with replacing(path) as temporary:
            temporary.write_text(to_json(fitted) + "\n", encoding="utf-8")
    elif path.suffix == ".safetensors":
        write_torch(fitted, path)
    elif path.suffix == ".onnx":
        to_onnx(fitted, path, n_classes=n_classes)
    else:
        raise InputError(
            f"{path}: cannot tell the form from the suffix {path.suffix!r}; use .json, .safetensors (a torch"
            " state_dict) or .onnx"
        )


def _built_in(fitted: FittedCalibrator) -> Fitted:
    if not isinstance(fitted, Fitted):
        name = getattr(fitted, "name", type(fitted).__name__)
        raise InputError(
            f"the fit of {name!r} cannot be exported as torch or ONNX: it is a plugin's, and only built-in"
            " calibrators have a formula to export; to_json works if the plugin has to_dict"
        )
    return fitted
