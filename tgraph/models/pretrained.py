"""Models from folders as Hugging Face's transformers writes them: config.json, weights, tokenizer.json."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.errors import FormatError, WeightsError
from ..ir.file_formats import read_arrays
from ..ir.json_text import json_object
from .heads import EncoderModel, Head, Model
from .loading import load_checkpoint

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from .families import Family

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def from_pretrained(folder: str | os.PathLike[str], architecture: str | None = None, *, ignore: Iterable[str] = (),
                    output_attentions: bool = False) -> Model:
    """The model in a folder, with its weights in f32.

        model = tg.models.from_pretrained("all-mpnet-base-v2")
        graph = tg.trace(model, **model.specs)

    config.json says which model it is; architecture: another one of its family, such as "BertModel" of a checkpoint with a head.
    Weights are model.safetensors or pytorch_model.bin, in one file or several. They are loaded strictly; ignore: beginnings of
    the names of weights that are not wanted, such as "cls.". output_attentions: of encoders, give the attention weights too.

    Raises FormatError for a model, or an entry of config.json, that tgraph does not have, WeightsError that lists missing,
    unexpected and misshapen weights, and OSError if there is no such folder.
    """
    folder = Path(folder)
    values = _config_of(folder)
    family, name = _family_of(folder, values, architecture)
    with _entries_of(folder / "config.json"):
        config = family.config.from_dict(values)
    weights = _weights_of(folder)
    options: dict[str, Any] = {"output_attentions": True} if output_attentions else {}
    make: Any = family.architectures[name]
    if output_attentions and not issubclass(make, (EncoderModel, Head)):
        raise FormatError(f"{name} has no output_attentions; the encoders have")
    base = next(iter(family.architectures)) == name
    if base and getattr(make, "has_pooler", False) and not any("pooler." in weight for weight in weights):
        options["pooler"] = False  # many checkpoints of sentence models are saved without
    with _entries_of(folder / "config.json"):
        model: Model = make(config.fitted_to(weights), **options)
    try:
        load_checkpoint(model, weights, cast=True, prefix=family.prefix, ignore=ignore)
    except WeightsError as error:
        raise WeightsError(f"{error}\n  in {folder}, read as {name}; {_advice(family, name)}") from None
    return model


def load_tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer in a model's folder (tokenizer.json), by the library `tokenizers`. Raises FormatError for other forms."""
    file = Path(folder) / "tokenizer.json"
    if not file.exists():
        raise FormatError(f"{folder} has no tokenizer.json; with transformers, AutoTokenizer.from_pretrained(folder)"
                          ".save_pretrained(folder) writes one")
    return parse_tokenizer(file.read_bytes(), file)


def parse_tokenizer(content: bytes, where: object) -> Tokenizer:
    """The tokenizer in the bytes of a tokenizer.json. Raises FormatError that names `where` they are from."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(content.decode())
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # Rust's, which is no Exception
            raise
        raise FormatError(f"{where} is no tokenizer that the library tokenizers reads: {error}") from None


@contextmanager
def _entries_of(file: Path) -> Iterator[None]:
    """Context in which a file's entries are used: one of a type or value that nothing looks for is an error of the file."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{file}: {error}") from None
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise FormatError(f"{file}: its entries make no model: {type(error).__name__}: {error}") from error


def _config_of(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder; from_pretrained takes one with config.json and weights")
    if not file.exists():
        raise FormatError(f"{folder} has no config.json, so it is not known what model it is")
    return json_object(file)


def _family_of(folder: Path, values: Mapping[str, Any], architecture: str | None) -> tuple[Family, str]:
    """The family, and the name of the architecture: the one asked for, that of config.json, or the model without a head."""
    from .families import FAMILIES  # all models, which only this needs

    kind = values.get("model_type")
    if kind is None:  # so it was before 2020; then the architecture says it
        listed = values.get("architectures")
        named = architecture or (listed[0] if isinstance(listed, list) and listed else None)
        kind = next((kind for kind, family in FAMILIES.items() if isinstance(named, str) and named in family.architectures), None)
    if not isinstance(kind, str) or kind not in FAMILIES:
        unsaid = '; architecture="BertModel", say, tells it, too' if kind is None else ""
        raise FormatError(f"{folder / 'config.json'}: model_type is {kind!r}; known: {', '.join(FAMILIES)}{unsaid}")
    family = FAMILIES[kind]
    names = [architecture] if architecture is not None else values.get("architectures") or [next(iter(family.architectures))]
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str) or names[0] not in family.architectures:
        shown = ", ".join(map(str, names)) if isinstance(names, list) else names
        asked = f"{folder}:" if architecture is not None else f"{folder / 'config.json'}: architectures is"
        raise FormatError(f"{asked} {shown}; known for {kind}: {', '.join(family.architectures)}, by architecture=...")
    return family, names[0]


def _weights_of(folder: Path) -> Mapping[str, np.ndarray]:
    for name in _WEIGHTS:
        if (folder / name).exists():
            return read_arrays(folder / name)
    others = sorted(file.name for file in folder.iterdir() if file.suffix in (".h5", ".msgpack", ".gguf", ".onnx", ".bin", ".pt"))
    there = f"; there is {', '.join(others)}" if others else ""
    raise FormatError(f"{folder} has none of {', '.join(_WEIGHTS)}{there}; with transformers, model.save_pretrained(folder) "
                      "writes one")


def _advice(family: Family, name: str) -> str:
    others = [other for other in family.architectures if other != name]
    return f"architecture= takes {', '.join(others)}, and ignore= beginnings of names that are not wanted"
