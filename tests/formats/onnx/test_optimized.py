"""Whole models as ONNX Runtime's optimisers and quantisers write them, against ONNX Runtime on the same file."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import tgraph as tg
from benchmarks.harness.onnx_bert import bert_onnx
from tgraph.formats import import_onnx
from tgraph.models.bert import Bert, BertConfig

CONFIG = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
          "max_position_embeddings": 16, "type_vocab_size": 2, "layer_norm_eps": 1e-12}
EXTENDED = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
AS_IT_IS = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of the quantiser, about what it would like to see first
    path = tmp_path_factory.mktemp("onnx") / "bert.onnx"
    onnx.save(bert_onnx(CONFIG, weights()), str(path))
    yield path
    logging.disable(level)


def weights() -> Mapping[str, np.ndarray]:
    B, S = tg.dims("B S")
    return tg.trace(Bert(BertConfig.from_dict(CONFIG)), input_ids=tg.i64[B, S], mask=tg.bool_[B, S]).weights


def fused(path: Path) -> Any:
    from onnxruntime.transformers import optimizer

    return optimizer.optimize_model(str(path), opt_level=0, model_type="bert", num_heads=CONFIG["num_attention_heads"],
                                    hidden_size=CONFIG["hidden_size"])


def optimized(path: Path, to: Path, level: Any) -> Path:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.optimized_model_filepath, options.log_severity_level = level, str(to), 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return to


def compare(path: Path, *ops: str) -> np.ndarray:
    """What differs between tgraph and ONNX Runtime, at each element; `ops`: what must be in the file."""
    found = Counter(node.op_type for node in onnx.load(str(path)).graph.node)
    assert set(ops) <= set(found), found
    numbers = np.random.default_rng(4)
    mask = (np.arange(9) < np.array([[9], [5], [1]])).astype(np.int64)
    feeds = {"input_ids": numbers.integers(0, 60, (3, 9)), "attention_mask": mask}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = AS_IT_IS
    want = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feeds)
    got = tg.compile(import_onnx(path), level="O3").run(feeds)
    return np.concatenate([np.abs(a - b).reshape(-1) for a, b in zip(got.values(), want)])


def test_plain(plain: Path) -> None:
    assert compare(plain, "Softmax").max() < 1e-4


def test_fused_for_transformers(plain: Path) -> None:
    path = plain.with_name("fused.onnx")
    fused(plain).save_model_to_file(str(path))
    assert compare(path, "Attention", "EmbedLayerNormalization", "SkipLayerNormalization", "BiasGelu").max() < 1e-4


def test_fused_in_halves(plain: Path) -> None:
    path = plain.with_name("halves.onnx")
    model = fused(plain)
    model.convert_float_to_float16(keep_io_types=True)
    model.save_model_to_file(str(path))
    assert compare(path, "Attention").max() < 2e-2


def test_optimized_by_a_session(plain: Path) -> None:
    path = optimized(plain, plain.with_name("session.onnx"), EXTENDED)
    assert compare(path, "FusedMatMul", "BiasGelu").max() < 1e-4


@pytest.mark.parametrize("kind", ["plain", "session", "fused"])
def test_quantized_dynamically(plain: Path, kind: str) -> None:
    """A number beside a tie rounds to one side or the other, and all that follows moves by parts of a unit: most agree."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, path = plain.with_name("for_quantizer.onnx"), plain.with_name(f"dynamic_{kind}.onnx")
    if kind == "fused":
        fused(plain).save_model_to_file(str(source))
    quantize_dynamic(str(source if kind == "fused" else plain), str(path), weight_type=QuantType.QInt8,
                     extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    if kind == "session":
        path = optimized(path, plain.with_name("dynamic_optimized.onnx"), EXTENDED)
    ops = {"plain": ("MatMulInteger", "DynamicQuantizeLinear"), "session": ("DynamicQuantizeMatMul", "MatMulIntegerToFloat"),
           "fused": ("QAttention", "QEmbedLayerNormalization")}
    difference = compare(path, *ops[kind])
    assert np.median(difference) < 5e-3 and difference.max() < 0.2
