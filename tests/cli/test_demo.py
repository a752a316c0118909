"""The demonstration, as a user sees it, with shorter measurements."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tgraph.cli import demo


def test_demo(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "POINTS", ((1, 8),))
    shown = run("demo", "--save", "minilm.tgc", "--svg", "minilm.svg").stdout
    for part in ("139", "22.6 M in 101 tensors, 90.3 MB", "fuse-qkv", "linear_gelu", "ok against the NumPy reference",
                 "paraphrases", "sentences/s", "wrote minilm.tgc", "wrote minilm.svg"):
        assert part in shown, part
    assert "FAILED" not in shown and "NO" not in shown
    assert Path("minilm.tgc").stat().st_size > 80e6 and Path("minilm.svg").stat().st_size > 1000


@pytest.mark.parametrize("similarity, ok", [
    (np.array([[1, 0.9, 0, 0], [0.9, 1, 0, 0], [0, 0, 1, 0.8], [0, 0, 0.8, 1]]), True),
    (np.array([[1, 0.6, 0, 0], [0.6, 1, 0, 0], [0, 0, 1, 0.8], [0, 0, 0.8, 1]]), False),
    (np.array([[1, 0.9, 0, 0.5], [0.9, 1, 0, 0], [0, 0, 1, 0.8], [0.5, 0, 0.8, 1]]), False),
])
def test_meaning_is_judged(similarity: np.ndarray, ok: bool) -> None:
    assert demo._meaning(similarity, Console(file=io.StringIO())) is ok
