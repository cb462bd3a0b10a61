"""Models that are named where they are used: a folder, a hub id, a GGUF file, an adapter's folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from calbench.errors import InputError, SetupRequiredError, as_refusal
from calbench.models._derived import head_size
from calbench.models._gguf import read_header
from calbench.models._hub import download
from calbench.models._registry import registry
from calbench.models._served import SERVED, Address, is_address
from calbench.models._sources import Architecture, ModelSource
from calbench.models._whole_files import quantization_settings, settings_in

_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_HEAD = "ForSequenceClassification"
_MULTI_LABEL = "multi_label_classification"
_SMALL_FILES = ("config.json", "adapter_config.json", "tokenizer_config.json")
# What a tokenizer that knows no limit writes down is astronomically large.
_MAX_LENGTH = 4096
# transformers counts their positions from the padding token's id on.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "longformer")
_OPEN: dict[str, str] = {}


def is_place(name: str) -> bool:
    """Whether a name says where a model is, and is not an id or a glob of ids.

    >>> [is_place(name) for name in ("minilm", "*bert", "./my-bert", "org/name@main", "m-q4_k_m.gguf")]
    [False, False, True, True, True]
    """
    return (
        "/" in name or "\\" in name or name.startswith("~") or name.endswith(".gguf") or name in (".", "..")
    )


def named(place: str, *, classes: Sequence[str] = ()) -> str:
    """Register the model that is at a place, and return its id: short, and unlike every other's.

    Only the configuration is read (of a hub id: fetched), no weights.

    Parameters
    ----------
    place
        A folder with a model or a peft adapter, ``org/name`` or ``org/name@revision`` on the hub, or a
        GGUF file.
    classes
        Names of a classifier's outputs, in its order, where its configuration has none.

    Raises
    ------
    InputError
        There is no such place, its head has another number of outputs, or no model that can be asked;
        the message says what to write.
    SetupRequiredError
        It is on the hub, which cannot be reached.
    """
    if place not in _OPEN:
        source = replace(source_at(place), id=_free_id(place))
        if classes:
            source = _renamed(source, tuple(classes))

        def opened() -> ModelSource:
            return source

        # Of an address its public form: a listing may show it.
        opened.__module__, opened.__qualname__ = source.builds[0][1] if source.builds else place, source.id
        registry.register(source.id)(opened)
        _OPEN[place] = source.id
    return _OPEN[place]


def _renamed(source: ModelSource, classes: tuple[str, ...]) -> ModelSource:
    if len(classes) != len(source.classes):
        raise InputError(
            f"model {source.id!r}: its head has {len(source.classes)} outputs"
            f" ({', '.join(source.classes) or 'none'}), and {len(classes)} classes are named"
            f" ({', '.join(classes)}); name them all, in its order"
        )
    return replace(source, classes=classes)


def get(name: str) -> ModelSource:
    """Return the model source with this id, or at this place; no weights are fetched or loaded.

    Raises
    ------
    UnknownNameError
        No model has the id.
    InputError, SetupRequiredError
        There is no model at the place; see :func:`named`.
    CalbenchError
        Its declaration is wrong; the message says how.
    """
    factory, _, arguments = registry.bind(named(name) if is_place(name) else name)
    try:
        return factory(**arguments)
    except Exception as error:
        raise as_refusal(f"the declaration of model {name!r}", error) from error


def declared() -> tuple[str, ...]:
    """Ids of the models that a project declares, in ``calbench.toml`` or in code, sorted."""
    ours = ("calbench.models.", "http://", "https://", *_OPEN)
    origins = {name: registry.origin(name) for name in registry.names()}
    return tuple(
        name for name, origin in origins.items() if not origin.startswith(ours) and not origin.endswith(")")
    )


def source_at(place: str, *, architecture: Architecture | None = None) -> ModelSource:
    """Return the model at a place, without registering it; see :func:`named`.

    With ``architecture`` it need not say itself what it is, as the base of an adapter may have no head.
    """
    if is_address(place):
        return served_at(place)
    path = Path(place).expanduser()
    if place.endswith(".gguf"):
        return _of_gguf(path)
    if path.is_dir():
        return _of_folder(path, location=str(path.resolve()), revision=None, architecture=architecture)
    hub = _HUB_ID.fullmatch(place)
    if hub is None or place.startswith((".", "~")):
        raise InputError(f"there is no model at {place!r}: no such folder; check the path")
    folder = download(hub["id"], hub["revision"], _SMALL_FILES)
    return _of_folder(folder, location=hub["id"], revision=hub["revision"], architecture=architecture)


def served_at(address: str) -> ModelSource:
    """Return the model at a server's address, with the one build ``served``; nothing is asked yet."""
    public = str(Address.parse(address))
    return ModelSource(
        "unnamed",
        "causal-lm",
        "",
        max_length=_MAX_LENGTH,
        baseline="a served build",
        builds=((SERVED, public),),
        reference=SERVED,
    )


def _of_folder(
    folder: Path, *, location: str, revision: str | None, architecture: Architecture | None
) -> ModelSource:
    if (folder / "adapter_config.json").is_file():
        return _of_adapter(folder, location, revision)
    config = settings_in(folder / "config.json")
    if config is None:
        files = sorted(path.name for path in folder.glob("*.gguf"))
        hint = f"name a file in it, such as {folder / files[0]}" if files else "save the model there"
        raise InputError(f"{location} holds no config.json, so it is no model; {hint}")
    architecture = architecture or _architecture(config, location)
    return ModelSource(
        "unnamed",
        architecture,
        location,
        revision=revision,
        classes=_classes(config, location) if architecture == "sequence-classification" else (),
        max_length=_max_length(config, settings_in(folder / "tokenizer_config.json") or {}),
        multi_label=config.get("problem_type") == _MULTI_LABEL,
    )


def _of_adapter(folder: Path, location: str, revision: str | None) -> ModelSource:
    settings = settings_in(folder / "adapter_config.json") or {}
    base_name = settings.get("base_model_name_or_path")
    if not base_name or not isinstance(base_name, str):
        raise InputError(f"{location} is a peft adapter that names no base; write base_model_name_or_path")
    wanted: Architecture | None = (
        "sequence-classification" if settings.get("task_type") == "SEQ_CLS" else None
    )
    beside = folder / base_name
    if (beside / "adapter_config.json").is_file() or (Path(base_name) / "adapter_config.json").is_file():
        raise InputError(
            f"{location} is a peft adapter whose base {base_name} is an adapter, too; merge that one into its"
            " base, save the model, and name it in base_model_name_or_path"
        )
    try:
        base = source_at(str(beside) if beside.is_dir() else base_name, architecture=wanted)
    except (InputError, SetupRequiredError) as error:
        raise type(error)(f"{location} is a peft adapter, and its base is missing: {error}") from error
    classes, n_outputs = base.classes, head_size(folder)
    multi_label = base.multi_label
    if own := settings_in(folder / "config.json"):
        classes, multi_label = _classes(own, location), own.get("problem_type") == _MULTI_LABEL
    elif n_outputs and n_outputs != len(classes):
        classes = tuple(f"LABEL_{index}" for index in range(n_outputs))
    return replace(
        base,
        location=location,
        revision=revision,
        classes=classes if base.architecture == "sequence-classification" else (),
        base=base,
        multi_label=multi_label,
        baseline=f"fp32 weights of {base_name}, adapter merged",
    )


def _of_gguf(path: Path) -> ModelSource:
    if not path.is_file():
        raise InputError(f"there is no model at '{path}': no such file; check the path")
    header = read_header(path)
    return ModelSource(
        "unnamed",
        "causal-lm",
        str(path.resolve()),
        max_length=min(header.context_length or _MAX_LENGTH, _MAX_LENGTH),
        baseline=f"fp32, decoded from a GGUF file of {header.types}",
        gguf=str(path.resolve()),
    )


def _architecture(config: Mapping[str, Any], location: str) -> Architecture:
    names = [str(name) for name in config.get("architectures") or ()]
    if any(name.endswith(_HEAD) for name in names):
        return "sequence-classification"
    if any(name.endswith(_CAUSAL) for name in names):
        return "causal-lm"
    found = f"its config.json names {', '.join(names)}" if names else "its config.json names no architecture"
    raise InputError(
        f"{location} cannot be asked: {found}; calbench asks models with a classification head"
        f" (...{_HEAD}) and causal language models (...ForCausalLM)"
    )


def _classes(config: Mapping[str, Any], location: str) -> tuple[str, ...]:
    by_index = config.get("id2label") or {str(i): f"LABEL_{i}" for i in range(config.get("num_labels", 2))}
    if not isinstance(by_index, dict) or not all(str(key).isdecimal() for key in by_index):
        raise InputError(
            f"{location}: id2label in its config.json does not give each output's number a name; write it as"
            ' {"0": "billing", "1": "other"}'
        )
    if config.get("problem_type") == "regression" or len(by_index) < 2:
        raise InputError(
            f"{location} has a regression head: its outputs are no probabilities of classes, so there is"
            " nothing to calibrate here"
        )
    return tuple(str(by_index[key]) for key in sorted(by_index, key=int))


def _max_length(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int:
    positions = config.get("max_position_embeddings") or config.get("n_positions")
    if positions and config.get("model_type") in _OFFSET_POSITIONS:
        positions -= (config.get("pad_token_id") or 0) + 1
    known = [
        n for n in (positions, tokenizer.get("model_max_length")) if isinstance(n, int | float) and n > 0
    ]
    return int(min([*known, _MAX_LENGTH]))


def is_candidate(place: str) -> str | None:
    """Say why what is at a place can be no reference of its own; None if it can.

    A GGUF file and a folder of quantized weights hold what a compressed model says; what it was made
    from is another model.
    """
    if place.endswith(".gguf"):
        return "a GGUF file"
    if "://" in place:
        return "a server's address"
    folder = Path(place).expanduser()
    settings = quantization_settings(folder) if folder.is_dir() else None
    return f"a folder of quantized weights ({settings.get('quant_method', 'unnamed')})" if settings else None


def _free_id(place: str) -> str:
    """Return the last part of a place as an id; if that is taken the part before it comes too."""
    if is_address(place):
        address = Address.parse(place)
        place = address.model or f"{address.host}-{address.port}"
    path, _, revision = place.removesuffix(".gguf").partition("@")
    parts = [part for part in re.split(r"[/\\]", str(Path(path).expanduser())) if part not in ("", ".", "..")]
    parts = parts or [Path(path).resolve().name]
    tail = f"-{revision}" if revision else ""
    for candidate in (parts[-1] + tail, "-".join(parts[-2:]) + tail):
        name = re.sub(r"[^a-z0-9._-]+", "-", candidate.lower()).strip("-._")
        if name and name not in registry.names():
            return name
    return f"{name or 'model'}-{hashlib.sha256(place.encode()).hexdigest()[:6]}"
