"""After warm-up a call allocates its outputs and nothing else, and with arrays for those not even them.

What counts is every request of 4 KiB or more, from any thread of the process: malloc and its relatives, and mmap. Python's small
objects come from malloc, too (PYTHONMALLOC), since it maps pages for many of them now and then, whatever a call does; whether
they grow is for tests/targets/test_executable.py. A warm-up is a call of each size that comes later: it lets the arena, the
workers' own buffers and the table of memory plans grow to what they need.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CALLS = 200

CODE = f"""
import ctypes, numpy as np, tgraph as tg
from tgraph.models.bert import Bert, BertConfig
counter = ctypes.CDLL(None)
B, S = tg.dim("B"), tg.dim("S", max=512)
exe = tg.compile(tg.trace(Bert(BertConfig(vocab_size=100, hidden_size=128, num_hidden_layers=2, num_attention_heads=4,
                 intermediate_size=512)), input_ids=tg.i64[B, S], mask=tg.bool_[B, S]))
generator = np.random.default_rng(0)
shapes = [(1, 1), (1, 16), (1, 512), (2, 77), (3, 130), (8, 128), (16, 31), (64, 8)]
sizes = [shapes[i] for i in generator.integers(0, len(shapes), {CALLS})]
inputs = {{(b, s): (generator.integers(0, 100, (b, s)), np.arange(s) < generator.integers(1, s + 1, (b, 1))) for b, s in shapes}}
room = {{(b, s): tuple(tg.targets.aligned_empty(shape, np.dtype("f")) for shape in ((b, s, 128), (b, 128))) for b, s in shapes}}
expected = {{shape: exe(*inputs[shape]) for shape in shapes}}

def count(call):
    for shape in shapes:
        call(shape)
    counter.allocations_start()
    for shape in sizes:
        call(shape)
    return counter.allocations_stop()

print(count(lambda shape: exe(*inputs[shape], out=room[shape])))
print(all(np.array_equal(a, b) for shape in shapes for a, b in zip(expected[shape], room[shape])))
print(count(lambda shape: exe(*inputs[shape])))
print(sum(4 * 128 * n + 64 >= 4096 for b, s in sizes for n in (b * s, b)))
print(count(lambda shape: np.empty(4096, np.uint8)))
"""


def test_a_call_allocates_its_outputs_and_nothing_else(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler, "this test needs a C compiler"
    shim = tmp_path / "count_allocations.so"
    source = Path(__file__).with_name("count_allocations.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LD_PRELOAD": str(shim), "PYTHONMALLOC": "malloc"}
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    into_room, right, plain, outputs, control = result.stdout.split()
    assert right == "True"
    assert int(control) == CALLS  # the counter counts
    assert int(into_room) == 0
    assert int(plain) == int(outputs) > CALLS
