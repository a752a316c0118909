"""Files of the text form (`layer.tg`), each with a second one for the data that the text refers to (`layer.safetensors`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..ir.errors import FormatError
from ..ir.file_formats import format
from ..ir.graph import Graph
from ..ir.parser import parse_program
from ..ir.printer import SHOWN_ELEMENTS
from ..ir.program import Program
from ..ir.values import Constant
from ..ir.weights import check_weights
from .disk import replacing
from .safetensors import load_safetensors, open_tensors, save_safetensors

MARK = "tgraph"  # in the metadata of data files that were written here, which alone may be replaced


@format(".tg")
class TextFormat:
    """The text form, with parameters and large constants in a .safetensors file beside it."""

    @staticmethod
    def write(obj: Any, path: Path, *, weights: bool = True, scopes: bool = True, locations: bool = False) -> None:
        """Write text and data. `weights=False` leaves the parameters' data out; constants are always written.

        Raises FormatError if only some parameters have data, or if the data file is somebody else's checkpoint.
        """
        if not isinstance(obj, (Graph, Program)):
            raise FormatError(f"{path}: expected a Graph or a Program, got {type(obj).__name__}")
        tensors = {**(_parameters(obj, path) if weights else {}), **_constants(obj, path)}
        beside = data_path(path)
        ours = beside.exists() and MARK in open_tensors(beside).metadata
        if tensors:
            if beside.exists() and not ours:
                raise FormatError(f"{path} keeps its data in {beside}, which exists and was not written by tgraph; "
                                  "choose another name")
            save_safetensors(beside, tensors, {MARK: obj.fingerprint})
        elif ours:
            beside.unlink()  # data of what the text held before
        with replacing(path) as file:
            file.write((obj.text(scopes=scopes, locations=locations) + "\n").encode())

    @staticmethod
    def read(path: Path, *, weights: bool = True) -> Graph | Program:
        """Read text and data; a Graph if the text holds one, else a Program. `weights=False` reads the text only.

        Raises ParseError for the text, WeightsError if the data does not fit it.
        """
        try:
            program = parse_program(path.read_text(encoding="utf-8"), file=str(path))
        except UnicodeDecodeError as error:
            raise FormatError(f"{path} is no text: {error}") from None
        if weights and data_path(path).exists():
            load_data(program, data_path(path))
        return next(iter(program.graphs.values())) if len(program) == 1 else program


def data_path(path: Path) -> Path:
    """The path of the data of a text file."""
    return path.with_suffix(".safetensors")


def load_data(program: Program, path: Path) -> None:
    """Load the data of constants, and of all parameters unless the file has none.

    Raises WeightsError that lists missing, unexpected and misshapen names; FormatError for a constant with other bytes.
    """
    tensors = load_safetensors(path)
    given = {name: tensors[name] for name in tensors if not name.startswith("sha256:")}
    if given:
        for name, array in check_weights(given, program.parameters, program.weights.aliases, str(path)).items():
            program.weights.set(name, array)
    for constant in _large(_blocks(program)):
        key = f"sha256:{constant.digest}"
        if key not in tensors:
            raise FormatError(f"{path} has no data for constant {key}: {constant.type}")
        raw = tensors[key].reshape(-1).view(np.uint8)
        if hashlib.sha256(raw.data).hexdigest() != constant.digest or raw.size != constant.type.nbytes:
            raise FormatError(f"{path}: the data of constant {key} is damaged")
        constant.data = raw.view(constant.dtype.numpy).reshape(constant.type.evaluate({}))


def _blocks(obj: Graph | Program) -> list[Graph]:
    return list(dict.fromkeys(block for g in obj.named_graphs().values() for block in (*g.functions.values(), g)))


def _parameters(obj: Graph | Program, path: Path) -> dict[str, np.ndarray]:
    names = list(dict.fromkeys(name for block in _blocks(obj) for name in block.parameters))
    missing = [name for name in names if name not in obj.weights]
    if missing and len(missing) < len(names):
        raise FormatError(f"{path}: some parameters have no data: {', '.join(missing)} (write with weights=False)")
    return {} if missing else {name: obj.weights[name] for name in names}


def _large(blocks: Iterable[Graph]) -> list[Constant]:
    """The constants that the text refers to by their digest."""
    return [c for block in blocks for c in block.constants.values()
            if (c.uses or block.is_output(c)) and np.prod(c.type.evaluate({})) > SHOWN_ELEMENTS]


def _constants(obj: Graph | Program, path: Path) -> dict[str, np.ndarray]:
    found = {}
    for constant in _large(_blocks(obj)):
        if constant.data is None:
            raise FormatError(f"{path}: constant sha256:{constant.digest} has no data")
        found[f"sha256:{constant.digest}"] = constant.data
    return found
