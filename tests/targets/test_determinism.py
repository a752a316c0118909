"""What is written depends on graph, target and versions alone: not on hashes, threads, the cache or the order of imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def written(folder: Path, *arguments: str, **environment: str) -> dict[str, bytes]:
    """All files that a process writes."""
    done = subprocess.run([sys.executable, "-m", "tests.targets.everything_written", str(folder), *arguments], cwd=ROOT,
                          env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def require_same(first: dict[str, bytes], second: dict[str, bytes]) -> None:
    assert list(first) == list(second)
    assert [name for name in first if first[name] != second[name]] == []


def test_seeds_of_hashes(tmp_path: Path) -> None:
    seeds = [written(tmp_path / seed, "--only", "layer_i8", "--bundles", PYTHONHASHSEED=seed) for seed in ("1", "2")]
    assert list(seeds[0]) == ["layer_i8/bundle.llvm", "layer_i8/bundle.tgc"]
    require_same(*seeds)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return written(tmp_path_factory.mktemp("usual") / "x", PYTHONHASHSEED="0")


@pytest.mark.thorough
@pytest.mark.parametrize(("first", "change"), [
    ("targets", {"PYTHONHASHSEED": "1", "TVM_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}),
    ("passes.debug.explorer", {"PYTHONHASHSEED": "3"}),
], ids=str)
def test_everything(usual: dict[str, bytes], tmp_path: Path, first: str, change: dict[str, str]) -> None:
    """Several changes at once, as each process writes all: alone they tell which one it was."""
    require_same(usual, written(tmp_path / "x", "--first", first, **change))


@pytest.mark.thorough
def test_everything_with_the_cache(usual: dict[str, bytes], tmp_path: Path) -> None:
    """A miss, and a hit; with other changes, as above."""
    cache = tmp_path / "cache"
    for first, seed, threads in (("tvm", "2", "2"), ("tgraph.models.seq2seq", "77", "3")):
        require_same(usual, written(tmp_path / first, "--first", first, TGRAPH_CACHE=str(cache), PYTHONHASHSEED=seed,
                                    TVM_NUM_THREADS=threads))
        assert any(cache.iterdir())
