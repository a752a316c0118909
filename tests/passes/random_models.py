"""Hypothesis strategy for graphs that passes are made for: norms, activations and attention in primitives, products."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tgraph.ir.graph import Graph
from tgraph.testing.generator.pieces import Pieces


@st.composite
def models(draw: Any) -> Graph:
    """A valid graph of a few pieces, of which not all reach an output."""
    generator = draw(st.randoms(use_true_random=True))  # a seed is what hypothesis draws
    maker = Pieces(generator)
    for _ in range(generator.randint(1, 6)):
        maker.piece()
    chosen = generator.choices(maker.values, k=generator.randint(1, 2))
    maker.graph.set_outputs((f"y{i}", value) for i, value in enumerate([maker.values[-1], *chosen[1:]]))
    return maker.graph
