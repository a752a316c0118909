"""Hints for error messages: what to write instead of functions of NumPy, PyTorch and Python that compute at once."""

from __future__ import annotations

import difflib
import inspect
import linecache
import re
from collections.abc import Callable
from typing import Any

from .ir.errors import RuleError, TraceError
from .ir.registry import get_op
from .public import FUNCTIONS, public_names

# By the function's name there. Names that tgraph has as well are found without an entry.
WRITE = {
    "absolute": "tg.abs(x)", "add.reduce": "x.sum(axis=...)", "all": "mask.all(axis=...)", "allclose": "tg.abs(x - y) < 1e-5",
    "amax": "x.amax(axis=...)", "amin": "x.amin(axis=...)", "any": "mask.any(axis=...)", "arange": "tg.arange(n)",
    "array": "x itself", "asarray": "x itself", "astype": "x.astype(tg.f32)", "bmm": "x @ y",
    "broadcast_to": "tg.broadcast_to(x, (...))", "cat": "tg.cat([x, y], dim=...)", "clamp": "tg.clip(x, min=..., max=...)",
    "concatenate": "tg.concatenate([x, y], axis=...)", "copy": "x itself: tensors never change", "divide": "x / y",
    "empty_like": "tg.zeros_like(x)", "expand_dims": "tg.expand_dims(x, axis=...)", "float_power": "x ** y",
    "full_like": "tg.full_like(x, ...)", "hstack": "tg.concatenate([x, y], axis=1)",
    "index_select": "tg.gather(x, indices, axis=...)", "max": "x.max(axis=...)", "mean": "x.mean(axis=...)",
    "min": "x.min(axis=...)", "mm": "x @ y", "multiply": "x * y", "ndim": "x.rank", "norm": "x.norm(axis=...)",
    "permute": "x.permute(0, 2, 1)", "power": "x ** y", "prod": "x.prod(axis=...)",
    "scaled_dot_product_attention": "tg.attention(q, k, v, mask)", "shape": "x.shape", "size": "x.shape",
    "stack": "tg.stack([x, y], axis=...)", "std": "x.std(axis=...)", "subtract": "x - y", "sum": "x.sum(axis=...)",
    "take": "tg.gather(x, indices, axis=...)", "tile": "tg.tile(x, (...))", "true_divide": "x / y", "var": "x.var(axis=...)",
    "vstack": "tg.concatenate([x, y], axis=0)",
}

_OUTPUT = "it has no values while tracing; return it as an output, and call the compiled graph"
_NO_STATE = ("a tensor of a graph has no memory, device or gradient of its own: leave the call out "
             "(tg.compile(graph, target=...) chooses what runs the graph)")
_BOTH = "of x.max(axis) there are the values alone; the indices are x.argmax(axis), and x.topk(k) has both"
# By the name of a tensor's attribute there.
ATTRIBUTES = {
    **dict.fromkeys(("item", "numpy", "tolist", "data"), _OUTPUT),
    **dict.fromkeys(("backward", "clone", "contiguous", "copy", "cpu", "cuda", "detach", "device", "grad", "requires_grad",
                     "requires_grad_"), _NO_STATE),
    **dict.fromkeys(("values", "indices"), _BOTH), "dim": "write x.rank", "numel": "write x.type.size", "t": "write x.T",
    "eq": "write x == y", "ne": "write x != y", "lt": "write x < y", "le": "write x <= y", "gt": "write x > y",
    "ge": "write x >= y",
    "nonzero": "its size would depend on data; tg.unpack(mask) lists the True elements of a mask [B, S]",
}


class MissingAttribute(TraceError, AttributeError):
    """A tensor has no attribute of that name; says what to write instead."""


def instead_of(name: str) -> str | None:
    """What to write instead of a function of that name, such as `tg.softmax(x, axis=-1)`; None if there is nothing."""
    if name in WRITE:
        return WRITE[name]
    own = _own(name)
    if own is not None:
        return f"tg.{name}{_signature(own)}"
    bare = name.rstrip("_")  # PyTorch's functions that change a tensor in place: relu_
    return instead_of(bare) if bare != name else None


def near(name: str) -> str:
    """A hint for a function that tgraph does not have by that name: similar names."""
    found = difflib.get_close_matches(name, public_names(), n=3)
    return f"`tgraph ops` lists the functions there are{'; near: ' + ', '.join(found) if found else ''}"


def instead_of_attribute(name: str) -> str:
    """What to write instead of `x.name`."""
    if name in ATTRIBUTES:
        return ATTRIBUTES[name]
    found = instead_of(name)
    return f"write {found}" if found else near(name)


def functions_of_line(file: str, line: int) -> list[str]:
    """What to write instead of each function of `math` on a line of the user's code."""
    names = re.findall(r"\bmath\.(\w+)\(", linecache.getline(file, line))
    return [f"{instead_of(n)} in place of math.{n}" for n in dict.fromkeys(names) if _own(n) is not None]


def _own(name: str) -> Callable[..., Any] | None:
    """The op or function of tgraph by that name, None if there is none."""
    try:
        return get_op(name).infer
    except RuleError:
        pass
    return FUNCTIONS.get(name)


def _signature(function: Callable[..., Any]) -> str:
    shown = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            shown += ["x", "y"]
        elif parameter.default is not None:
            default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
            shown.append(parameter.name + (default or ("=..." if parameter.kind is parameter.KEYWORD_ONLY else "")))
    return f"({', '.join(shown)})"
