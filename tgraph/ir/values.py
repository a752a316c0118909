"""The parts of a graph: typed values, and nodes that apply ops to them. A value knows all its uses."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from .dims import Dim, DimLike
from .dtypes import DType, dtype_of, require_held
from .errors import GraphError
from .location import Provenance
from .registry import Attribute, Op
from .types import TensorType


class Value:
    """A typed tensor in a graph. Identity matters: two values are equal only if they are the same object."""

    __slots__ = ("type", "uses")

    def __init__(self, type: TensorType):
        self.type: TensorType = type
        self.uses: dict[tuple[Node, int], None] = {}  # (user, operand position), in order of creation

    @property
    def users(self) -> list[Node]:
        """The nodes that read this value, each once."""
        return list(dict.fromkeys(node for node, _ in self.uses))

    @property
    def shape(self) -> tuple[DimLike, ...]:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype


class Input(Value):
    """A value that the caller feeds."""

    __slots__ = ("name",)

    def __init__(self, name: str, type: TensorType):
        super().__init__(type)
        self.name: str = name

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


class Parameter(Value):
    """A weight; its data is not in the graph but in `Graph.weights`."""

    __slots__ = ("name",)

    def __init__(self, name: str, type: TensorType):
        super().__init__(type)
        self.name: str = name

    def __repr__(self) -> str:
        return f"@{self.name}: {self.type}"


class Constant(Value):
    """Data that is part of the graph. `data` is None for one that was parsed from a digest and not loaded yet."""

    __slots__ = ("data", "digest")

    def __init__(self, data: np.ndarray | None, type: TensorType, digest: str):
        super().__init__(type)
        self.data: np.ndarray | None = data
        self.digest: str = digest

    @classmethod
    def of(cls, data: Any, dtype: DType | None = None) -> Constant:
        """A constant with a frozen copy of `data`, which is anything that NumPy takes.

        Raises RuleError for a finite number that `dtype` cannot hold: -1e9 in f16 would silently be -inf.
        """
        with np.errstate(all="ignore"):
            array = np.array(data, dtype=dtype.numpy if dtype else None)
        if dtype is not None and dtype.is_float and np.isinf(array).any():
            require_held(np.asarray(data), dtype)
        type = TensorType(dtype_of(array), array.shape)
        array = np.asarray(array, type.dtype.numpy, order="C")  # in this machine's byte order
        array.setflags(write=False)
        return cls(array, type, hashlib.sha256(array.tobytes()).hexdigest())

    def __repr__(self) -> str:
        return f"constant {self.type}" if self.data is None or self.data.size > 4 else f"{self.dtype}({self.data})"


class Result(Value):
    """One output of a node."""

    __slots__ = ("index", "node")

    def __init__(self, node: Node, index: int, type: TensorType):
        super().__init__(type)
        self.node: Node = node
        self.index: int = index

    def __repr__(self) -> str:
        return f"<{self.node.op.name}.{self.index}: {self.type}>"


class Callee:
    """What a `call` node applies, in its attribute `function`: a `Graph` under a name of its own."""

    name: str

    @property
    def data_dependent_dims(self) -> set[str]:
        """The dims whose sizes its nodes compute as they run."""
        raise NotImplementedError

    @property
    def outer_dims(self) -> list[Dim]:
        """The dims that its nodes mention, and that are the caller's: no operand says them, and no node makes them."""
        raise NotImplementedError


class Node:
    """One application of an op. Read it freely; change it only through its Graph."""

    __slots__ = ("attrs", "op", "operands", "provenance", "results")

    def __init__(self, op: Op, operands: Sequence[Value | None], attrs: dict[str, Attribute],
                 types: Sequence[TensorType], provenance: Provenance):
        self.op: Op = op
        self.operands: tuple[Value | None, ...] = tuple(operands)
        self.attrs: dict[str, Attribute] = attrs
        self.results: tuple[Result, ...] = tuple(Result(self, i, t) for i, t in enumerate(types))
        self.provenance: Provenance = provenance

    @property
    def result(self) -> Result:
        """The only result of a node that has one."""
        if len(self.results) != 1:
            raise GraphError(f"{self.op.name} has {len(self.results)} results")
        return self.results[0]

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The operands that are present."""
        if None not in self.operands:
            return self.operands  # type: ignore[return-value]
        return tuple(v for v in self.operands if v is not None)

    def computation(self, operands: Sequence[Value | None]) -> Hashable:
        """A key of the op, its attributes and these operands: nodes with equal keys have equal results."""
        attributes = tuple((name, type(value).__name__, value) for name, value in self.attrs.items())
        return self.op.name, tuple(map(id, operands)), attributes

    @property
    def flops(self) -> DimLike:
        types = [None if v is None else v.type for v in self.operands]
        return self.op.flops(types, [r.type for r in self.results], self.attrs)

    @property
    def nbytes(self) -> DimLike:
        """Bytes read and written, each operand once."""
        total: DimLike = 0
        for value in dict.fromkeys((*self.inputs, *self.results)):
            total = total + value.type.nbytes
        return total

    def __repr__(self) -> str:
        return f"<{self.op.name}{tuple(self.inputs)}>"
