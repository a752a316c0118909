"""A module of PyTorch to a graph: torch's exporter in memory, its program imported as any ONNX model, its weights shared.

The program is taken as torch's exporter translates it, without its optimiser: parameters keep the names that the module gives
them, and what an optimiser of ONNX does, the importer and the passes do anyway.
"""

from __future__ import annotations

import importlib
import logging
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.dims import Dim, DimLike, as_symbol, dim
from ...ir.errors import TraceError
from ...ir.graph import Graph
from ...ir.location import Location, Provenance
from ...trace import snake_case
from .importer import import_model
from .model import Arrays, program_model
from .torch_metadata import is_model_code, lines_of, scope_of_stack

if TYPE_CHECKING:
    import torch

SMALLEST = 1024  # bytes; smaller arrays go into the message
UNBOUNDED = 2 ** 31  # an upper bound that is none


def import_torch(module: torch.nn.Module | torch.export.ExportedProgram, args: Any, kwargs: Mapping[str, Any] | None,
                 dynamic_shapes: Any, dims: Mapping[str, DimLike] | None) -> Graph:
    """`tg.import_torch`, which this package's `__init__` documents, and which imports nothing of this until it is called."""
    torch = _torch()
    if not isinstance(module, (torch.nn.Module, torch.export.ExportedProgram)):
        raise TraceError(f"import_torch takes a torch.nn.Module or a torch.export.ExportedProgram, not {type(module).__name__}")
    given: dict[str, DimLike] = {}
    shapes = _torch_shapes(dynamic_shapes, given)
    given.update(dims or {})
    name = _name(module)
    program = _exported(module, (args,) if isinstance(args, torch.Tensor) else tuple(args), dict(kwargs or {}), shapes, name)
    known = _bounded(program, given, name)
    proto, arrays = _without_weights(program, name)
    proto.graph.name = snake_case(name)
    graph = import_model(program_model(proto, name, arrays, _checkpoint(module)), known)
    _name_outputs(graph, program)
    _name_aliases(graph, module)
    return graph


def _torch() -> Any:
    """The torch package. Raises ModuleNotFoundError that says what to install, and TraceError for a torch that is too old."""
    missing = []
    for package in ("torch", "onnxscript"):
        try:
            importlib.import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise ModuleNotFoundError("tg.import_torch needs PyTorch with its ONNX exporter, which needs onnxscript: "
                                  f"pip install {' '.join(missing)}", name=missing[0])
    import torch

    if not hasattr(torch.onnx, "ONNXProgram"):
        raise TraceError("tg.import_torch needs a PyTorch whose torch.onnx.export gives an ONNXProgram, which "
                         f'{torch.__version__} does not: pip install "torch>=2.13"')
    return torch


def _name(module: Any) -> str:
    """The class of the module; an exported program does not tell, so it is called so."""
    return type(module).__name__


# The exporter

def _exported(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], shapes: Any, name: str) -> Any:
    """The ONNXProgram. Raises TraceError that says what torch's exporter does not take, by module and line."""
    import torch

    try:
        with torch.no_grad(), _evaluating(module), _quiet():
            return torch.onnx.export(module, args, kwargs=kwargs, dynamic_shapes=shapes, dynamo=True, optimize=False,
                                     verbose=False)
    except Exception as error:  # of torch's classes, and of those of the module's own code
        where = _where(error, module).describe()
        raise TraceError(f"torch's exporter cannot export {name}: {reason(error)}" + (where and f"\n  {where}")) from None


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """The module as at inference, and afterwards as it was."""
    training = [m for m in getattr(module, "modules", list)() if m.training]
    if training:
        module.eval()
    try:
        yield
    finally:
        for inner in training:
            inner.training = True


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings about the exporter's own business."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _causes(error: BaseException) -> list[BaseException]:
    """An error and what it comes from, the first cause last."""
    found = [error]
    while found[-1].__cause__ is not None and found[-1].__cause__ not in found:
        found.append(found[-1].__cause__)
    return found


def reason(error: BaseException) -> str:
    """Why the exporter gave up: the first cause, without advice on how to debug torch."""
    first = _causes(error)[-1]
    text = str(first).strip().split("\n\n")[0].strip()
    text = re.sub(r"\s*See the stack trace for more information\.|\x1b\[\d+m", "", text)
    operator = re.search(r"No ONNX function found for (?:<OpOverload\(op='([^']*)'|(.*?)\.)", "\n".join(map(str, _causes(error))))
    if operator:
        return f"ONNX has no op for {operator.group(1) or operator.group(2)}"
    return text if type(first).__module__.startswith("torch") else f"{type(first).__name__}: {text}"


def _where(error: BaseException, module: Any) -> Provenance:
    """The innermost module, and the innermost line outside of torch, that an error of the exporter speaks of."""
    import torch

    names = {id(inner): path for path, inner in getattr(module, "named_modules", list)()}
    scope, line = "", None
    for cause in _causes(error):
        for frame, number in traceback.walk_tb(cause.__traceback__):
            node = frame.f_locals.get("node")
            if isinstance(node, torch.fx.Node) and "nn_module_stack" in node.meta:  # the node that is being translated
                stack = [path for path, _ in node.meta["nn_module_stack"].values()]
                return Provenance((scope_of_stack(stack),), tuple(lines_of(node.meta.get("stack_trace") or "")[-1:]))
            scope = names.get(id(frame.f_locals.get("self"))) or scope
            if is_model_code(frame.f_code.co_filename):
                line = Location(frame.f_code.co_filename, number)
    return Provenance((scope,) if scope else (), (line,) if line else ())


# What the program says of sizes

def _torch_shapes(shapes: Any, dims: dict[str, DimLike]) -> Any:
    """torch's dynamic_shapes with the names of our dims in their place, which are collected."""
    if isinstance(shapes, Dim):
        symbol = as_symbol(shapes)
        if symbol is None:
            raise TraceError(f"dynamic_shapes has {shapes}; a size is one dim, or a number")
        dims[symbol.name] = shapes
        return symbol.name
    if isinstance(shapes, Mapping):
        return {key: _torch_shapes(value, dims) for key, value in shapes.items()}
    if isinstance(shapes, (list, tuple)):
        made = [_torch_shapes(value, dims) for value in shapes]
        return made if isinstance(shapes, list) else tuple(made)
    return shapes


def _bounded(program: Any, given: Mapping[str, DimLike], name: str) -> dict[str, DimLike]:
    """Dims by name: those given, and those that the exported program has bounds for, within these.

    Raises TraceError for a size for which the program does not hold.
    """
    exported, found = program.exported_program, dict(given)
    if exported is None:
        return found
    placeholders = {node.name: node.meta.get("val") for node in exported.graph.nodes if node.op == "placeholder"}
    for value in program.model.graph.inputs:
        for size, named in zip(getattr(placeholders.get(value.name), "shape", ()), value.shape or ()):
            bounds = exported.range_constraints.get(getattr(getattr(size, "node", None), "expr", None))
            label = getattr(named, "value", None)
            if bounds is None or not isinstance(label, str) or not label.isidentifier():
                continue
            least, most = _bound(bounds.lower) or 0, _bound(bounds.upper)
            least = 0 if least <= 2 else least  # from two on is what torch says of any size that is not fixed
            most = None if most is None or most >= UNBOUNDED else most
            if (least, most) != (0, None):
                where = f"what torch exported of {name} holds for {least} <= {label}" + ("" if most is None else f" <= {most}")
                found[label] = _within(found.get(label, dim(label)), least, most, where)
    return found


def _within(size: DimLike, least: int, most: int | None, where: str) -> DimLike:
    """A size with bounds. Raises TraceError that says `where` if it has none within them."""
    symbol = as_symbol(size)
    low = high = size if isinstance(size, int) else None
    if symbol is not None:
        low, high = max(symbol.min, least), min((m for m in (symbol.max, most) if m is not None), default=None)
    if low is not None and (low < least or (most is not None and low > most) or (high is not None and low > high)):
        raise TraceError(f"{where}, and {size if symbol is None else f'{size} >= {symbol.min}'} is given for it")
    return size if symbol is None else dim(symbol.name, min=low or 0, max=high)


def _bound(number: Any) -> int | None:
    try:
        return int(number)
    except (TypeError, ValueError, OverflowError, AttributeError):  # an infinity of torch's
        return None


# Weights and names

def _without_weights(program: Any, name: str) -> tuple[Any, Arrays]:
    """The program's message without its large arrays, and these by name: the module's own memory where it is the CPU's."""
    import onnx_ir

    arrays: dict[str, np.ndarray] = {}
    first: dict[Any, Any] = {}  # what lies at a place in memory
    for key, value in list(program.model.graph.initializers.items()):
        held = value.const_value
        if held is None or held.nbytes < SMALLEST:
            continue
        try:
            array = np.asarray(held.numpy())
        except Exception as error:  # a tensor of torch's that has no memory, of one of many classes
            raise TraceError(f"{name} has no data for {key!r}: {str(error).splitlines()[0]}; load its weights before") from None
        place = (array.ctypes.data, array.shape, array.strides, array.dtype)
        if place in first and not value.is_graph_output():
            value.replace_all_uses_with(first[place])
            del program.model.graph.initializers[key]
            continue
        first[place], arrays[key] = value, array
        value.const_value = onnx_ir.ExternalTensor(location="memory", offset=0, length=held.nbytes, dtype=held.dtype,
                                                   shape=held.shape, name=key, base_dir="")
    return onnx_ir.to_proto(program.model), {key: (lambda array=array: array) for key, array in arrays.items()}


def _checkpoint(module: Any) -> Mapping[str, Any]:
    """What the module's checkpoints hold, by name: parameters, and buffers that persist."""
    import torch

    found: Mapping[str, Any] = module.state_dict(keep_vars=True) if isinstance(module, torch.nn.Module) else module.state_dict
    return found


def _name_outputs(graph: Graph, program: Any) -> None:
    """Name the outputs by what the module returns, as `tg.trace` does; nothing where torch does not tell."""
    exported = program.exported_program
    if exported is None:
        return
    kept = [hasattr(spec.arg, "name") for spec in exported.graph_signature.output_specs if spec.kind.name == "USER_OUTPUT"]
    names = _leaves(exported.call_spec.out_spec)
    if len(names) != len(kept):
        return
    names = [name for name, tensor in zip(names, kept) if tensor]
    if len(names) == len(graph.outputs) and len(set(names)) == len(names):
        graph.set_outputs(zip(names, (value for _, value in graph.outputs)))


def _leaves(spec: Any, path: str = "") -> list[str]:
    """Names of the leaves of a tree of torch's: keys and fields, numbers in sequences."""
    if spec.is_leaf():
        return [path or "output"]
    children = spec.children() if hasattr(spec, "children") else spec.children_specs
    context = spec.context
    fields = getattr(context, "_fields", context)
    if isinstance(fields, Sequence) and len(fields) == len(children) and all(isinstance(f, str) for f in fields):
        keys = [f"{path}.{f}" if path else f for f in fields]
    else:
        keys = [f"{path}.{i}" if path else f"output{i}" for i in range(len(children))]
    return [leaf for key, child in zip(keys, children) for leaf in _leaves(child, key)]


def _name_aliases(graph: Graph, module: Any) -> None:
    """The other paths of shared parameters, so that the module's own checkpoint loads."""
    shared: dict[int, list[str]] = {}
    for path, parameter in _checkpoint(module).items():
        shared.setdefault(id(parameter), []).append(path)
    for paths in shared.values():
        first = next((path for path in paths if path in graph.parameters), None)
        if first is not None:
            graph.weights.aliases.update({path: first for path in paths if path not in graph.parameters})
