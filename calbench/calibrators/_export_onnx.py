"""Fitted calibrators as ONNX graphs, written node by node; importing this module imports onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import calbench
from calbench.cache import replacing
from calbench.calibrators._fitted import Fitted
from calbench.errors import BackendUnavailableError

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise BackendUnavailableError("export to ONNX needs onnx; pip install onnx") from error

_OPSET = 18
_IR_VERSION = 10  # what onnxruntime 1.18 and later read


def write_onnx(fitted: Fitted, path: Path, *, n_classes: int) -> None:
    """Write the graph of a fit's formula; see :func:`calbench.calibrators._export.to_onnx`."""
    graph = Graph()
    logits = Symbol(graph, "logits")
    probs = fitted.formula(OnnxOps(graph, n_classes), graph.cast(logits, TensorProto.DOUBLE))
    graph.nodes.append(helper.make_node("Identity", [probs.name], ["probs"]))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            fitted.calibrator,
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", n_classes])],
            [helper.make_tensor_value_info("probs", TensorProto.DOUBLE, ["n", n_classes])],
            graph.initializers,
        ),
        producer_name="calbench",
        producer_version=calbench.__version__,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))


class Graph:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._constants: dict[str, Symbol] = {}

    def node(self, operator: str, *inputs: Any, **attributes: Any) -> Symbol:
        """Append a node and return its output."""
        symbol = Symbol(self, f"{operator.lower()}_{len(self.nodes)}")
        names = [self.symbol(value).name for value in inputs]
        self.nodes.append(helper.make_node(operator, names, [symbol.name], **attributes))
        return symbol

    def symbol(self, value: Any) -> Symbol:
        """Return a value as a symbol; Python numbers become float64 constants."""
        if isinstance(value, Symbol):
            return value
        return self.constant(f"number_{float(value)!r}", np.array(value, dtype=np.float64))

    def constant(self, name: str, array: npt.NDArray[Any]) -> Symbol:
        """Return a constant; the first one of a name is kept."""
        if name not in self._constants:
            self.initializers.append(numpy_helper.from_array(array, name))
            self._constants[name] = Symbol(self, name)
        return self._constants[name]

    def cast(self, value: Any, kind: int) -> Symbol:
        """Convert to an ONNX element type."""
        return self.node("Cast", value, to=kind)


class Symbol:
    """A value of the graph; arithmetic on it appends nodes."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph = graph
        self.name = name

    def __add__(self, other: Any) -> Symbol:
        return self.graph.node("Add", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self.graph.node("Add", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self.graph.node("Sub", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self.graph.node("Sub", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self.graph.node("Mul", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self.graph.node("Mul", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self.graph.node("Div", self, other)

    def __neg__(self) -> Symbol:
        return self.graph.node("Neg", self)

    def __gt__(self, other: Any) -> Symbol:
        return self.graph.node("Greater", self, other)

    def __ge__(self, other: Any) -> Symbol:
        return self.graph.node("GreaterOrEqual", self, other)


class OnnxOps:
    """:class:`calbench.calibrators._array_ops.Ops` that write a graph."""

    def __init__(self, graph: Graph, n_classes: int) -> None:
        self.graph = graph
        self.n_classes = n_classes

    def constant(self, name: str, values: npt.ArrayLike) -> Symbol:
        return self.graph.constant(name, np.array(values, dtype=np.float64))

    def _integers(self, *values: int) -> Symbol:
        return self.graph.constant(f"integers_{'_'.join(map(str, values))}", np.array(values, dtype=np.int64))

    def softmax(self, z: Any) -> Any:
        return self.graph.node("Softmax", z, axis=-1)

    def exp(self, x: Any) -> Any:
        return self.graph.node("Exp", x)

    def log(self, x: Any) -> Any:
        return self.graph.node("Log", x)

    def sqrt(self, x: Any) -> Any:
        return self.graph.node("Sqrt", x)

    def tanh(self, x: Any) -> Any:
        return self.graph.node("Tanh", x)

    def minimum(self, a: Any, b: Any) -> Any:
        return self.graph.node("Min", a, b)

    def maximum(self, a: Any, b: Any) -> Any:
        return self.graph.node("Max", a, b)

    def where(self, mask: Any, a: Any, b: Any) -> Any:
        return self.graph.node("Where", mask, a, b)

    def sum(self, x: Any) -> Any:
        return self.graph.node("ReduceSum", x, self._integers(-1), keepdims=1)

    def max(self, x: Any) -> Any:
        return self.graph.node("ReduceMax", x, self._integers(-1), keepdims=1)

    def matmul(self, a: Any, b: Any) -> Any:
        return self.graph.node("MatMul", a, b)

    def top(self, x: Any, k: int) -> Any:
        values = Symbol(self.graph, f"topk_{len(self.graph.nodes)}")
        names = [x.name, self._integers(k).name]
        outputs = [values.name, f"{values.name}_index"]
        self.graph.nodes.append(helper.make_node("TopK", names, outputs, axis=-1))
        return values

    def is_top(self, x: Any) -> Any:
        best = self.graph.node("ArgMax", x, axis=-1, keepdims=1, select_last_index=0)
        places = self.graph.constant("places", np.arange(self.n_classes, dtype=np.int64))
        return self.graph.node("Equal", best, places)

    def column(self, x: Any, k: int) -> Any:
        return self.graph.node("Slice", x, self._integers(k), self._integers(k + 1), self._integers(-1))

    def concat(self, parts: list[Any]) -> Any:
        return self.graph.node("Concat", *parts, axis=-1)

    def bucket(self, x: Any, edges: Any) -> Any:
        wide = self.graph.node("Unsqueeze", x, self._integers(-1))
        above = self.graph.cast(self.graph.node("Greater", wide, edges), TensorProto.INT64)
        return self.graph.node("ReduceSum", above, self._integers(-1), keepdims=0)

    def gather(self, values: Any, index: Any) -> Any:
        return self.graph.node("Gather", values, index, axis=0)
