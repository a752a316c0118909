"""Every node case of ONNX's own test runner that tgraph passes, compiled for the CPU."""

from __future__ import annotations

import pytest

from tests.conformance.onnx_node_cases import Cpu, excluded, models, part, surprises

PARTS = 24


@pytest.mark.parametrize("number", range(PARTS))
def test_cpu(number: int) -> None:
    names = [name for name in models() if excluded(name) is None]
    assert list(surprises(part(names, number, PARTS), Cpu)) == []
