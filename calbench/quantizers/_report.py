"""What was done to a model, how large it is now, and what proves it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from calbench.errors import InputError


@dataclass(frozen=True)
class Proof:
    """Measured differences between a quantized model and its full-precision reference.

    Parameters
    ----------
    n_modules, n_weights
        Layers whose weights were compared and found on the claimed grid, and weights in them.
    min_weight_error, max_weight_error
        Smallest and largest ``‖W_q − W‖ / ‖W‖`` (Frobenius) over these layers.
    n_probe
        Texts in the probe.
    mean_logit_change, max_logit_change
        Of ``|Δlogit|`` over the probe's logits (a causal LM's: after the last token).
    kl_divergence
        Mean KL(reference ‖ quantized) over the probe, in nats.
    coverage
        Share of the weights outside embeddings and heads that is quantized; None in records of old.
    """

    n_modules: int
    n_weights: int
    min_weight_error: float
    max_weight_error: float
    n_probe: int
    mean_logit_change: float
    max_logit_change: float
    kl_divergence: float
    coverage: float | None = None


@dataclass(frozen=True)
class QuantizationReport:
    """What a quantizer did to one model.

    Parameters
    ----------
    quantizer, model
        Their ids.
    modules
        Format of each quantized module, by name. Empty for the reference.
    effective_bits
        Stored bits per weight of the quantized modules, scales and zero points included; 32 for
        the reference.
    model_effective_bits
        The same over all parameters of the model.
    resident_bytes
        What the model's tensors take, counted from the tensors, each storage once.
    working_bytes
        The same plus the dequantized copies that the kernel keeps between calls.
    checkpoint_bytes
        On disk; None if nothing was saved.
    tensors_hash
        SHA-256 over every tensor of the quantized model: equal means bit-identical.
    seconds
        ``build`` (load and quantize), or ``reload`` from a checkpoint, ``load`` (of the reference)
        and ``proof``. ``build`` of a reloaded model is what it took when it was made.
    versions
        Of the libraries at work.
    kernel
        The code path that computes a quantized layer.
    epsilon
        Largest rounding error of one weight relative to the largest of its group.
    batch_dependent
        Whether an item's logits may depend on the rest of its batch.
    from_checkpoint
        Whether the weights were reloaded, not quantized in this process.
    proof
        None for the reference only.
    """

    quantizer: str
    model: str
    modules: Mapping[str, str]
    effective_bits: float
    model_effective_bits: float
    resident_bytes: int
    working_bytes: int
    checkpoint_bytes: int | None
    tensors_hash: str
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    kernel: str
    epsilon: float
    batch_dependent: bool
    from_checkpoint: bool
    proof: Proof | None = field(default=None)

    def __post_init__(self) -> None:
        for name in ("modules", "seconds", "versions"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def formats(self) -> dict[str, int]:
        """How many modules have each format."""
        return dict(Counter(self.modules.values()))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON; :meth:`from_dict` reads it back."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = {k: dict(v) if isinstance(v, Mapping) else v for k, v in fields.items()}
        plain["proof"] = asdict(self.proof) if self.proof else None
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> QuantizationReport:
        """Read what :meth:`to_dict` wrote.

        Raises
        ------
        InputError
            A field is missing or unknown.
        """
        try:
            proof = values["proof"]
            return cls(**{**values, "proof": Proof(**proof) if proof else None})
        except (KeyError, TypeError) as error:
            raise InputError(f"this is no quantization report: {error}") from None
