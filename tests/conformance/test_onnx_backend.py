"""ONNX's own test runner on `tgraph.onnx_backend`: every case by the reference, a sample of nodes compiled for the CPU, and all
small models."""

from __future__ import annotations

import re

import pytest

from tests.conformance.onnx_node_cases import (
    EXCLUDED,
    KINDS,
    Cpu,
    Reference,
    cases,
    excluded,
    of_kind,
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
    sample = sorted(name for name in of_kind("node") if excluded(name) is None)[::10]
    require(part(sample, number, 4), Cpu)


@pytest.mark.parametrize("number", range(4))
def test_models_on_the_cpu(number: int) -> None:
    models = [name for name in of_kind(*KINDS) if cases()[name].kind != "node" and excluded(name) is None]
    require(part(models, number, 4), Cpu)


def test_every_exclusion_is_of_a_case() -> None:
    names = [name for name in cases() if of_our_types(name)]
    assert [pattern for pattern in EXCLUDED if not any(re.match(pattern, name) for name in names)] == []


def test_counts() -> None:
    for kind in KINDS:
        ours = [name for name in of_kind(kind) if of_our_types(name)]
        print(f"\n{kind}: {sum(excluded(name) is None for name in ours)} of {len(ours)} cases of tgraph's element types pass, "
              f"of {len(of_kind(kind))}", end="")
    ours = [name for name in of_kind("node") if of_our_types(name)]
    passed = [name for name in ours if excluded(name) is None]
    parts = [name for name in ours if of_transformers(name)]
    whole = [name for name in parts if excluded(name) is None]
    print(f"\nof nodes {len(passed) / len(ours):.1%}; of those of ops of Transformers {len(whole)} of {len(parts)} "
          f"({len(whole) / len(parts):.1%})")
    assert len(passed) >= 0.80 * len(ours)
    assert len(whole) >= 0.98 * len(parts)
