"""Kernels that write a part of a tensor in place, for all targets."""

from __future__ import annotations

from collections.abc import Callable

from targets.base.target import Target
from targets.base.tvm_api import Expr, T, int64, tirx
from targets.codegen.access import as_index
from targets.codegen.anchor import only_node
from targets.codegen.kernel_builder import KernelBuilder
from tgraph.ops.shape import product

Store = Callable[[Expr, Expr], None]
Loop = Callable[[KernelBuilder, Expr, Expr, Callable[[], tuple[Expr, Store]]], None]


def updater(loop: Loop) -> Callable[[KernelBuilder, Target], None]:
    """The emitter of `update_in_place` for a target, whose `loop(builder, rows, columns, begin)` goes over all elements.

    Where the target's device reads memory, `begin()` gives a condition and `store(row, column)`, which is for when it holds.
    The kernel writes the part and reads nothing of the rest. A part that does not fit is not written; `status` tells.
    """

    def emit(builder: KernelBuilder, target: Target) -> None:
        node = only_node(builder, "an update in place", lambda op: op.traits.overwrites is not None)
        update = node.op.traits.update
        assert update is not None
        x, value, start = (node.inputs[i] for i in (update.x, update.value, update.start))
        axis = node.attrs[update.axis]
        access, size = builder.access, builder.size
        lead, width = product(value.shape[:-1]), value.shape[-1]

        def begin() -> tuple[Expr, Store]:
            at = T.bind(as_index(access.load(start, ())))

            def store(row: Expr, column: Expr) -> None:
                index = ((lead, row), (width, column))
                places = access.axes(index, value.shape)
                places[axis] = places[axis] + at
                builder.write(builder.output[0], access.index(places, x.shape), access.load(value, index))

            return tirx.all(at >= int64(0), at + size(value.shape[axis]) <= size(x.shape[axis])), store

        loop(builder, size(lead), size(width), begin)

    return emit
