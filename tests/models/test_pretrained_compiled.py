"""Published models, compiled: the numbers of Hugging Face's transformers (golden files), and fused kernels for all parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tgraph as tg
from tests.models.fused import assert_fused
from tests.models.pretrained_cases import CASES, real
from tests.models.pretrained_golden import feeds_of, some
from tests.models.test_pretrained import golden, trace, write_folder


def head_over_words(kind: str) -> str:
    """The architecture of a kind whose outputs are scores over the vocabulary."""
    names = ("ForMaskedLM", "LMHeadModel", "ForCausalLM", "ForConditionalGeneration")
    return next(name for name in CASES[kind].architectures if name.endswith(names))


@pytest.mark.parametrize("kind", CASES)
def test_compiled_for_a_cpu(kind: str, tmp_path: Path) -> None:
    architecture = head_over_words(kind)
    feeds = feeds_of(kind, "small", architecture)
    graph = trace(tg.models.from_pretrained(write_folder(tmp_path / "m", kind, architecture)), feeds)
    executable = tg.compile(graph, "cpu")
    expected = golden(kind)["architectures"][architecture]["outputs"]["logits"]
    np.testing.assert_allclose(some(real(executable.run(feeds)["logits"], feeds)), expected, atol=1e-4)
    assert_fused(executable, graph)
