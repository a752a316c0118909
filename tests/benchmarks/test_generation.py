"""What `python -m benchmarks.generation` makes of its times, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.generation import Timed, main
from benchmarks.generation_curve import Curve


def curve() -> Curve:
    found = {"f32": {"1x16": [Timed("tgraph", [0.001, 0.002, 0.003], 1.0), Timed("other", [0.002, 0.002, 0.003], 1.0)],
                     "1x116": [Timed("tgraph", [0.004] * 3, 1.0), Timed("other", [0.006] * 3, 1.0)]}}
    return Curve(found, token_bytes=10_000, bandwidth=1e9)


def test_a_curve_compares_with_reading_the_cache() -> None:
    lines = curve().tables().splitlines()
    assert "memory is read at 1.0 GB/s" in lines[1]
    assert lines[3] == "| past | tgraph | added | reading | other |"
    assert lines[5] == "| 16 | 2.00 ms | 0.00 ms | 0.00 ms | 1.00 x |"  # the median of 2, 1 and 1, round by round
    assert lines[6] == "| 116 | 4.00 ms | 2.00 ms | 1.00 ms | 1.50 x |"


def test_a_curve_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    curve().draw(tmp_path / "curve.svg")
    assert "reading the cache" in (tmp_path / "curve.svg").read_text()


@pytest.mark.parametrize(("options", "words"), [
    (["--plot", "x.svg"], "give both"),
    (["--curve", "--model", "t5"], "T5 has none"),
])
def test_options_that_do_not_go_together(options: list[str], words: str) -> None:
    found = CliRunner().invoke(main, options)
    assert found.exit_code == 2 and words in found.output
