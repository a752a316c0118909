"""The cases of ONNX's own test suite that its package holds: nodes, and small models; which tgraph does not pass, by reason."""

from __future__ import annotations

import copy
import re
import unittest
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import onnx

from tgraph.formats.onnx.node import UnsupportedError, element_type
from tgraph.onnx_backend import TGraphBackend, TGraphRep

# patterns of names -> why; every case that one matches must fail, and every pattern must match one
EXCLUDED = {
    # no ops of inference
    r"test_(adagrad|adam|momentum|nesterov_momentum)": "optimisers of training",
    r"test_batchnorm_.*_training_mode": "statistics of the batch, as in training",
    r"test_training_dropout(?!.*zero_ratio)": "elements dropped at random, as in training",
    r"test_bernoulli": "random",
    r"test_gradient_of_": "gradients, as in training",
    # no tensors of one type and size
    r"test_ai_onnx_ml_": "the domain of classical machine learning",
    r"test_tfidfvectorizer_": "strings to counts",
    r"test_optional_": "optionals",
    r"test_(nonmaxsuppression|unique)_": "as many results as the data decides, in an order of its own",
    r"test_image_decoder_": "files of images",
    # loops
    r"test_(loop11|scan_sum|scan9_)": "a loop",
    r"test_range_.*_delta_expanded$": "a loop; the op Range itself passes",
    r"test_linear_attention_": "a recurrence over the sequence",
    # images
    r"test_(gridsample|roialign)_|test_gridsample$": "resampling of images at places that are computed",
    r"test_affine_grid_..(_align_corners)?$": "resampling of images; the op as a function of others passes",
    r"test_(col2im|basic_deform_conv|deform_conv|maxunpool)": "the reverse of a convolution or pooling, or one of moved windows",
    r"test_maxpool_with_argmax_": "where the largest elements of windows lie",
    r"test_convtranspose_3d$": "a convolution of three dimensions",
    # arithmetic
    r"test_(bitshift|bitwise|bitcast)_": "bits of integers",
    r"test_(dft|stft|melweightmatrix)": "Fourier transforms",
    r"test_det_": "determinants",
    r"test_einsum_batch_diagonal$": "a letter twice in one operand of einsum",
    r"test_flexattention(?!.*_expanded)": "a preview, whose scores are changed by a subgraph",
    r"test_attention_4d_causal_fp16_expanded$": "the standard's own rounding of halves at each of its nodes, by one unit",
}
OTHER_TYPES = "element types that tgraph does not have"
# kinds of cases, by the name of a folder of the package -> of the runner's. ("real" are models of images with large inputs.)
KINDS = {"node": "Node", "simple": "Simple", "pytorch-converted": "PyTorchConverted", "pytorch-operator": "PyTorchOperator"}

# what a model of a Transformer is made of, in inference
TRANSFORMER = frozenset((
    "Attention", "RotaryEmbedding", "TensorScatter", "LayerNormalization", "RMSNormalization", "Softmax", "LogSoftmax",
    "Gelu", "Erf", "Tanh", "Sigmoid", "Swish", "SwiGLU", "Relu", "MatMul", "Gemm", "Einsum", "Add", "Sub", "Mul", "Div",
    "Mod", "Pow", "Sqrt", "Reciprocal", "Exp", "Log", "Neg", "Abs", "Sign", "Floor", "Ceil", "Round", "Max", "Min", "Clip",
    "Where", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Not", "Xor", "IsNaN", "IsInf", "Sin",
    "Cos", "Cast", "CastLike", "Shape", "Size", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Concat",
    "Split", "Slice", "Pad", "Tile", "Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Range",
    "ConstantOfShape", "Constant", "Identity", "OneHot", "CumSum", "Trilu", "ArgMax", "ArgMin", "TopK", "NonZero",
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "QuantizeLinear", "DequantizeLinear",
    "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul",
))


class Reference(TGraphBackend):
    """The graph as it was imported, by the NumPy reference."""

    target = "numpy"
    options = {"level": "O0"}


class Cpu(TGraphBackend):
    """Compiled for this machine's CPU."""

    options = {"level": "O3", "cache": False}


@cache
def cases() -> dict[str, Any]:
    """The cases by name: each has a model, and inputs with what comes out."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of divisions by zero, as the suite computes what it expects
        return {case.name: _loaded(case) for kind in KINDS for case in load_model_tests(kind=kind)}


def _loaded(case: Any) -> Any:
    """A case with its model and its arrays, which those of models have in files."""
    if case.model is not None:
        return case
    folder = Path(case.model_dir)
    model = onnx.load(folder / "model.onnx")
    tensors = all(i.type.WhichOneof("value") == "tensor_type" for i in [*model.graph.input, *model.graph.output])
    sets = [tuple([onnx.load_tensor(file) for file in sorted(given.glob(f"{side}_*.pb"))] for side in ("input", "output"))
            for given in sorted(folder.glob("test_data_set*")) if tensors]
    return replace(case, model=model, data_sets=sets)


@cache
def _suites(backend: type[TGraphBackend]) -> dict[str, type[unittest.TestCase]]:
    """The runner's tests by kind of case."""
    import onnx.backend.test

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = onnx.backend.test.BackendTest(backend, __name__).test_cases
        return {kind: found[f"OnnxBackend{name}ModelTest"] for kind, name in KINDS.items()}


def failure(name: str, backend: type[TGraphBackend]) -> str | None:
    """Why a case fails on a backend; None if it passes."""
    result = unittest.TestResult()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _suites(backend)[cases()[name].kind](f"{name}_cpu").run(result)
    assert result.testsRun == 1
    if result.skipped:  # the runner asks for models whether the backend can import them
        return "it cannot be imported"
    wrong = [*result.failures, *result.errors]
    return wrong[0][1] if wrong else None


def of_our_types(name: str) -> bool:
    """Whether all inputs and outputs of a case are tensors of element types that tgraph has."""
    return all(map(_ours, [*cases()[name].model.graph.input, *cases()[name].model.graph.output]))


def _ours(info: Any) -> bool:
    if info.type.WhichOneof("value") != "tensor_type":
        return False
    try:
        element_type(info.type.tensor_type.elem_type)
    except UnsupportedError:
        return False
    return True


def of_transformers(name: str) -> bool:
    """Whether all nodes of a case are ops that Transformers are made of."""
    return all(node.op_type in TRANSFORMER and not node.domain for node in cases()[name].model.graph.node)


def excluded(name: str) -> str | None:
    """Why a case is not expected to pass; None if it is."""
    if not of_our_types(name):
        return OTHER_TYPES
    return next((why for pattern, why in EXCLUDED.items() if re.match(pattern, name)), None)


def of_kind(*kinds: str) -> list[str]:
    """The names of the cases of some kinds."""
    return [name for name, case in cases().items() if case.kind in kinds]


def part(names: Iterable[str], number: int, count: int) -> Sequence[str]:
    """Every `count`-th name, from one on."""
    return sorted(names)[number::count]


def require(names: Iterable[str], backend: type[TGraphBackend]) -> None:
    """Raises AssertionError that lists what is not as the table says."""
    found = []
    for name in names:
        why, reason = excluded(name), failure(name, backend)
        if why is None and reason is not None:
            found.append(f"{name} fails:\n{reason}")
        if why is not None and reason is None:
            found.append(f"{name} passes, and is excluded ({why})")
    assert not found, "\n".join(found)


def run_symbolic(name: str) -> None:
    """A case by the reference, with a symbol for every size above 1. Raises what the import raises, or an AssertionError."""
    from onnx.backend.test.runner import Runner, _normalize_tensor

    case = cases()[name]
    rep = TGraphRep(_symbolic(case.model), {"target": "numpy", "level": "O0"})
    for inputs, outputs in case.data_sets:
        found = rep.run([_normalize_tensor(i) for i in inputs])
        Runner.assert_similar_outputs([_normalize_tensor(o) for o in outputs], found, case.rtol, case.atol)


def _symbolic(model: onnx.ModelProto) -> onnx.ModelProto:
    made = copy.deepcopy(model)
    for value in made.graph.input:
        for size in value.type.tensor_type.shape.dim:
            if size.HasField("dim_value") and size.dim_value > 1:
                size.dim_param = f"D{size.dim_value}"
    del made.graph.value_info[:]
    return made
