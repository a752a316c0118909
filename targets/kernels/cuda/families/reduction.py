"""Sums, means, extremes over any axes: floats along rows by warps and blocks, the rest a thread for each result."""

from __future__ import annotations

from targets.kernels import reduction
from targets.kernels.access import Index
from targets.kernels.anchor import epilogue
from targets.kernels.cuda import rows as row_kernels
from targets.kernels.cuda.device import each, registers
from targets.kernels.frame import Frame
from targets.kernels.scalar import SCALAR, cast
from targets.target import Target
from targets.tvm_api import Expr, T, int64


def emit(frame: Frame, target: Target) -> None:
    """One reduction and its epilogue."""
    found = reduction.find(frame)
    if found.along_rows:
        reduction.rows(frame, found, row_kernels.reduce)
        return
    access, finish, source = frame.access, epilogue(frame, found.node), found.node.inputs[0]
    shape = source.shape
    kept, reduced = [shape[a] for a in found.kept], [shape[a] for a in found.reduced]
    with each(frame.size(found.results)) as i:
        lead = access.split(i, kept)
        total = registers("total", (1,), found.dtype)
        T.buffer_store(total, reduction.start(found.kind, found.dtype), [0])
        with T.serial(int64(0), frame.size(found.depth)) as k:
            positions: dict[int, Expr] = dict(zip(found.kept, (p for _, p in lead)))
            positions.update(zip(found.reduced, (p for _, p in access.split(k, reduced))))
            at: Index = access.index([positions[a] for a in range(len(shape))], shape)
            element = cast(access.load(source, at), found.dtype)
            T.buffer_store(total, SCALAR[reduction.COMBINE[found.kind]](total[0], element), [0])
        value = total[0] / cast(frame.size(found.depth), found.dtype) if found.kind == "mean" else total[0]
        finish(tuple(lead), value)
