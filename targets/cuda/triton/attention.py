"""Attention by Triton's kernel, for forms that it computes, on GPUs with an instruction that our own kernels lack."""

from __future__ import annotations

import math
from collections.abc import Callable

from targets.base.target import Target
from targets.base.tvm_api import T, int64, reads_memory, tirx
from targets.codegen.attention import AttentionSpec
from targets.codegen.kernel_builder import KernelBuilder
from targets.cuda.kernels.adjacent import multiple
from targets.cuda.kernels.launch import ceil_divide
from targets.cuda.kernels.strided import Strided
from targets.cuda.triton.binary import HALVES, Binary, Parameters, available, compile_kernel
from tgraph.ir.values import Node

DIMS = (32, 64, 128)
LARGEST_WITH_BIAS = 64  # beyond, registers spill
QUERIES = 128  # of a block
BLOCKS = 132  # that a large GPU runs beside each other; for fewer our own kernel has smaller tiles
ROWS = 16  # rows of the operands begin at multiples of so many elements


class TritonAttention:
    """An `attention` as Triton's kernel computes it."""

    def __init__(self, builder: KernelBuilder, target: Target, node: Node, spec: AttentionSpec) -> None:
        self.builder, self.target, self.spec = builder, target, spec
        self.dtype = spec.dtype
        place, mask, bias, offset = spec.place, spec.mask, spec.bias, node.operands[5]
        loads = {"q": spec.load_q, "k": spec.load_k, "v": spec.load_v}
        self.operands = {name: Strided.of(load, 4, self.dtype) for name, load in loads.items()}
        self.operands["out"] = None if place is None else Strided.of(place, 4, self.dtype)
        zero = int64(0)
        self.keep = None if mask is None else Strided.of(lambda b, j: mask(b, zero, zero, j), 2, "bool")
        self.bias = None if bias is None else Strided.of(bias, 4, self.dtype)
        self.ahead = zero if offset is None else tirx.Cast("int64", builder.access.load(offset, ()))
        self.offset = None if offset is None else Strided.of(lambda: builder.access.load(offset, ()), 0, "int64")

    @property
    def fits(self) -> bool:
        """Whether Triton is there, and its kernel computes this."""
        spec, dim = self.spec, self.spec.head_dim
        if self.dtype not in HALVES or not available(self.target) or self.builder.device_extents:
            return False
        if dim not in DIMS or spec.value_dim != dim or spec.empty_row != "zero" or spec.softcap:
            return False
        if spec.left is not None or spec.right not in (None, 0):
            return False
        if spec.bias is not None and (self.bias is None or not self.bias.adjacent or dim > LARGEST_WITH_BIAS):
            return False
        if spec.mask is not None and (self.keep is None or not self.keep.adjacent or not spec.key_padding):
            return False
        if self.offset is None and reads_memory(self.ahead):
            return False
        return all(operand is not None and self._aligned(operand) for operand in self.operands.values())

    @staticmethod
    def _aligned(operand: Strided) -> bool:
        return operand.adjacent and all(multiple(at, ROWS) for at in (operand.first, *operand.distances[:-1]))

    def emit(self, own: Callable[[], None]) -> None:
        """Emit Triton's kernel for many queries, `own` for few."""
        spec, queries = self.spec, self.spec.queries
        blocks = ceil_divide(queries, QUERIES) * spec.batch * spec.heads
        instruction = "wgmma" if self.target.arch == "sm_90" else "mma.sync"
        self.builder.notes.append(f"Triton's kernel, which has {instruction}, at {BLOCKS} blocks of {QUERIES} queries and more, "
                                "for fewer our own with smaller ones")
        # rows of a bias are found in 32 bits
        conditions = [] if self.bias is None else [queries * self.bias.distances[2] < int64(2**31)]
        with T.If(tirx.all(blocks >= int64(BLOCKS), *conditions)):
            with T.Then():
                self._compiled(parameters := self._parameters()).launch(self.builder, blocks, parameters)
            with T.Else():
                own()

    def _parameters(self) -> Parameters:
        spec, zero = self.spec, int64(0)
        operands = {name: operand for name, operand in self.operands.items() if operand is not None}
        given_to = Parameters()
        for name, operand in operands.items():
            given_to.pointer(name, operand, self.dtype, aligned=True)
        given_to.pointer("keep", self.keep, "bool")
        given_to.pointer("bias", self.bias, self.dtype)
        given_to.pointer("offset", self.offset, "int64")
        given_to.number("ahead", "i64", zero if self.offset is not None else self.ahead)
        given_to.number("scale", "fp32", tirx.const(spec.scale * math.log2(math.e), "float32"))
        for name, size in (("heads", spec.heads), ("queries", spec.queries), ("keys", spec.keys)):
            given_to.number(name, "i32", size)
        for name, operand in operands.items():
            for axis, distance in zip(("batch", "head", "row"), operand.distances):
                given_to.number(f"{name}_{axis}", "i64:16", distance)
        given_to.number("keep_batch", "i64", zero if self.keep is None else self.keep.distances[0])
        for axis, type, position in (("batch", "i64", 0), ("head", "i64", 1), ("row", "i32", 2)):
            given_to.number(f"bias_{axis}", type, zero if self.bias is None else self.bias.distances[position])
        return given_to

    def _compiled(self, parameters: Parameters) -> Binary:
        keys, warps = tile(self.target.arch, self.spec.head_dim, self.bias is not None)
        constants = {"GROUP": self.spec.group, "DIM": self.spec.head_dim, "BLOCK_Q": QUERIES, "BLOCK_K": keys,
                     "CAUSAL": self.spec.right is not None, "MASK": self.keep is not None, "BIAS": self.bias is not None,
                     "OFFSET": self.offset is not None}
        return compile_kernel("attention", self.target.arch, parameters.types, constants, warps, stages=3)


def tile(arch: str, head_dim: int, bias: bool) -> tuple[int, int]:
    """Keys of a block, and warps, such that no register spills."""
    if bias:
        return (32 if head_dim == 32 else 64), 8
    if arch == "sm_90":
        return 64, (4 if head_dim <= 64 else 8)
    return (64 if head_dim <= 64 else 32), 8
