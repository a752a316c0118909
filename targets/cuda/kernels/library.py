"""A product by NVIDIA's library where that is found at run time, else by our own kernel: both are in one function.

The host code asks the library, whose epilogue adds a bias and a residual. What else follows is done in place by a kernel of ours.
"""

from __future__ import annotations

from collections.abc import Callable

from targets.base.tvm_api import Expr, IRBuilder, T, int64, tirx
from targets.codegen.scalar import cast, held
from targets.cuda.blas import LINEAR, TYPES
from targets.cuda.kernels import device
from targets.cuda.kernels.epilogue import Epilogue
from targets.cuda.kernels.linear_form import LinearForm
from targets.cuda.kernels.operand import SIZE
from targets.cuda.kernels.product import LANES
from tgraph.ir.values import Result, Value

ROWS, DEPTH = 64, 256  # from which on the library is asked: below, reading W or starting kernels is what takes time
GROUP = 8  # n and k are multiples of it, for tensor cores
_ZERO, _NULL = tirx.const(0, "int32"), tirx.reinterpret("handle", tirx.const(0, "uint64"))


class LibraryProduct:
    """A `linear` as the library computes it."""

    def __init__(self, form: LinearForm) -> None:
        self.form, self.builder = form, form.builder
        value: Value = form.node.result
        following = form.follower(value)
        if following is not None and following.op.name == "cast" and following.result.dtype == form.output.dtype:
            value = following.result  # the library gives it as f32 itself
        self.done, self.residual = form.added(value)
        self.followers = form.followers(self.done)

    @property
    def fits(self) -> bool:
        """Whether the library can be asked, as far as is known before the call."""
        form, n, k = self.form, self.form.columns, self.form.depth
        if not (isinstance(n, int) and isinstance(k, int) and n % GROUP == 0 and k % GROUP == 0 and k >= DEPTH):
            return False
        enough = not isinstance(form.rows, int) or form.rows >= ROWS
        types = form.dtype in TYPES and form.result in {form.dtype, "float32"}
        return enough and types and form.has_all and not self.builder.device_extents

    def emit(self, own: Callable[[], None]) -> None:
        """The question to the library, what follows if it did the product, and `own` if not."""
        names = ", ".join(node.op.name for node in self.followers)
        rest = f", then {names} in place by a kernel of ours" if names else ""
        self.builder.notes.append(f"cuBLASLt at {ROWS} rows and more where it is found{rest}")
        done = T.alloc_buffer((1,), "int32", scope="global")
        IRBuilder.name("done", done)
        T.buffer_store(done, _ZERO, [0])
        with T.If(self.builder.size(self.form.rows) >= int64(ROWS)), T.Then():
            T.buffer_store(done, self._ask(), [0])
        with T.If(tirx.EQ(done[0], _ZERO)):
            with T.Then():
                own()
            with T.Else():
                self._finish() if names else T.evaluate(_ZERO)

    def _ask(self) -> Expr:
        """The call, which gives whether the product was begun."""
        form = self.form
        addresses = [_NULL if m is None else m.address for m in (form.x, form.weight, form.bias, self.residual, form.out)]
        sizes = [self.builder.size(d) for d in (form.rows, form.columns, form.depth)]
        distances = [int64(0) if m is None else m.distances[0] for m in (form.x, form.weight, self.residual)]
        has_bias = int64(int(form.bias is not None))
        return tirx.call_packed(LINEAR, *addresses, *sizes, *distances, has_bias, form.dtype, form.result)

    def _finish(self) -> None:
        """What follows, in place."""
        form, builder = self.form, self.builder
        assert isinstance(self.done, Result) and isinstance(form.columns, int)
        out = builder.outputs[form.name]
        epilogue = Epilogue(builder, self.done.node, lambda _, value: value)
        row, group = tirx.Var("i", "int64"), tirx.Var("group", "int64")
        count = LANES if epilogue.wide(lambda lane: form.index(row, group * int64(LANES) + lane)) else 1
        groups = int64(form.columns // count)
        with device.each(builder.size(form.rows) * groups) as number:
            i = T.bind(tirx.truncdiv(number, groups))
            j = T.bind((number - i * groups) * int64(count))
            values = device.registers("values", (count,), out.dtype)
            place = i * int64(form.columns) + j
            if count > 1:
                device.copy(device.address(values, 0), device.address(out, place), count * SIZE[form.result])
            else:
                T.buffer_store(values, out[place], [0])
            epilogue.store(lambda lane: form.index(i, j + lane), lambda v: cast(values[v], held(form.result)), count)
