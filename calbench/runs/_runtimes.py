"""Which runtime answers from a proven model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from calbench.inference import check_device
from calbench.models import ModelSource
from calbench.quantizers import QuantizedModel, Quantizer, RunsElsewhere
from calbench.runtimes import LlamaCppRuntime, LlamaOptions, Runtime, TorchRuntime, write_gguf


@contextmanager
def runtime_for(
    method: Quantizer, loaded: QuantizedModel, tokenizer: Any, source: ModelSource
) -> Iterator[Runtime]:
    """Give the runtime that a quantizer's id names; what it writes is gone when the block ends.

    Raises
    ------
    InputError
        The model lies on another device than the identity says, or comes from no GGUF file and is to be
        run by llama.cpp.
    """
    if not isinstance(method, RunsElsewhere) or method.runtime == "torch":
        check_device(loaded.module)
        yield TorchRuntime(loaded.module, tokenizer, source)
        return
    with TemporaryDirectory(prefix="calbench-gguf-") as folder:
        file = Path(folder) / "model.gguf"
        write_gguf(source, loaded.module, file)
        yield LlamaCppRuntime(file, tokenizer, source, LlamaOptions(kv=method.kv))
