"""What a GPU kernel is made of: grids, memories, barriers, warp shuffles, tensor-core products, asynchronous copies.

Each device function is CUDA source around one PTX instruction (PTX ISA 8, sections 9.7.9 to 9.7.15). Where TGRAPH_EMULATED is
defined those of PTX fall away: an emulator brings its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tvm.backend.cuda.op import cuda_func_call

from targets.base.tvm_api import Buffer, Expr, IRBuilder, T, int64, tirx
from targets.codegen.device_extents import on_host, read_extents
from targets.codegen.opaque import choose

WARP = 32  # threads that run in step
GROUP = 8  # half-precision numbers in the 16 bytes of one copy


@contextmanager
def grid(threads: int, x: Expr, y: Expr | int = 1, z: Expr | int = 1, *,
         resident: int = 0) -> Iterator[tuple[Expr, Expr, Expr, Expr]]:
    """Opens a launch of x * y * z blocks of `threads` threads: the block's three indices as int64, the thread's as int32.

    If there is no block at all, which CUDA takes for an error, nothing is launched. y and z are below 65536. Of extents that only
    the device knows, x, y and z have the upper bounds, and statements inside have the values. `resident` blocks are to fit a
    multiprocessor: a thread may have the registers that this leaves, where the compiler would rather spill a few to make room for
    more blocks.
    """
    x, y, z = (on_host(size) for size in (x, y, z))
    with contextlib.ExitStack() as frames:
        some = [size > 0 for size in (x, y, z) if not isinstance(size, int) and not _positive(size)]
        if some:
            frames.enter_context(T.If(tirx.all(*some)))
            frames.enter_context(T.Then())
        tags = ("blockIdx.x", "blockIdx.y", "blockIdx.z")
        blocks = [frames.enter_context(T.launch_thread(tag, size)) for tag, size in zip(tags, (x, y, z))]
        thread = frames.enter_context(T.launch_thread("threadIdx.x", threads))
        if resident:
            frames.enter_context(T.attr({"tirx.launch_bounds_min_blocks_per_sm": resident}))
        read_extents()
        bx, by, bz = (tirx.Cast("int64", b) for b in blocks)
        yield bx, by, bz, thread


def _positive(size: Expr) -> bool:
    return isinstance(size, tirx.IntImm) and int(size.value) > 0


def where(condition: Expr, value: Callable[[], Expr]) -> Expr:
    """`value()` where a condition holds, else 0: it is evaluated, and reads memory, only there."""
    found: list[Expr] = []

    def inside() -> Expr:
        found.append(value())
        return found[0]

    return choose(condition, inside, lambda: tirx.const(0, str(found[0].ty.dtype)), "local")


@contextmanager
def each(extent: Expr, threads: int = 256) -> Iterator[Expr]:
    """A launch with a thread for each i < extent."""
    with grid(threads, tirx.truncdiv(extent + int64(threads - 1), int64(threads))) as (block, _, _, thread):
        i = T.bind(block * int64(threads) + tirx.Cast("int64", thread))
        with T.If(i < extent), T.Then():
            yield i


def shared(name: str, shape: tuple[int, ...], dtype: str, *, dynamic: bool = False) -> Buffer:
    """Memory of one block; `dynamic` is needed beyond 48 KiB in all."""
    return _allocate(name, shape, dtype, "shared.dyn" if dynamic else "shared")


def registers(name: str, shape: tuple[int, ...], dtype: str) -> Buffer:
    """Memory of one thread. In registers where every index is a constant after unrolling."""
    return _allocate(name, shape, dtype, "local")


def _allocate(name: str, shape: tuple[int, ...], dtype: str, scope: str) -> Buffer:
    buffer = T.alloc_buffer(shape, dtype, scope=scope)
    IRBuilder.name(name, buffer)
    return buffer


def barrier() -> None:
    """Every thread of the block waits for the others; what they wrote to shared memory is then seen by all."""
    T.evaluate(tirx.call_intrin("void", "tirx.tvm_storage_sync", "shared"))


def address(buffer: Buffer, *index: Expr | int) -> Expr:
    """A pointer to an element."""
    return tirx.address_of(buffer[index])


def copy(to: Expr, source: Expr, size: int) -> None:
    """Copies 4, 8 or 16 bytes, aligned to their number, in one access. TVM does so only where it can prove that they are."""
    name, word = f"tg_copy_{size}", {4: "unsigned", 8: "uint2", 16: "uint4"}[size]
    text = f"__device__ __forceinline__ void {name}(void* to, const void* from) {{ *({word}*)to = *(const {word}*)from; }}\n"
    _call(name, to, source, source=text)


def _function(name: str, signature: str, body: str, returns: str = "void") -> str:
    head = f"__device__ __forceinline__ {returns} {name}({signature})"
    return f"#ifndef TGRAPH_EMULATED\n{head} {{\n{body}\n}}\n#endif\n"


def _call(name: str, *arguments: Any, source: str) -> None:
    T.evaluate(cuda_func_call(name, *arguments, source_code=source))


# Warps

_SHUFFLE = """\
template <class T> __device__ __forceinline__ T tg_shfl_xor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
"""
_EXP2 = _function("tg_exp2", "float x", """\
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;""", "float")


def shuffle_xor(value: Expr, mask: int) -> Expr:
    """The number that the thread `lane ^ mask` of the warp holds. All lanes must take part."""
    return cuda_func_call("tg_shfl_xor", value, mask, source_code=_SHUFFLE, return_type=str(value.ty.dtype))


_BALLOT = """\
__device__ __forceinline__ unsigned tg_ballot(int predicate) { return __ballot_sync(0xffffffffu, predicate); }
"""
_WARP_BARRIER = "__device__ __forceinline__ void tg_warp_barrier() { __syncwarp(); }\n"


def ballot(predicate: Expr) -> Expr:
    """A uint32 whose bit l says whether the predicate is true in lane l. All lanes must take part."""
    return cuda_func_call("tg_ballot", tirx.Cast("int32", predicate), source_code=_BALLOT, return_type="uint32")


def warp_barrier() -> None:
    """Every lane of the warp waits for the others; what they wrote to shared memory is then seen by all of them."""
    _call("tg_warp_barrier", source=_WARP_BARRIER)


def exp2(x: Expr) -> Expr:
    """2^x in f32 by the special function unit: within 2 units in the last place; subnormal results are 0."""
    return cuda_func_call("tg_exp2", x, source_code=_EXP2, return_type="float32")


# Tensor cores (compute capability 8.0 and later)

_LDMATRIX_BODY = """\
  unsigned address = (unsigned)__cvta_generic_to_shared(p);
  asm volatile("ldmatrix.sync.aligned.m8n8.{form}.shared.b16 {{{results}}}, [%{last}];"
               : {outputs} : "r"(address) : "memory");"""


def _ldmatrix(count: int, transposed: bool) -> tuple[str, str]:
    name = f"tg_ldmatrix_x{count}" + ("_trans" if transposed else "")
    body = _LDMATRIX_BODY.format(
        form=f"x{count}" + (".trans" if transposed else ""), results=", ".join(f"%{i}" for i in range(count)), last=count,
        outputs=", ".join(f'"=r"(r[{i}])' for i in range(count)))
    return name, _function(name, "unsigned* r, const void* p", body)


def load_matrices(into: Expr, source: Expr, count: int, transposed: bool = False) -> None:
    """`ldmatrix`: 2 or 4 matrices of 8x8 half-precision numbers from shared memory to the registers of a warp.

    into: address of `count` uint32. source: each lane's address of one row of 16 bytes (lanes 8i to 8i + 7: matrix i). Lane l
    receives elements 2(l%4) and 2(l%4)+1 of row l//4, of each matrix (of its transpose, if `transposed`).
    """
    name, text = _ldmatrix(count, transposed)
    _call(name, into, source, source=text)


_MMA_BODY = """\
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.{kind}.{kind}.f32 {{%0, %1, %2, %3}}, {{%4, %5, %6, %7}}, {{%8, %9}}, "
               "{{%0, %1, %2, %3}};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));"""
MMA_KINDS = {"float16": "f16", "bfloat16": "bf16"}


def mma(d: Expr, a: Expr, b: Expr, dtype: str) -> None:
    """`mma.sync.m16n8k16`: D[16, 8] += A[16, 16] B[16, 8] by one warp; A and B of `dtype` f16 or bf16, D in f32.

    d, a, b: addresses of 4 f32, 4 uint32 and 2 uint32 of each lane. With g = lane // 4, t = 2 (lane % 4): d holds rows g, g,
    g+8, g+8 and columns t, t+1, t, t+1; a holds columns (t, t+1) at rows g, g+8, then (t+8, t+9) at the same rows; b holds rows
    (t, t+1) and (t+8, t+9) of column g.
    """
    kind = MMA_KINDS[dtype]
    name = f"tg_mma_m16n8k16_{kind}"
    _call(name, d, a, b, source=_function(name, "float* d, const unsigned* a, const unsigned* b", _MMA_BODY.format(kind=kind)))


# Half-precision numbers in words

_PACK = {"float16": ("f16", "__floats2half2_rn"), "bfloat16": ("bf16", "__floats2bfloat162_rn")}
_PACK_SOURCE = """\
__device__ __forceinline__ unsigned tg_pack_{kind}(float x, float y) {{
#ifndef TGRAPH_EMULATED
  unsigned word;
  asm("cvt.rn.{kind}x2.f32 %0, %1, %2;" : "=r"(word) : "f"(y), "f"(x));
  return word;
#else
  auto pair = {function}(x, y);
  return *reinterpret_cast<unsigned*>(&pair);
#endif
}}
"""


def pack(x: Expr, y: Expr, dtype: str) -> Expr:
    """Two f32, rounded to f16 or bf16 to nearest even, as a uint32 with x in its low half."""
    kind, function = _PACK[dtype]
    source = _PACK_SOURCE.format(kind=kind, function=function)
    return cuda_func_call(f"tg_pack_{kind}", x, y, source_code=source, return_type="uint32")


# Asynchronous copies (compute capability 8.0 and later)

_COPY = _function("tg_cp_async_16", "void* to, const void* from, int bytes", """\
  unsigned address = (unsigned)__cvta_generic_to_shared(to);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(address), "l"(from), "r"(bytes) : "memory");""")
_COMMIT = _function("tg_cp_async_commit", "", '  asm volatile("cp.async.commit_group;" ::: "memory");')
_WAIT = "  asm volatile(\"cp.async.wait_group {count};\" ::: \"memory\");"


def copy_async(to: Expr, source: Expr, count: Expr | int) -> None:
    """Begins a copy of 16 bytes from global to shared memory, both aligned to 16; of these `count` are read, the rest is 0."""
    _call("tg_cp_async_16", to, source, count, source=_COPY)


def commit_copies() -> None:
    """The copies that this thread has begun since the last such call are one group."""
    _call("tg_cp_async_commit", source=_COMMIT)


def wait_copies(pending: int) -> None:
    """Waits until at most `pending` of this thread's youngest groups are not done. Others see the data after a barrier."""
    name = f"tg_cp_async_wait_{pending}"
    _call(name, source=_function(name, "", _WAIT.format(count=pending)))
