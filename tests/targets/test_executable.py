"""One executable: any sizes, any threads, steady memory, the same bits at any thread count, saved and loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.base.cores import default_threads
from targets.runtime.archive import Archive
from targets.runtime.bundle import FIELDS
from targets.runtime.runner import runner, thread_limit
from tgraph import nn
from tgraph.models.bert import Bert, BertConfig

ROOT = Path(__file__).resolve().parents[2]
B, S = tg.dims("B S")
SMALL = BertConfig(vocab_size=100, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
                   max_position_embeddings=256)


def feeds(batch: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, length + 1, batch)
    return {"input_ids": generator.integers(0, 100, (batch, length)), "mask": np.arange(length) < lengths[:, None]}


@pytest.fixture(scope="module")
def exe() -> tg.Executable:
    return tg.compile(tg.trace(Bert(SMALL), input_ids=tg.i64[B, S], mask=tg.bool_[B, S]))


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 5), (7, 16), (3, 200), (16, 33)])
def test_any_batch_and_length(exe: tg.Executable, batch: int, length: int) -> None:
    given = feeds(batch, length)
    expected = tg.reference.run(exe.graph, given)
    for name, value in exe.run(given).items():
        assert np.abs(value - expected[name]).max() < 1e-5, name


def test_an_empty_batch(exe: tg.Executable) -> None:
    hidden, pooled = exe(np.zeros((0, 4), np.int64), np.zeros((0, 4), bool))
    assert hidden.shape == (0, 4, 64) and pooled.shape == (0, 64)


def test_outputs(exe: tg.Executable) -> None:
    result = exe(**feeds(2, 6))
    assert result._fields == ("hidden", "pooled")
    assert set(exe.run(feeds(2, 6))) == {"hidden", "pooled"}
    assert isinstance(tg.compile(tg.trace(tg.relu, x=tg.f32[B]))(np.ones(3, "f")), np.ndarray)


def test_check(exe: tg.Executable) -> None:
    report = tg.check(exe)
    assert report, str(report)


def test_one_kernel_for_equal_layers(exe: tg.Executable) -> None:
    deeper = BertConfig(**{**SMALL.__dict__, "num_hidden_layers": 5})
    other = tg.compile(tg.trace(Bert(deeper), input_ids=tg.i64[B, S], mask=tg.bool_[B, S]))
    assert list(other.kernels.functions) == list(exe.kernels.functions)


def test_the_same_bits_at_any_thread_count(exe: tg.Executable) -> None:
    given = feeds(5, 97)
    results = []
    for threads in range(1, thread_limit() + 1):
        tg.set_num_threads(threads)
        assert workers() == threads
        results.append(exe.run(given))
    for other in results[1:]:
        assert all(np.array_equal(results[0][name], other[name]) for name in other)


def workers() -> int:
    """The threads that share the work of a call, by TVM's own count."""
    from targets.base.tvm_api import tvm

    return int(runner()(lambda: tvm.get_global_func("runtime.NumThreads")()))


def test_all_cores_work_by_default() -> None:
    code = ("import tgraph as tg, numpy as np\nfrom targets.runtime.runner import runner\n"
            "tg.compile(tg.trace(tg.relu, x=tg.f32[tg.dim('B')]))(np.ones(3, 'f'))\nfrom targets.base.tvm_api import tvm\n"
            "print(runner()(lambda: tvm.get_global_func('runtime.NumThreads')()))")
    environment = {k: v for k, v in os.environ.items() if k != "TVM_NUM_THREADS"} | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert result.stdout.strip() == str(default_threads()), result.stderr


@pytest.mark.parametrize("count", [0, -1, True, 1.5, 10**6])
def test_numbers_of_threads_that_make_no_sense(count: Any) -> None:
    with pytest.raises(tg.TargetError, match="the number of threads is an integer from 1 to"):
        tg.set_num_threads(count)


def test_eight_threads_on_one_executable(exe: tg.Executable) -> None:
    shapes = [(1, 7), (2, 30), (3, 64), (1, 128)]
    expected = {shape: exe.run(feeds(*shape)) for shape in shapes}
    before = native_threads()
    wrong: list[Any] = []

    def work(seed: int) -> None:
        for i in range(12):
            shape = shapes[(seed + i) % len(shapes)]
            result = exe.run(feeds(*shape))
            if not all(np.array_equal(result[n], expected[shape][n]) for n in result):
                wrong.append(shape)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for worker in workers:
        worker.start()
    during = native_threads()
    for worker in workers:
        worker.join()
    assert not wrong
    assert during - before <= 8 + thread_limit()  # the callers, and one pool of workers for all of them


def native_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


MEMORY = """
import resource, numpy as np, tgraph as tg
from tgraph.models.bert import Bert, BertConfig
B, S = tg.dims("B S")
exe = tg.compile(tg.trace(Bert(BertConfig(vocab_size=100, hidden_size=256, num_hidden_layers=2, num_attention_heads=4,
                 intermediate_size=1024)), input_ids=tg.i64[B, S], mask=tg.bool_[B, S]))
def call(n):
    exe(np.zeros((4, n), np.int64), np.ones((4, n), bool))
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
call(400)
for n in range(1, 30): call(n)
start = resident()
for n in np.random.default_rng(0).integers(1, 400, 200): call(int(n))
print(resident() - start)
"""


def test_memory_stops_growing_once_the_largest_size_was_seen() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 16 * 2**20, f"grew by {int(result.stdout) / 2**20:.1f} MiB"


@pytest.fixture(scope="module")
def bundle(exe: tg.Executable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "small.tgc"
    exe.save(path, originals=True)
    return path


def test_a_bundle_gives_the_same_bits(exe: tg.Executable, bundle: Path) -> None:
    loaded = tg.load(bundle)
    given = feeds(3, 50)
    assert all(np.array_equal(a, b) for a, b in zip(exe.run(given).values(), loaded.run(given).values()))
    assert loaded.graph == exe.graph and loaded.kernels == exe.kernels
    assert tg.check(loaded)


def test_a_bundle_is_an_aligned_zip(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        assert {"0/library.so", "prepared.bin", "traced.tg", "0/kernels.tg", "weights.safetensors"} <= set(archive.namelist())
    assert all(start % 64 == 0 for start, _ in Archive(bundle, FIELDS).places.values())
    assert set(manifest["entries"]) == set(archive.namelist()) - {"manifest.json"}


def test_a_damaged_bundle(bundle: Path, tmp_path: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[Archive(bundle, FIELDS).places["prepared.bin"][0] + 1000] ^= 1
    (tmp_path / "damaged.tgc").write_bytes(data)
    with pytest.raises(tg.FormatError, match=r"damaged: entry prepared\.bin"):
        tg.load(tmp_path / "damaged.tgc")
    (tmp_path / "cut.tgc").write_bytes(data[: len(data) // 2])
    with pytest.raises(tg.FormatError, match="no bundle"):
        tg.load(tmp_path / "cut.tgc")


def test_a_bundle_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exe = tg.compile(tg.trace(tg.relu, x=tg.f32[B]), cache=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(tg.CompileError, match=r"needs a C compiler.*apt install"):
        exe.save(tmp_path / "x.tgc")


def test_load_weights(exe: tg.Executable) -> None:
    graph = tg.trace(nn.Linear(32, 24), x=tg.f32[B, 32])
    layer = tg.compile(graph)
    x = np.random.default_rng(0).standard_normal((5, 32)).astype("f")
    new = {"weight": np.random.default_rng(1).standard_normal((24, 32)).astype("f"), "bias": np.arange(24, dtype="f")}
    layer.load_weights(new)
    assert np.abs(layer(x) - (x @ new["weight"].T + new["bias"])).max() < 1e-5
    assert tg.check(layer)
    with pytest.raises(tg.WeightsError, match="missing: bias"):
        layer.load_weights({"weight": new["weight"]})


def test_profile_names_the_layers(exe: tg.Executable) -> None:
    profile = exe.profile(**feeds(2, 32), repeats=2)
    assert len(profile.rows) == len(exe.kernels)
    assert any(row.scope.startswith("encoder.layer.1") for row in profile.rows)
    assert "linear_gelu" in str(profile) and profile.microseconds > 0


def test_profile_counts_the_rows_that_a_run_finds() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(8, 8)

        def __call__(self, x: Any, mask: Any) -> Any:
            return tg.zero_padding(self.linear(x), mask)

    b, s = tg.dims("B S")
    graph = tg.trace(Masked(), x=tg.f32[b, s, 8], mask=tg.bool_[b, s])
    mask = np.arange(5) < np.array([[2], [3]])
    profile = tg.compile(graph, passes="remove-padding,O3").profile(x=np.ones((2, 5, 8), np.float32), mask=mask, repeats=1)
    assert profile.sizes == {"B": 2, "S": 5, "N": 5} and sum(row.flops for row in profile.rows) >= 5 * 2 * 8 * 8


@pytest.mark.parametrize(("level", "sign"), [
    ("traced", "layer_norm("), ("optimized", "concat("), ("kernels", "call $linear_gelu"), ("prepare", "pack_panels("),
    ("relax", "R.call_packed(\"kernel_"), ("tir", "T.parallel"), ("llvm", "define"), ("asm", "ret"),
])
def test_every_level_of_source(exe: tg.Executable, level: str, sign: str) -> None:
    assert sign in exe.source(level)


def test_unknown_source(exe: tg.Executable) -> None:
    with pytest.raises(tg.TargetError, match="no source 'ptx'"):
        exe.source("ptx")


def test_a_run_that_failed_leaves_no_sizes_behind() -> None:
    """The interpreter, which names the index, decides the number of rows too."""
    def function(ids: tg.Tensor, mask: tg.Tensor, table: tg.Tensor) -> tg.Tensor:
        indices, _ = tg.unpack(mask)
        rows = tg.embedding(tg.gather(ids.reshape(-1), indices), table)
        return tg.pad_rows(rows, tg.number_rows(mask))

    exe = tg.compile(tg.trace(function, ids=tg.i64[B, S], mask=tg.bool_[B, S], table=tg.f32[7, 4]))
    table = np.arange(28, dtype="f").reshape(7, 4)
    with pytest.raises(tg.InputError, match="99"):
        exe(np.array([[1, 99, 3, 4]]), np.array([[True, True, False, False]]), table)
    assert np.array_equal(exe(np.array([[1, 2, 3, 4]]), np.ones((1, 4), bool), table), table[[[1, 2, 3, 4]]])


def test_unpacked_rows_and_a_size_that_only_a_run_decides() -> None:
    def model(x: tg.Tensor, mask: tg.Tensor) -> dict[str, tg.Tensor]:
        indices, offsets = tg.unpack(mask)
        batch, length, width = x.shape
        rows = tg.gather(tg.exp(x).reshape(batch * length, width), indices)
        return {"total": (rows * 2.0).sum(axis=0), "offsets": offsets}

    exe = tg.compile(tg.trace(model, tg.f32[B, S, 8], tg.bool_[B, S]))
    x = np.random.default_rng(0).standard_normal((3, 5, 8)).astype("f")
    mask = np.arange(5) < np.array([[5], [0], [2]])
    total, offsets = exe(x, mask)
    assert np.allclose(total, 2 * np.exp(x)[mask].sum(0), rtol=1e-5)
    assert offsets.tolist() == [0, 5, 5, 7]
    assert tg.check(exe)


def test_outputs_that_no_kernel_writes() -> None:
    layer = nn.Linear(4, 4)
    graph = tg.trace(lambda x: {"same": x, "again": x, "sum": x + 1.0, "weight": layer.weight}, x=tg.f32[B, 4])
    result = tg.compile(graph)(np.ones((2, 4), "f"))
    assert result.same.tolist() == result.again.tolist() == [[1.0] * 4] * 2 and result.weight.shape == (4, 4)


def test_the_numpy_target() -> None:
    exe = tg.compile(tg.trace(tg.softmax, x=tg.f32[B, S]), target="numpy")
    assert np.allclose(exe(np.zeros((2, 4), "f")), 0.25)
    assert exe(np.zeros((2, 4), "f")).dtype == np.float32
    assert tg.check(exe)


@pytest.mark.parametrize("target", ["numpy", "cpu"])
def test_a_dim_that_divides_may_not_be_0(target: str) -> None:
    n, m = tg.dims("N M")
    exe = tg.compile(tg.trace(lambda x, y: tg.reshape(x, shape=(n // m, m)) + y, x=tg.f32[n], y=tg.f32[m]), target)
    assert exe(np.ones(6, np.float32), np.ones(2, np.float32)).shape == (3, 2)
    with pytest.raises(tg.InputError, match=r"N//M\)? divides by 0 where M = 0, N = 6"):
        exe(np.ones(6, np.float32), np.ones(0, np.float32))


def test_a_graph_without_kernels_is_linked_saved_and_loaded(tmp_path: Path) -> None:
    executable = tg.compile(tg.trace(lambda x: x, x=tg.f32[B, 4]), "cpu")
    assert not executable.kernels.functions
    x = np.ones((2, 4), np.float32)
    executable.save(tmp_path / "identity.tgc")
    np.testing.assert_array_equal(tg.load(tmp_path / "identity.tgc")(x), x)
