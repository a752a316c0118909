"""Products by Triton's kernel, with GELU and a residual in its epilogue, where the GPU has an instruction that our own lack."""

from __future__ import annotations

from collections.abc import Callable

from targets.base.target import Target
from targets.base.tvm_api import T, int64
from targets.cuda.kernels.adjacent import multiple
from targets.cuda.kernels.launch import ceil_divide
from targets.cuda.kernels.linear_form import LinearForm
from targets.cuda.triton.binary import HALVES, Parameters, available, compile_kernel
from tgraph.ir.values import Value

TILE = 128, 128, 64  # rows and columns of sums, and steps of k, of a block
BAND = 8
WARPS, STAGES = 8, 3
BLOCKS = 132  # that a large GPU runs beside each other; for fewer our own kernel has smaller tiles
ROWS = 16  # rows of all matrices begin at multiples of so many elements


class TritonLinear:
    """A `linear` as Triton's kernel computes it."""

    def __init__(self, form: LinearForm, target: Target) -> None:
        self.form, self.builder, self.target = form, form.builder, target
        value: Value = form.node.result
        following = form.follower(value)
        self.gelu = following is not None and following.op.name == "gelu" and following.attrs["approximate"] == "none"
        if self.gelu and following is not None:
            value = following.result
        done, self.residual = form.added(value)
        self.whole = form.follower(done) is None

    @property
    def fits(self) -> bool:
        """Whether Triton is there, and its kernel computes all of this."""
        form = self.form
        if form.dtype not in HALVES or form.result != form.dtype or not available(self.target) or self.builder.device_extents:
            return False
        if not (isinstance(form.columns, int) and isinstance(form.depth, int) and form.depth % TILE[2] == 0 and form.depth):
            return False
        matrices = [m for m in (form.x, form.weight, form.out, self.residual) if m is not None]
        aligned = all(multiple(at, ROWS) for m in matrices for at in (m.first, m.distances[0]))
        return self.whole and form.has_all and form.out is not None and aligned

    def emit(self, otherwise: Callable[[], None]) -> None:
        """Emit Triton's kernel for many rows, else what `otherwise` emits."""
        form, size = self.form, self.builder.size
        m, n = size(form.rows), size(form.columns)
        blocks = ceil_divide(m, TILE[0]) * ceil_divide(n, TILE[1])
        instruction = "wgmma" if self.target.arch == "sm_90" else "mma.sync"
        has = f"{instruction} and GELU" if self.gelu else instruction
        self.builder.notes.append(f"Triton's kernel, which has {has}, at {BLOCKS} blocks of {TILE[0]}x{TILE[1]} and more")
        given = Parameters()
        for name, matrix in (("x", form.x), ("w", form.weight), ("out", form.out)):
            given.pointer(name, matrix, form.dtype, aligned=True)
        given.pointer("bias", form.bias, form.dtype)
        given.pointer("residual", self.residual, form.dtype, aligned=True)
        given.number("m", "i32", m)
        given.number("n", "i32:16" if multiple(n, 16) else "i32", n)
        given.number("k", "i32:16", size(form.depth))
        for name, matrix in (("x", form.x), ("w", form.weight), ("out", form.out), ("residual", self.residual)):
            given.number(f"{name}_row", "i64:16", int64(0) if matrix is None else matrix.distances[0])
        constants = {"BLOCK_M": TILE[0], "BLOCK_N": TILE[1], "BLOCK_K": TILE[2], "BAND": BAND, "BIAS": form.bias is not None,
                     "GELU": self.gelu, "RESIDUAL": self.residual is not None}
        kernel = compile_kernel("linear", self.target.arch, given.types, constants, WARPS, STAGES)
        with T.If(blocks >= int64(BLOCKS)):
            with T.Then():
                kernel.launch(self.builder, blocks, given)
            with T.Else():
                otherwise()
