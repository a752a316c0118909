"""What others make of a program: PyTorch in float64, op by op, and of the exported model ONNX Runtime, and our own import.

PyTorch and ONNX Runtime are optional."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import tgraph as tg
from tgraph.formats.onnx.export import to_model
from tgraph.formats.onnx.importer import import_onnx
from tgraph.formats.onnx.writing.writer import tensor
from tgraph.ir.dtypes import u8
from tgraph.ir.values import Node
from tgraph.reference.interpreter import Interpreter
from tgraph.testing.case import Case
from tgraph.testing.findings import kind_of, short
from tgraph.testing.literals import Literals, Unrounded, remembered
from tgraph.testing.oracle import Expectation

OPSETS = (13, 17, 20, 23)
HAS_TORCH = importlib.util.find_spec("torch") is not None
HAS_ONNXRUNTIME = importlib.util.find_spec("onnxruntime") is not None
# What ONNX Runtime says of models that are sound: it has no kernel for an op of these types.
NO_KERNEL = ("NOT_IMPLEMENTED", "bfloat16", "Numpy_type", "does not support double")
OF_ATTRIBUTES = 1e-6  # the tolerance in float64: numbers in attributes are f32
SPOILT = "NaN, infinities or overflow among what an op sums, which its parts in ONNX let into more results"
# Elementwise ops that NaN does not simply pass through.
CHOOSES = ("maximum", "minimum", "relu", "leaky_relu", "clip", "sign", "cast", "pow")


def torch(case: Case) -> None:
    """PyTorch beside the reference, both in float64."""
    if not HAS_TORCH:
        case.outcome.not_comparable["torch: PyTorch is not installed"] += 1
        return
    from tgraph.testing import torch_run

    for trial, expectation in case.expected.items():
        with np.errstate(all="ignore"):
            wide = case.wide(trial)
            try:
                found, unmapped = torch_run.run(case.graph, expectation.feeds)
            except Exception as error:
                case.outcome.add("reference", "torch", f"torch_run: {short(error)}")
                return
        if unmapped:
            case.outcome.not_comparable.update(f"torch: no meaning of {name}" for name in unmapped)
            return
        problem = wide.difference(found, strict=False)[0]
        if problem is not None:
            case.outcome.add("reference", "torch", f"PyTorch in float64 differs: {problem} (trial {trial})")
            return
    case.outcome.ways["torch"] += bool(case.expected)


def onnx(case: Case, ways: Collection[str]) -> None:
    """The exported model, read again and run by the reference (`onnx-import`), and in ONNX Runtime (`onnx`)."""
    ways = [way for way in ("onnx-import", "onnx") if way in ways]
    if ways == ["onnx"] and not HAS_ONNXRUNTIME:
        case.outcome.not_comparable["onnx: ONNX Runtime is not installed"] += 1
        return
    opset = OPSETS[case.seed % len(OPSETS)]
    try:
        with remembered() as literals:
            model, arrays = to_model(case.graph, opset)
    except tg.FormatError as error:
        case.outcome.not_comparable.update(f"{way}: no export, {str(error).split(': ')[1].split(',')[0]}" for way in ways)
        return
    except Exception as error:
        case.outcome.add("error", ways[0], f"export at opset {opset}: {short(error)}")
        return
    model.graph.initializer.extend(tensor(name, array) for name, array in arrays.items())
    if "onnx-import" in ways:
        _imported(case, model, opset, literals)
    if "onnx" in ways:
        _in_onnxruntime(case, model, opset)


def _imported(case: Case, model: Any, opset: int, literals: Literals) -> None:
    """What the reference makes of the exported model, read again.

    Decompositions round where an op does not, so what differs at the precision of the types may be right in float64, with the
    numbers that they have before they are rounded.
    """
    names = [name for name, _ in case.graph.outputs]
    try:
        again = import_onnx(model)
        for trial, expectation in case.expected.items():
            feeds = dict(zip([i.name for i in again.inputs], expectation.feeds.values()))
            problem = case.compare(dict(zip(names, Interpreter(again, faithful=True).run(feeds).values())), trial, strict=False)
            if problem is not None:
                close = replace(case.wide(trial), allowed=None, least=OF_ATTRIBUTES)
                found = Unrounded(again, literals=literals).run(feeds).values()
                problem = close.difference(dict(zip(names, found)), strict=False)[0]
            if problem is not None and _spoilt(case.graph, expectation):
                case.outcome.not_comparable[f"onnx-import: {SPOILT}"] += 1
                return
            if problem is not None:
                case.outcome.add("wrong", "onnx-import", f"at opset {opset}: {problem}\n  {case.sizes(trial)}")
                return
    except Exception as error:
        case.outcome.add(kind_of(error), "onnx-import", f"at opset {opset}: {short(error)}")
        return
    case.outcome.ways["onnx-import"] += 1


def _spoilt(graph: tg.Graph, expectation: Expectation) -> bool:
    """Whether an op that is taken apart, or multiplied by ones and zeros, for ONNX, gets what these make a NaN of."""
    found = []

    def look(node: Node, operands: Sequence[np.ndarray | None], results: Sequence[np.ndarray]) -> None:
        if not node.op.elementwise and node.op.traits.view is None:
            for value, operand in zip(node.operands, operands):
                if value is not None and operand is not None and value.dtype.is_float:
                    found.append(not (operand.astype(np.float64) ** 2 <= value.dtype.largest).all())

    with np.errstate(all="ignore"):
        Interpreter(graph, faithful=True, observer=look).run(expectation.feeds)
    return any(found)


def _in_onnxruntime(case: Case, model: Any, opset: int) -> None:
    """ONNX Runtime on calm numbers: what NaN and infinities give there is its own affair."""
    if not HAS_ONNXRUNTIME:
        case.outcome.not_comparable["onnx: ONNX Runtime is not installed"] += 1
        return
    expectation = case.expected.get(0)
    if expectation is None:
        return
    reason = _unlike(case.graph, expectation)
    if reason:
        case.outcome.not_comparable[f"onnx: {reason}"] += 1
        return
    try:
        found = _run(model, expectation)
    except Exception as error:  # its own classes
        if any(words in str(error) for words in NO_KERNEL):
            case.outcome.not_comparable["onnx: no kernel in ONNX Runtime for the element types"] += 1
        else:
            case.outcome.add("refused", "onnx", f"by ONNX Runtime at opset {opset}: {short(error)}")
        return
    problem = replace(expectation, least=OF_ATTRIBUTES).difference(found, strict=False)[0]
    if problem is not None:
        case.outcome.add("wrong", "onnx", f"ONNX Runtime at opset {opset}: {problem}\n  {case.sizes(0)}")
        return
    case.outcome.ways["onnx"] += 1


@functools.cache
def pairs_saturate() -> bool:
    """Whether ONNX Runtime adds products of unsigned and signed bytes in 16 bits here, as it does on x86 CPUs without VNNI."""
    from targets.base.target import Target

    host = Target.parse("cpu")
    return host.has("avx2") and not any(host.has(feature) for feature in ("avxvnni", "avx512vnni"))


def _run(model: Any, expectation: Expectation) -> dict[str, np.ndarray]:
    """What ONNX Runtime gives, without its optimisations: in 1.32 they make 0 of 1 - x / y * y where that is not 0."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [name for name, _ in expectation.graph.outputs]
    arrays = [np.asarray(expectation.feeds[i.name]) for i in expectation.graph.inputs]
    feeds = dict(zip([i.name for i in session.get_inputs()], arrays))
    return dict(zip(names, session.run(None, feeds)))


def _unlike(graph: tg.Graph, expectation: Expectation) -> str:
    """What ONNX leaves open in a program, or ONNX Runtime does otherwise; empty if there is nothing of it."""
    found = []

    def look(node: Node, operands: Sequence[np.ndarray | None], results: Sequence[np.ndarray]) -> None:
        name, arrays = node.op.name, dict(zip([o.name for o in node.op.operands], operands))
        whole = results[0].dtype.kind in "iu"
        lengths = arrays.get("lengths")
        if lengths is not None and (lengths < 1).any():
            found.append("a recurrent layer over no steps, whose last state ONNX leaves open")
        chooses = name in CHOOSES or not (node.op.elementwise or node.op.traits.view)
        if chooses and any(o is not None and o.dtype.kind in "fV" and np.isnan(o.astype(np.float64)).any() for o in operands):
            found.append("NaN among what an op compares or sums")
        if name in ("where", "mod", "floor_div") and not whole and (np.signbit(results[0]) & (results[0] == 0)).any():
            found.append("-0.0, of which its Where makes 0.0")
        if name == "integer_linear" and node.inputs[0].dtype == u8 and pairs_saturate():
            found.append("products of unsigned bytes, of which its pairs saturate at 16 bits without VNNI")
        if "lengths" in arrays and operands[0] is not None and not operands[0].size:
            found.append("a recurrent layer of nothing, at which it crashes")
        if name == "attention" and not results[0].size:
            found.append("attention of nothing, which it refuses")
        if whole and name == "cast" and operands[0] is not None and operands[0].dtype.kind in "fV":
            value, ends = np.trunc(operands[0].astype(np.float64)), np.iinfo(results[0].dtype)
            if ((value < ends.min) | (value > ends.max)).any():
                found.append("a float beyond the integers that it becomes, which ONNX leaves open")
        if whole and name == "reduce_prod" and operands[0] is not None:
            product = np.abs(operands[0].astype(np.float64)).prod(axis=node.attrs["axes"], keepdims=node.attrs["keepdims"])
            if (product > 2.0**31 - 1).any():
                found.append("a product of integers overflows, which is not wrapped around there")

    Interpreter(graph, faithful=True, observer=look).run(expectation.feeds)
    return found[0] if found else ""
