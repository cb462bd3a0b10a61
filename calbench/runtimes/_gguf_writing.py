"""A loaded model as a GGUF file: the header of the file that it was decoded from, and its weights now.

How llama.cpp lays a tensor out (it reorders the rows of some projections) is not looked up but found:
a row order is taken only if it makes the source's own tensor equal, bit for bit, to what the file decodes to.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from calbench.errors import InputError
from calbench.models import ModelSource, read_header

if TYPE_CHECKING:
    from torch import nn

Array = npt.NDArray[Any]


def write_gguf(source: ModelSource, module: nn.Module, target: Path) -> None:
    """Write a model whose quantized layers, if any, are GGUF blocks; other tensors are float32.

    Parameters
    ----------
    source
        What the module was made from; it was decoded from a GGUF file itself.
    module
        The same, quantized or not.
    target
        The file to write.

    Raises
    ------
    InputError
        The source comes from no GGUF file, or a tensor is laid out in a way that is not known here.
    """
    import gguf

    if source.gguf is None:
        raise InputError(
            f"{source.id} comes from no GGUF file, and llama.cpp reads nothing else; convert it with"
            " llama.cpp's convert_hf_to_gguf.py and name that file where models are named"
        )
    template = Path(source.gguf)
    header = read_header(template)
    reader = gguf.GGUFReader(template)
    writer = gguf.GGUFWriter(target, header.architecture)
    own = ("general.architecture", "general.file_type")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in own:
            kind = field.types[0]
            inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, inner)
    names = _names(gguf, header.architecture, source)
    tensors, types = _Tensors(source, module), Counter[str]()
    for tensor in reader.tensors:
        if tensor.name not in names:
            raise InputError(f"{template}: nothing in {source.id} is llama.cpp's {tensor.name}")
        decoded = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        order = _row_order(decoded, tensors.reference(names[tensor.name]), f"{template}: {tensor.name}")
        values, type_name = tensors.current(names[tensor.name])
        kind = None if type_name is None else gguf.GGMLQuantizationType[type_name]
        writer.add_tensor(tensor.name, np.ascontiguousarray(values[order]), raw_dtype=kind)
        types.update([] if type_name is None else [type_name])
    if (file_type := _file_type(gguf, types)) is not None:
        writer.add_file_type(file_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _file_type(gguf: Any, types: Counter[str]) -> int | None:
    """Return llama.cpp's number for a file whose quantized tensors have these types; None if it has none."""
    if not types:
        return int(gguf.LlamaFileType.ALL_F32)
    most = types.most_common(1)[0][0]
    mixed = ("_M", "_S") if len(types) > 1 else ("_S", "_M")
    names = [f"MOSTLY_{most}{end}" for end in ("", *mixed, "_MOE")]
    known = (gguf.LlamaFileType[name] for name in names if name in gguf.LlamaFileType.__members__)
    found = next(known, None)
    return None if found is None else int(found)


class _Tensors:
    """A source's tensors by their names, as they were and as they are in a module made from it."""

    def __init__(self, source: ModelSource, module: nn.Module) -> None:
        from safetensors import safe_open

        self._module = module
        files: list[Any] = [safe_open(str(f), "np") for f in sorted(source.folder.glob("*.safetensors"))]
        self._file_of = {name: file for file in files for name in file.keys()}  # noqa: SIM118 (not a dict)
        self.names = list(self._file_of)

    def reference(self, name: str) -> Array:
        """A tensor of the source, float32."""
        return np.asarray(self._file_of[name].get_tensor(name))

    def current(self, name: str) -> tuple[Array, str | None]:
        """Return blocks and their type, or float32 values and None."""
        owner, _, leaf = name.rpartition(".")
        layer: Any = self._module.get_submodule(owner)
        if leaf == "weight" and hasattr(layer, "type_name"):
            return layer.blocks.cpu().numpy(), None if layer.type_name == "F16" else layer.type_name
        return getattr(layer, leaf).detach().float().cpu().numpy(), None


def _names(gguf: Any, architecture: str, source: ModelSource) -> dict[str, str]:
    """Names of the source's tensors by llama.cpp's."""
    known = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    config = source.skeleton().config.get_text_config()
    table = gguf.get_tensor_name_map(known[architecture], config.num_hidden_layers)
    names = _Tensors(source, source.skeleton()).names
    found = {table.get_name(name, try_suffixes=(".weight", ".bias")): name for name in names}
    return {theirs: ours for theirs, ours in found.items() if theirs}


def _row_order(decoded: Array, reference: Array, where: str) -> Any:
    if decoded.shape == reference.shape:
        if np.array_equal(decoded, reference):
            return slice(None)
        n_rows = len(reference)
        # Rotary pairs lie side by side in llama.cpp, and half a head apart in transformers.
        for n_heads in (n for n in range(1, n_rows // 2 + 1) if n_rows % (2 * n) == 0):
            order = np.arange(n_rows).reshape(n_heads, 2, -1).swapaxes(1, 2).reshape(-1)
            if np.array_equal(decoded[1], reference[order[1]]) and np.array_equal(decoded, reference[order]):
                return order
    raise InputError(f"{where} is laid out in a way that calbench does not know; name the GGUF file itself")
