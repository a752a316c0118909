"""Ops that are methods of tensors too, and what to write for methods that PyTorch's and NumPy's tensors have and ours do not."""

from __future__ import annotations

from typing import Any

from ..ir.errors import TraceError
from ..ir.registry import get_op
from ..tensor import Operators
from ..trace import model_error
from .calls import FUNCTIONS, frontend

OPS_AS_METHODS = ("softmax", "log_softmax", "exp", "log", "sqrt", "rsqrt", "reciprocal", "square", "sin", "cos", "tanh", "erf",
                  "sigmoid", "relu", "abs", "neg", "sign", "floor", "ceil", "round", "isnan", "isinf", "pow")
_VALUES = "what tg.max(x, axis) gives are the values alone; the indices are x.argmax(axis)"
INSTEAD: dict[str, str] = {
    **dict.fromkeys(("contiguous", "clone", "detach", "copy", "cpu", "cuda", "requires_grad_"),
                    "a tensor of a graph has no memory, device or gradient of its own: leave the call out"),
    **dict.fromkeys(("numpy", "item", "tolist", "data"), "it has no values while tracing; call the compiled graph"),
    **dict.fromkeys(("values", "indices"), _VALUES),
    **dict.fromkeys(("add_", "sub_", "mul_", "div_", "masked_fill_", "fill_", "zero_", "copy_", "scatter_", "scatter_add_"),
                    "tensors do not change; take the result of the function without the underscore"),
    "numel": "write x.type.size", "dim": "write x.rank", "ndimension": "write x.rank", "t": "write x.T",
    "nonzero": "the size of the result would depend on data; tg.unpack(mask) lists the True elements of a mask [B, S]",
    "index_select": "write tg.gather(x, indices, axis=...)", "ne": "write x != y", "eq": "write x == y", "lt": "write x < y",
    "le": "write x <= y", "gt": "write x > y", "ge": "write x >= y", "add": "write x + y", "sub": "write x - y",
    "mul": "write x * y", "div": "write x / y", "cumprod": "there is no running product",
    "median": "write x.sort(axis).values[..., n // 2]", "take": "write tg.gather(x, indices, axis=...)",
}


class NoSuchMethod(TraceError, AttributeError):
    """A tensor has no method of that name."""


def _missing(self: Any, name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    import difflib

    known = [n for n in dir(type(self)) if not n.startswith("_")]
    near = difflib.get_close_matches(name, known, n=3)
    hint = INSTEAD.get(name) or (f"write tg.{name}(x, ...)" if name in FUNCTIONS or _is_op(name) else
                                 f"did you mean {', '.join(near)}?" if near else "dir(x) lists what there is")
    raise NoSuchMethod(str(model_error(f"a tensor has no {name!r}: {hint}")))


def _size(self: Any, axis: int | None = None) -> Any:
    """PyTorch's size: that of an axis, or the shape."""
    return self.shape if axis is None else self.shape[axis]


def _is_op(name: str) -> bool:
    from ..ir.errors import RuleError

    try:
        get_op(name)
    except RuleError:
        return False
    return True


for _name in OPS_AS_METHODS:
    setattr(Operators, _name, frontend(get_op(_name)))


Operators.ndim = Operators.rank  # type: ignore[attr-defined]
Operators.size = _size  # type: ignore[attr-defined]
Operators.__getattr__ = _missing  # type: ignore[method-assign]
