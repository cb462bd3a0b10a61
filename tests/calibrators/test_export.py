import numpy as np
import pytest

from calbench import calibrators
from calbench.calibrators import CalibrationContext, write
from calbench.calibrators._export import from_json, read_torch, to_json, to_onnx, to_torch
from calbench.errors import InputError
from calbench.records import softmax

from .data import overconfident
from .test_registry import BUILT_IN, VARIANTS


def fit_and_rows(name, k):
    """A fit, and 10,000 random rows, wider than what it was fitted on, with padding and a tie."""
    logits, labels = overconfident(600, k, padded=k > 2)
    fitted = calibrators.get(name).fit(logits, labels, context=CalibrationContext(epsilon=0.07))
    rows, _ = overconfident(10_000, k, seed=1, padded=k > 2)
    rows[1] = 0.0
    return fitted, (2 * rows).astype(np.float32)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("name", BUILT_IN + VARIANTS)
def test_torch_agrees_with_numpy(name, k):
    torch = pytest.importorskip("torch", reason="export to torch needs torch")
    fitted, rows = fit_and_rows(name, k)
    module = to_torch(fitted)
    # Both are float64; libraries' exponentials differ in the last bits.
    np.testing.assert_allclose(module(torch.from_numpy(rows)).numpy(), fitted(rows), atol=1e-12)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("name", BUILT_IN + VARIANTS)
def test_onnx_agrees_with_numpy(name, k, tmp_path):
    pytest.importorskip("onnx", reason="export to ONNX needs onnx")
    runtime = pytest.importorskip("onnxruntime", reason="running ONNX needs onnxruntime")
    fitted, rows = fit_and_rows(name, k)
    to_onnx(fitted, tmp_path / "fit.onnx", n_classes=k)
    session = runtime.InferenceSession(tmp_path / "fit.onnx", providers=["CPUExecutionProvider"])
    (probs,) = session.run(["probs"], {"logits": rows})
    np.testing.assert_allclose(probs, fitted(rows), atol=1e-12)


def test_a_state_dict_carries_the_fit():
    pytest.importorskip("torch", reason="export to torch needs torch")
    logits, labels = overconfident(600, 3)
    first = calibrators.get("vector").fit(logits, labels)
    second = calibrators.get("vector").fit(logits / 3, labels)
    module = to_torch(first)
    module.load_state_dict(to_torch(second).state_dict())
    import torch

    np.testing.assert_allclose(module(torch.from_numpy(logits)).numpy(), second(logits), atol=1e-12)
    assert set(module.state_dict()) >= {"scale", "bias"}


def test_json_text_restores_the_fit():
    logits, labels = overconfident()
    fitted = calibrators.get("isotonic").fit(logits, labels)
    np.testing.assert_array_equal(from_json(to_json(fitted))(logits), fitted(logits))
    with pytest.raises(InputError, match="no JSON"):
        from_json("{")


def test_the_number_of_classes_must_be_known_and_right(tmp_path):
    pytest.importorskip("onnx", reason="export to ONNX needs onnx")
    temperature = calibrators.get("temperature").fit(*overconfident())
    vector = calibrators.get("vector").fit(*overconfident())
    with pytest.raises(InputError, match="n_classes is None"):
        to_onnx(temperature, tmp_path / "fit.onnx")
    with pytest.raises(InputError, match="n_classes is 5"):
        to_onnx(vector, tmp_path / "fit.onnx", n_classes=5)
    assert not list(tmp_path.iterdir())


def test_a_plugins_fit_is_not_exported():
    pytest.importorskip("torch", reason="export to torch needs torch")
    from calbench.calibrators._plugins import AdaptedFit

    with pytest.raises(InputError, match="only built-in"):
        to_torch(AdaptedFit("halving", lambda z: softmax(z / 2)))


@pytest.mark.parametrize("name", BUILT_IN + VARIANTS)
def test_a_written_module_is_read_back(name, tmp_path):
    torch = pytest.importorskip("torch", reason="export to torch needs torch")
    fitted, rows = fit_and_rows(name, 3)
    write(fitted, tmp_path / "fit.safetensors")
    module = read_torch(tmp_path / "fit.safetensors")
    np.testing.assert_allclose(module(torch.from_numpy(rows)).numpy(), fitted(rows), atol=1e-12)


def test_a_file_without_a_fit_is_refused(tmp_path):
    pytest.importorskip("torch", reason="export to torch needs torch")
    from safetensors.numpy import save_file

    save_file({"scale": np.ones(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="holds no fitted calibrator"):
        read_torch(tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        read_torch(tmp_path / "broken.safetensors")


def test_the_suffix_names_the_form(tmp_path):
    fitted = calibrators.get("temperature").fit(*overconfident())
    write(fitted, tmp_path / "fit.json")
    assert from_json((tmp_path / "fit.json").read_text()).to_dict() == fitted.to_dict()
    with pytest.raises(InputError, match=r"suffix '\.pkl'"):
        write(fitted, tmp_path / "fit.pkl")
