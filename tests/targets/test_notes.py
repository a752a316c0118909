"""What kernels say about how they were chosen."""

from __future__ import annotations

from typing import Any

import pytest

import tgraph as tg
from targets.base.target import Target
from targets.codegen.kernel_builder import NOTES
from targets.lowering.lower import emit_kernel
from targets.lowering.pipeline import kernel_graph

B = tg.dim("B")


def notes(build: Any, **specs: Any) -> str:
    """Those of the only kernel of a function."""
    graph = kernel_graph(tg.trace(build, **specs), Target.parse("cuda:sm_90"))
    (function,) = graph.functions.values()
    return str(emit_kernel(function, Target.parse("cuda:sm_90")).attrs[NOTES])


@pytest.mark.parametrize(("dtype", "words"), [
    (tg.f16, "our own kernel: tensor cores, tiles of 128x128 or 64x64 or 32x32 by size, asynchronous copies of x and W"),
    (tg.f32, "our own kernel: no tensor cores for float32"),
])
def test_products_say_which_kernels_they_have(dtype: Any, words: str) -> None:
    note = notes(lambda x, w: tg.linear(x, w), x=dtype[B, 128], w=dtype[128, 128])
    assert note.startswith(words)
    note = notes(lambda x, w: x @ w, x=dtype[B, 8, 128], w=dtype[B, 128, 8])
    assert note.startswith(words.split(",")[0])


def test_others_may_have_nothing_to_say() -> None:
    assert notes(lambda x: tg.relu(x), x=tg.f32[B, 8]) == ""
