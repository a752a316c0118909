"""A node of an ONNX model as the functions of the registry see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tgraph.ir.cached import cached_property

from ...ir.dims import Dim, DimLike
from ...ir.dtypes import DTYPES, DType
from ...ir.errors import FormatError, TGraphError
from .known import Known

if TYPE_CHECKING:
    from onnx import NodeProto

    from .importer import Scope

_REQUIRED: Any = object()


class UnsupportedError(TGraphError):
    """What a node asks for is not there; the message says what, and what to do.

    operand: the position of an operand whose elements must be known while importing, if that is what is asked for.
    """

    def __init__(self, message: str, operand: int | None = None):
        super().__init__(message)
        self.operand: int | None = operand


class NeedsInputsError(FormatError):
    """A model needs the elements of some of its inputs while it is imported: `import_onnx(model, inputs={name: array})`."""

    def __init__(self, message: str, inputs: Sequence[str]):
        super().__init__(message)
        self.inputs: tuple[str, ...] = tuple(inputs)


@dataclass
class OnnxNode:
    """A node with its operands: what is known while importing as `Known`, all else as tensors, None where one is left out.

    version: of the opset of its domain. scope: what its subgraphs may read.
    """

    proto: NodeProto
    index: int
    version: int
    operands: Sequence[Any]
    scope: Scope = field(repr=False)

    @property
    def op(self) -> str:
        return self.proto.op_type

    @cached_property
    def attributes(self) -> dict[str, Any]:
        import onnx.helper

        found = {}
        for attribute in self.proto.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            found[attribute.name] = _plain(value)
        return found

    def attribute(self, name: str, default: Any = _REQUIRED) -> Any:
        """An attribute; strings as text. Raises UnsupportedError for one that has no default and is not there."""
        if name in self.attributes:
            return self.attributes[name]
        if default is _REQUIRED:
            raise UnsupportedError(f"has no attribute {name!r}, which it must have")
        return default

    def given(self, position: int) -> bool:
        """Whether an operand is there."""
        return position < len(self.operands) and self.operands[position] is not None

    def wants(self, position: int) -> bool:
        """Whether somebody may read a result."""
        return position < len(self.proto.output) and bool(self.proto.output[position])

    @property
    def results(self) -> int:
        """How many results the node has."""
        return len(self.proto.output)

    def array(self, position: int, what: str) -> np.ndarray:
        """An operand whose elements are known while importing. Raises UnsupportedError that says what it is for."""
        operand = self.operands[position]
        if isinstance(operand, Known) and operand.is_constant:
            return operand.array
        raise UnsupportedError(f"takes {what} from {self._said(position)}; tgraph needs it as a constant: simplify the model, or "
                               "export it with that input fixed", position)

    def sizes(self, position: int, what: str) -> list[DimLike]:
        """An operand of rank 1 or 0 as sizes, which may be symbolic. Raises UnsupportedError that says what it is for."""
        operand = self.operands[position]
        if isinstance(operand, Known) and operand.array.ndim <= 1:
            return [d if isinstance(d, Dim) else int(d) for d in operand.array.reshape(-1).tolist()]
        raise UnsupportedError(f"takes {what} from {self._said(position)}; tgraph knows sizes that come from the shapes of "
                               "inputs, not from their elements", position)

    def axes(self, position: int, name: str = "axes") -> tuple[int, ...] | None:
        """Axes that are an attribute in old opsets, and an operand in new ones; None where they are left out."""
        if self.given(position):
            return tuple(int(a) for a in self.array(position, name).reshape(-1))
        found = self.attribute(name, None)
        return None if found is None else tuple(found) if isinstance(found, (list, tuple)) else (found,)

    def dtype(self, name: str = "to", default: DType | None = None) -> DType:
        """An attribute that is an element type."""
        number = self.attribute(name, None)
        if number is None and default is not None:
            return default
        return element_type(number)

    def _said(self, position: int) -> str:
        return f"its input {self.proto.input[position]!r}, which is computed"


def element_type(number: Any) -> DType:
    """The element type of a number in ONNX's table. Raises UnsupportedError for one that tgraph does not have."""
    import onnx

    try:
        name = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number)))
        found = next((d for d in DTYPES.values() if d.numpy_name == name), None)
    except (KeyError, ValueError, TypeError):
        name, found = str(number), None
    if found is None or number == onnx.TensorProto.STRING:
        kinds = onnx.TensorProto.DataType
        shown = kinds.Name(number).lower() if number in kinds.values() else name
        raise UnsupportedError(f"has the element type {shown}; tgraph has {', '.join(d.numpy_name for d in DTYPES.values())}")
    return found


def _plain(value: Any) -> Any:
    """An attribute in Python: strings as text, and an f32 as its exporter wrote it, 1e-05 for 9.999999747378752e-06."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float):
        return float(str(np.float32(value)))
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
