"""Every op and model compiles for a GPU: without spilled registers, with tensor cores where halves are multiplied.

All of it at f32 and a part at f16, for sm_90; `python -m tests.targets.cuda.resources` is the full table.
"""

from __future__ import annotations

import pytest

import tgraph as tg
from targets.cuda.compilers import COMPILERS
from tests.targets.cuda.resources import compiled, graphs

pytestmark = pytest.mark.skipif(not any(find() for find in COMPILERS.values()), reason="neither NVRTC nor nvcc is here")
HALVES = {"Bert", "Transformer", "Bert without padding"}
CASES = [pytest.param(name, graph, passes, precision, id=f"{name}-{precision}") for name, graph, passes in graphs()
         for precision in (("f32", "f16") if name in HALVES else ("f32",))]


@pytest.mark.parametrize(("name", "graph", "passes", "precision"), CASES)
def test_sm_90(name: str, graph: tg.Graph, passes: str | None, precision: str) -> None:
    found = compiled(name, graph, passes, "sm_90", precision)
    assert found.kernels and not found.spilled and not found.without_tensor_cores
    assert found.products >= (6 if precision == "f16" else 0)
