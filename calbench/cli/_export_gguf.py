"""``calbench export gguf``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.cli._export import export
from calbench.cli._output import say
from calbench.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from calbench.models import ModelSource

# What a proof asks of the model that was written; nothing is fitted on it.
_PROBE = ("The capital of France is Paris.", "I love it so much!", "1, 2, 3, 4, 5,")


@export.command()
def gguf(
    model: Annotated[str, typer.Argument(help="A GGUF file, or the id of a model that comes from one.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file: .gguf.")],
    quantizer: Annotated[
        str, typer.Option(help="What its weights become: gguf-q4_0, gguf-q8_0, ...; gguf-f32 keeps them.")
    ] = "gguf-f32",
) -> None:
    """Write a model as a GGUF file for llama.cpp, its weights proven to be the quantizer's.

    Example: calbench export gguf smollm2 --quantizer gguf-q4_0 -o q4_0.gguf
    """
    from calbench import models
    from calbench.cache import replacing
    from calbench.runtimes import write_gguf

    if output.suffix != ".gguf":
        raise InputError(f"{output}: the name of a GGUF file ends in .gguf")
    source = models.get(models.named(model) if models.is_place(model) else model).resolve()
    module, what = _made(source, quantizer)
    with replacing(output) as temporary:
        write_gguf(source, module, temporary)
    say(f"{output}: {source.id} as {what}, {output.stat().st_size / 2**20:.1f} MiB")


def _made(source: ModelSource, quantizer: str) -> tuple[nn.Module, str]:
    from calbench import quantizers

    method = quantizers.get(quantizer)
    if not isinstance(method, quantizers.RunsElsewhere):
        raise InputError(
            f"{quantizer} writes no GGUF blocks; take gguf-f32, gguf-q8_0, gguf-q4_0, ... (calbench list"
            " quantizers)"
        )
    tokenizer = source.load_tokenizer()
    made = quantizers.quantize(method, source, probe=[tokenizer(text)["input_ids"] for text in _PROBE])
    return made.module, f"{method.id}, {made.report.model_effective_bits:.2f} bits a weight"
