"""ONNX's own test runner on `tgraph.onnx_backend`: every node case by the reference, a sample of them compiled for the CPU."""

from __future__ import annotations

import re

import pytest

from tests.conformance.onnx_node_cases import (
    EXCLUDED,
    Cpu,
    Reference,
    cases,
    excluded,
    of_our_types,
    of_transformers,
    part,
    require,
)

PARTS = 12


@pytest.mark.parametrize("number", range(PARTS))
def test_reference(number: int) -> None:
    require(part(cases(), number, PARTS), Reference)


@pytest.mark.parametrize("number", range(4))
def test_a_tenth_on_the_cpu(number: int) -> None:
    sample = sorted(name for name in cases() if excluded(name) is None)[::10]
    require(part(sample, number, 4), Cpu)


def test_every_exclusion_is_of_a_case() -> None:
    names = [name for name in cases() if of_our_types(name)]
    assert [pattern for pattern in EXCLUDED if not any(re.match(pattern, name) for name in names)] == []


def test_counts() -> None:
    ours = [name for name in cases() if of_our_types(name)]
    passed = [name for name in ours if excluded(name) is None]
    parts = [name for name in ours if of_transformers(name)]
    whole = [name for name in parts if excluded(name) is None]
    print(f"\nONNX's {len(cases())} node cases: {len(passed)} of {len(ours)} of tgraph's element types pass "
          f"({len(passed) / len(ours):.1%}), {len(whole)} of {len(parts)} of ops of Transformers ({len(whole) / len(parts):.1%})")
    assert len(passed) >= 0.80 * len(ours)
    assert len(whole) >= 0.98 * len(parts)
