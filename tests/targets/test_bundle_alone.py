"""A bundle of a program, read with TVM's runtime and NumPy alone, writes the tokens that `tg.generate` writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn
from tgraph.models.gpt2 import GPT2Config, GPT2LMHeadModel
from tgraph.models.seq2seq import Seq2Seq
from tgraph.models.transformer import Transformer

B, S, T = tg.dims("B S T")
SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "bundle_alone.py"
ALONE = """
import runpy, sys
sys.modules.update(dict.fromkeys(("tgraph", "passes", "targets")))  # importing any of them is an error
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config.from_dict({"vocab_size": 61, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64}))


def transformer() -> nn.Module:
    return Transformer(source_vocab=60, target_vocab=50, dim=32, heads=4, hidden=64, layers=1, max_length=64)


def recurrent() -> nn.Module:
    return Seq2Seq(60, 50, dim=16, hidden=24, layers=2, cell="lstm", attention="additive")


def alone(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ALONE, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(("make", "options", "reads_source"), [
    (gpt2, {}, False), (transformer, {}, True),
    *(pytest.param(*case, marks=pytest.mark.thorough) for case in ((gpt2, {"weights": "i8"}, False), (recurrent, {}, True)))])
def test_the_same_tokens(make: Any, options: dict[str, Any], reads_source: bool, tmp_path: Path) -> None:
    model, generator = make(), np.random.default_rng(3)
    for parameter in model.parameters().values():  # large enough that the tokens differ
        if parameter.type.rank > 1:
            parameter.data = generator.standard_normal(parameter.type.shape).astype(np.float32)
    start = {"start": {"source": tg.i64[B, S], "source_mask": tg.bool_[B, S]}} if reads_source else {}
    exe = tg.compile(tg.trace_program(model, **start, step=tg.i64[B, T]), **options)
    session = exe.session(**({} if make is recurrent else {"B": 1, "C": 20}))
    if reads_source:
        session.start(np.array([[7, 8, 9]]), np.ones((1, 3), bool))
    tokens = tg.generate(session, [5, 3], max_new_tokens=10).tokens[0]
    assert len(set(tokens)) > 2
    first, others, chosen = exe, [], ()
    if options:  # as the second of two variants
        here = tg.targets.Target.parse("cpu")
        first = tg.compile(exe.program, f"{here},-{min(here.features & {'avx512f', 'avx2', 'sse4.2', 'neon'})}", **options)
        others, chosen = [exe], ("--target", here)
    first.save(tmp_path / "model.tgc", variants=others)
    source = ("--source", 7, 8, 9) if reads_source else ()
    ran = alone(tmp_path / "model.tgc", "--prompt", 5, 3, "--count", 10, *source, *chosen)
    assert ran.stdout.split() == [str(t) for t in tokens], (ran.returncode, ran.stderr)
    if make is gpt2:
        assert "IndexError: step: an index is outside of its table" in alone(tmp_path / "model.tgc", "--prompt", 61).stderr


def test_tiles_are_asked_for(tmp_path: Path) -> None:
    """Code for tiles (AMX) ends a process that has no permission to use them; with it, the process goes on."""
    exe = tg.compile(tg.trace_program(gpt2(), step=tg.i64[B, T]), "cpu:+amx-tile,+amx-int8", weights="i8")
    exe.save(tmp_path / "model.tgc")
    ran = alone(tmp_path / "model.tgc", "--prompt", 5, 3)
    if "amx-tile" in exe.target.missing:
        assert "which this system does not give to programs" in ran.stderr, ran.returncode
    else:
        assert len(ran.stdout.split()) == 10, (ran.returncode, ran.stderr)


def test_tgraph_cannot_be_imported_there() -> None:
    ran = subprocess.run([sys.executable, "-c", ALONE.split("sys.argv")[0] + "import tgraph"], capture_output=True, text=True)
    assert "ModuleNotFoundError" in ran.stderr
