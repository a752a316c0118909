"""Executables on the GPU: what goes in and comes out, where it lies, repeated sizes, bad indices, memory, threads."""

from __future__ import annotations

import ctypes
import gc
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.cuda import call
from targets.cuda.array import DeviceArray, adopt
from targets.cuda.device import cuda_device
from tgraph.ir.errors import InputError, TargetError

B, S = tg.dims("B S")
RANDOM = np.random.default_rng(0)


def compile(function: Callable[..., Any], **specs: Any) -> tg.Executable:
    return tg.compile(tg.trace(function, **specs), target="cuda")


@pytest.fixture(scope="module")
def exe() -> tg.Executable:
    """Two kernels with a value between them, and two outputs."""
    return compile(lambda x, y: {"a": tg.softmax(tg.relu(x + y)), "b": x * y}, x=tg.f32[B, 8], y=tg.f32[B, 8])


def data(rows: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = RANDOM.standard_normal((2, rows, 8)).astype("f")
    return x, y


def right(x: np.ndarray, y: np.ndarray, result: Any) -> bool:
    e = np.exp(np.maximum(x + y, 0))
    return np.allclose(result.a, e / e.sum(1, keepdims=True), atol=1e-6) and np.array_equal(np.asarray(result.b), x * y)


def on_device(array: np.ndarray) -> Any:
    """The array in the GPU's memory, as another library would have it."""
    from targets.base.tvm_api import tvm

    return tvm.runtime.tensor(array, tvm.cuda(0))


class Strided:
    """Another library's view of a tensor's f32 numbers with strides."""

    class Managed(ctypes.Structure):  # DLPack's DLManagedTensor
        _fields_ = [("data", ctypes.c_void_p), ("device", ctypes.c_int32 * 2), ("ndim", ctypes.c_int32),
                    ("dtype", ctypes.c_uint8 * 4), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
                    ("offset", ctypes.c_uint64), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]

    def __init__(self, tensor: Any, shape: tuple[int, ...], strides: tuple[int, ...]):
        self.tensor = tensor
        self.shape, self.strides = ((ctypes.c_int64 * len(v))(*v) for v in (shape, strides))
        self.managed = self.Managed(tensor.data_ptr(), (2, 0), len(shape), (2, 32, 1, 0), ctypes.addressof(self.shape),
                                    ctypes.addressof(self.strides), 0, None, None)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, stream: int) -> Any:
        assert stream == 1
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(ctypes.addressof(self.managed), b"dltensor", None)


def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions of CUDA's runtime that are called from now on."""
    device, names = cuda_device(), []
    call = device.call
    monkeypatch.setattr(device, "call", lambda name, *arguments: (names.append(name), call(name, *arguments))[1])
    return names


def test_host_arrays_of_changing_sizes(exe: tg.Executable) -> None:
    for rows in (3, 1, 3, 40, 3, 1, 40, 0, 3):
        x, y = data(rows)
        result = exe(x, y)
        assert isinstance(result.a, np.ndarray) and right(x, y, result)


def test_repeated_sizes_replay_a_graph_and_wait_once(exe: tg.Executable, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        exe(*data(7))
    names = calls(monkeypatch)
    x, y = data(7)
    assert right(x, y, exe(x, y))
    assert names.count("cudaGraphLaunch") == 1 and names.count("cudaStreamSynchronize") == 1
    assert names.count("cudaMemcpyAsync") == 3  # all inputs at once, and each output
    assert not {"cudaMallocHost", "cudaStreamBeginCapture"} & set(names)


def test_results_of_earlier_calls_stay(exe: tg.Executable) -> None:
    fed = [data(5) for _ in range(6)]
    results = [exe(*pair) for pair in fed]
    assert all(right(*pair, result) for pair, result in zip(fed, results))


def test_graphs_are_bounded_and_survive_a_larger_arena(exe: tg.Executable) -> None:
    for rows in (*range(1, 45), 500):
        for _ in range(3):
            pair = data(rows)
            assert right(*pair, exe(*pair))
    for rows in (44, 44, 44, 1, 1, 1):
        pair = data(rows)
        assert right(*pair, exe(*pair))


def test_graphs_can_be_switched_off(exe: tg.Executable, monkeypatch: pytest.MonkeyPatch) -> None:
    exe.cuda_graphs = False
    try:
        names = calls(monkeypatch)
        for _ in range(3):
            pair = data(9)
            assert right(*pair, exe(*pair))
        assert not any("Graph" in name for name in names)
    finally:
        exe.cuda_graphs = True
    assert exe.cuda_graphs


def test_a_failed_capture_runs_without(monkeypatch: pytest.MonkeyPatch) -> None:
    exe = compile(lambda x: tg.relu(x), x=tg.f32[B])
    monkeypatch.setattr(cuda_device(), "capture", lambda _: (_ for _ in ()).throw(TargetError("no graphs today")))
    x = RANDOM.standard_normal(9).astype("f")
    with pytest.warns(UserWarning, match="without CUDA graphs: no graphs today"):
        for _ in range(3):
            assert np.array_equal(exe(x), np.maximum(x, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(exe(x), np.maximum(x, 0))


@pytest.mark.parametrize("direct", [False, True])
def test_device_arrays_in_and_out(exe: tg.Executable, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if direct:
        monkeypatch.setattr(call, "DIRECT", 0)
    x, y = data(6)
    for _ in range(4):
        result = exe(on_device(x), on_device(y))
        assert isinstance(result.a, DeviceArray) and result.a.dtype == np.float32 and result.a.shape == (6, 8)
        assert right(x, y, result)
    assert right(x, y, exe(on_device(x), y))
    again = exe(result.b, on_device(y))  # what came out goes in
    assert np.array_equal(again.b.numpy(), x * y * y)


def test_calls_on_device_arrays_wait_for_nothing(exe: tg.Executable, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = (on_device(a) for a in data(6))
    for _ in range(3):
        exe(x, y)
    gc.collect()
    names = calls(monkeypatch)
    exe(x, y)
    assert not {"cudaStreamSynchronize", "cudaEventSynchronize", "cudaMallocHost"} & set(names)


def test_large_device_arrays_are_not_copied(exe: tg.Executable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "DIRECT", 0)
    x, y = (on_device(a) for a in data(6))
    out = adopt(on_device(np.zeros((6, 8), "f")))
    exe(x, y)
    names = calls(monkeypatch)
    result = exe(x, y, out={"a": out})
    assert result.a is out and "cudaMemcpyAsync" not in names
    assert right(x.numpy(), y.numpy(), result)
    overlapping = exe(x, y, out={"b": x})  # written after it was read
    assert overlapping.b is x


def test_a_result_may_be_written_over_an_input(exe: tg.Executable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "DIRECT", 0)
    pair = data(6)
    x, y = (on_device(a) for a in pair)
    exe(x, y, out={"a": x})
    e = np.exp(np.maximum(pair[0] + pair[1], 0))
    assert np.allclose(x.numpy(), e / e.sum(1, keepdims=True), atol=1e-6)


def test_out_on_either_side(exe: tg.Executable) -> None:
    x, y = data(4)
    here, there = np.full((4, 16), 9, "f")[:, ::2], on_device(np.zeros((4, 8), "f"))
    result = exe(x, y, out=(here, there))
    assert result.a is here and result.b is there
    e = np.exp(np.maximum(x + y, 0))
    assert np.allclose(here, e / e.sum(1, keepdims=True), atol=1e-6) and np.array_equal(there.numpy(), x * y)
    with pytest.raises(InputError, match=r"output 'b' .* is float32\[4, 8\] here, out for it is float32\[3, 8\]"):
        exe(x, y, out={"b": on_device(np.zeros((3, 8), "f"))})
    with pytest.raises(InputError, match="'a' and 'b' is the same memory"):
        exe(x, y, out=(there, there))


def test_strided_and_unaligned_device_arrays(exe: tg.Executable) -> None:
    from targets.base.tvm_api import tvm

    x, y = data(4)
    raw = tvm.runtime.empty((200,), "float32", tvm.cuda(0))
    unaligned = raw._create_view((4, 8), "float32", 4)
    unaligned.copyfrom(x)
    assert right(x, y, exe(unaligned, on_device(y)))
    exe(x, y, out={"b": unaligned})
    assert np.array_equal(unaligned.numpy(), x * y)
    strided = Strided(on_device(np.ascontiguousarray(x.T)), (4, 8), (1, 4))
    assert right(x, y, exe(strided, y))
    with pytest.raises(InputError, match="got a Strided whose memory is not dense"):
        exe(x, y, out={"b": strided})


def test_wrong_device_arrays_are_named(exe: tg.Executable) -> None:
    x, y = data(4)
    with pytest.raises(InputError, match="input 'x' must be f32, got int32"):
        exe(on_device(x.astype("i4")), y)
    with pytest.raises(InputError, match="B of x is 4, B of y is 5"):
        exe(on_device(x), on_device(data(5)[1]))
    with pytest.raises(InputError, match="input 'x'"):
        tg.compile(exe.graph, target="cpu")(on_device(x), y)


def test_results_on_the_device_use_memory_again(exe: tg.Executable) -> None:
    x, y = (on_device(a) for a in data(6))
    addresses = {exe(x, y).a.address for _ in range(20)}
    assert len(addresses) <= 2
    held = [exe(x, y) for _ in range(5)]
    assert len({r.a.address for r in held}) == 5
    capsules = [r.a.__dlpack__() for r in held]
    taken = {r.a.address for r in held}
    del held
    assert exe(x, y).a.address not in taken  # another library has them
    del capsules
    assert exe(x, y).a.address in taken | addresses


def test_weights_stay_and_are_replaced() -> None:
    graph = tg.trace(tg.nn.LayerNorm(8), x=tg.f32[B, 8])
    exe = tg.compile(graph, target="cuda")
    x = data(5)[0]
    first = [exe(x) for _ in range(3)][-1]
    weights = {name: np.full(p.type.shape, 2.0, "f") for name, p in graph.parameters.items()}
    exe.load_weights(weights)
    assert np.allclose(exe(x), first * 2 + 2, atol=1e-5)  # also by a captured graph


def test_graphs_of_a_program_share_their_weights_on_the_device() -> None:
    class Model(tg.Module):
        def __init__(self) -> None:
            self.w, self.v = (tg.Parameter(tg.f32[8], data=np.full(8, value, "f")) for value in (2, 3))

        def scale(self, x: tg.Tensor) -> tg.Tensor:
            return x * self.w

        def both(self, x: tg.Tensor) -> tg.Tensor:
            return x * self.w + self.v

    exe = tg.compile(tg.trace_program(Model(), scale=tg.f32[B, 8], both=tg.f32[B, 8]), "cuda")
    x = RANDOM.standard_normal((3, 8)).astype("f")
    for w, v in ((2, 3), (5, -1)):
        for _ in range(3):  # launched, captured, replayed
            assert np.array_equal(exe.scale(x), x * w) and np.array_equal(exe.both(x), x * w + v)
        exe.load_weights({"w": np.full(8, 5, "f"), "v": np.full(8, -1, "f")})
    one, other = (e._engine.weights for e in exe.graphs.values())  # type: ignore[attr-defined]
    assert one is other and one.keys() == {"w", "v"}


def test_outputs_that_no_kernel_writes() -> None:
    exe = compile(lambda x, y: {"x": x, "sum": x + y, "again": x + y}, x=tg.f32[B, 8], y=tg.f32[B, 8])
    x, y = data(3)
    for feed in ((x, y), (on_device(x), y)):
        result = exe(*feed)
        assert np.array_equal(result.x, x) and np.array_equal(result.sum, x + y) and np.array_equal(result.again, x + y)


def test_other_element_types() -> None:
    import ml_dtypes

    exe = compile(lambda x, m, i: {"x": tg.where(m, x, -x), "m": ~m, "i": i + 1}, x=tg.bf16[B, 8], m=tg.bool_[B, 8], i=tg.i64[B])
    x = RANDOM.standard_normal((3, 8)).astype(ml_dtypes.bfloat16)
    mask, i = RANDOM.random((3, 8)) < 0.5, np.arange(3)
    for feed in ((x, mask, i), (x, on_device(mask), on_device(i))):
        result = exe(*feed)
        assert np.array_equal(np.asarray(result.m), ~mask) and np.array_equal(np.asarray(result.i), i + 1)
        assert np.array_equal(np.asarray(result.x), np.where(mask, x, -x))


def test_bad_indices() -> None:
    exe = compile(lambda i, t: tg.embedding(i, t), i=tg.i32[B], t=tg.f32[6, 8])
    table, good, bad = RANDOM.standard_normal((6, 8)).astype("f"), np.array([0, 5], "i4"), np.array([0, 6], "i4")
    for _ in range(3):
        assert np.array_equal(exe(good, table), table[good])
    for _ in range(2):
        with pytest.raises(InputError, match=r"index 6 at \[1\] is outside of 0 .. 5"):
            exe(bad, table)
        assert np.array_equal(exe(good, table), table[good])
    late = exe(on_device(bad), on_device(table))  # does not wait, so does not know
    with pytest.raises(InputError, match="an earlier call, whose outputs stayed on the GPU"):
        exe(good, table)
    assert np.array_equal(exe(good, table), table[good])
    late = exe(on_device(bad), on_device(table))
    with pytest.raises(InputError, match="an earlier call"):
        late.numpy()
    assert np.array_equal(exe(on_device(good), on_device(table)).numpy(), table[good])


def test_ragged_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def packed(x: tg.Tensor, mask: tg.Tensor) -> tg.Tensor:
        indices, _ = tg.unpack(mask, name="N")
        rows = tg.softmax(tg.gather(tg.reshape(x, shape=(B * S, 8)), indices, axis=0))
        return {"sums": tg.reduce_sum(rows, axes=(0,)), "rows": rows}

    exe = compile(packed, x=tg.f32[B, S, 8], mask=tg.bool_[B, S])
    x = RANDOM.standard_normal((3, 4, 8)).astype("f")
    exe(x, np.ones((3, 4), bool))
    names = calls(monkeypatch)
    for _ in range(6):
        mask = RANDOM.random((3, 4)) < 0.6
        e = np.exp(x[mask])
        rows = e / e.sum(1, keepdims=True)
        names.clear()
        result = exe(x, mask)
        assert np.allclose(result.rows, rows, atol=1e-6) and np.allclose(result.sums, rows.sum(0), atol=1e-5)
        assert names.count("cudaStreamSynchronize") == 1  # the mask is on the host
        there = exe(on_device(x), on_device(mask))
        assert there.rows.shape == rows.shape and np.allclose(there.rows, rows, atol=1e-6)


def test_out_of_memory(exe: tg.Executable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGRAPH_EMULATOR_MEMORY", str(64 * 2**20))
    huge = np.zeros((2**20, 8), "f")
    with pytest.raises(TargetError, match=r"out of memory: 1\d\d\.\d MiB were asked for, \d+\.\d MiB of 64\.0 MiB are free"):
        exe(huge, huge)
    monkeypatch.delenv("TGRAPH_EMULATOR_MEMORY")
    pair = data(5)
    assert right(*pair, exe(*pair))


def test_an_older_gpu(exe: tg.Executable, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    exe.save(tmp_path / "a.tgc")
    monkeypatch.setenv("TGRAPH_EMULATOR_ARCH", "80")
    loaded = tg.load(tmp_path / "a.tgc")
    with pytest.raises(TargetError, match=r"compiled for cuda:sm_90, and emulated device is cuda:sm_80"):
        loaded(*data(3))


def test_bundles_and_threads(exe: tg.Executable, tmp_path: Any) -> None:
    exe.save(tmp_path / "a.tgc")
    loaded = tg.load(tmp_path / "a.tgc")
    wrong: list[int] = []

    def work(rows: int) -> None:
        for _ in range(10):
            pair = data(rows)
            if not right(*pair, loaded(*pair)):
                wrong.append(rows)

    threads = [threading.Thread(target=work, args=(rows,)) for rows in (1, 2, 30, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_profile(exe: tg.Executable) -> None:
    x, y = data(6)
    profile = exe.profile(x, on_device(y), repeats=3)
    assert [row.kernel for row in profile.rows] == [n.attrs["function"].name for n in exe.kernels.nodes]
    assert all(row.microseconds > 0 for row in profile.rows) and profile.sizes == {"B": 6}
    assert right(x, y, exe(x, y))  # a fresh machine follows
