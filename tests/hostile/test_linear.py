"""Large files take time in proportion to their size. What is counted is calls of functions: a machine's clock decides nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tests.counted_calls import calls
from tests.onnx_models import F32, model, node
from tgraph.formats.json import to_json


def onnx_chain(nodes: int) -> bytes:
    """A chain of ops over parameters, of which each is used once, and constants."""
    made = [node("Add" if i % 2 else "Relu", f"v{i} w{i}" if i % 2 else f"v{i}", f"v{i + 1}") for i in range(nodes)]
    return model(made, {"v0": (F32, ["B", 2])}, {f"v{nodes}": (F32, ["B", 2])},
                 {f"w{i}": np.ones(2, "f") for i in range(1, nodes, 2)}).SerializeToString()


def onnx_inputs(count: int) -> bytes:
    """As many inputs as outputs, and ifs that know their branch."""
    return model([node("Relu", f"x{i}", f"y{i}") for i in range(count)], {f"x{i}": (F32, [2]) for i in range(count)},
                 {f"y{i}": (F32, [2]) for i in range(count)}).SerializeToString()


def text(nodes: int) -> str:
    body = "".join(f"  %{i} = relu({'%x' if i == 0 else f'%{i - 1}'}) : f32[B]\n" for i in range(nodes))
    return f"graph g(%x: f32[B]) -> (y: f32[B]) {{\n{body}  return (y: %{nodes - 1})\n}}\n"


def as_json(nodes: int) -> str:
    return json.dumps(to_json(tg.parse(text(nodes))))


def read_json(content: str, path: Path) -> object:
    path.write_text(content)
    return tg.read(path)


@pytest.mark.parametrize(("make", "read"), [
    (onnx_chain, lambda content, path: tg.import_onnx(content)), (onnx_inputs, lambda content, path: tg.import_onnx(content)),
    (text, lambda content, path: tg.parse(content)), (as_json, read_json),
])
def test_calls_grow_with_the_file(make: Callable[[int], Any], read: Callable[[Any, Path], object], tmp_path: Path) -> None:
    read(make(2), tmp_path / "x.json")  # imports modules
    small, large = (calls(lambda n=n: read(made, tmp_path / "x.json")) for n in (150, 600) for made in [make(n)])  # type: ignore[misc]
    assert large < 4.6 * small


def test_dims_that_must_be_equal_do_not_multiply_the_work() -> None:
    """Each of many sizes equal to the first, asked for again by every op: in proportion to their square at most."""

    def equal(count: int) -> str:
        inputs = ", ".join(f"%x{i}: f32[D{i}]" for i in range(count))
        nodes = "".join(f"  %{i} = add({f'%{i - 1}' if i else '%x0'}, %x{i + 1})\n" for i in range(count - 1))
        known = ", ".join(f"D0 == D{i}" for i in range(1, count))
        return f"graph g({inputs}) -> (y: f32[D0]) where {known} {{\n{nodes}  return (y: %{count - 2})\n}}\n"

    tg.parse(equal(3))
    small, large = (calls(lambda n=n: tg.parse(equal(n))) for n in (20, 80))  # type: ignore[misc]
    assert large < 20 * small
