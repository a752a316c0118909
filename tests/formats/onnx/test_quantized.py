"""Whole models as ONNX Runtime's quantisers write them: its results, from weights as narrow as in the file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import tgraph as tg
from benchmarks.harness.onnx_bert import bert_onnx
from benchmarks.harness.onnx_blocks import in_blocks
from targets.cpu.emitters.quantized import integer_tile
from tests.targets.weight_storage import prepared_bytes, weight_bits
from tgraph.formats import import_onnx
from tgraph.models.bert import Bert, BertConfig
from tgraph.testing.others import pairs_saturate

CONFIG = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
          "max_position_embeddings": 16, "type_vocab_size": 2, "layer_norm_eps": 1e-12}
PRODUCTS = 13  # of weights: six a layer, and the pooler
SPELLED = 4 * 2 + 1  # where query, key and value are one product
TABLES = (60 + 16) * 32  # of words and positions


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of the quantisers, about what they would like to see first
    B, S = tg.dims("B S")
    weights = tg.trace(Bert(BertConfig.from_dict(CONFIG)), input_ids=tg.i64[B, S], mask=tg.bool_[B, S]).weights
    path = tmp_path_factory.mktemp("onnx") / "bert.onnx"
    onnx.save(bert_onnx(CONFIG, weights), str(path))
    yield path
    logging.disable(level)


def feeds(seed: int, rows: int = 3, length: int = 9) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(seed)
    mask = (np.arange(length) < length - 3 * np.arange(rows)[:, None]).astype(np.int64)
    return {"input_ids": numbers.integers(0, 60, (rows, length)), "attention_mask": mask}


def compare(path: Path) -> tuple[tg.Executable, np.ndarray]:
    """The model compiled, and how far its results are from ONNX Runtime's, element by element."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    want = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feeds(4))
    exe = tg.compile(import_onnx(path), level="O3")
    got = exe.run(feeds(4))
    return exe, np.concatenate([np.abs(a - b).reshape(-1) for a, b in zip(got.values(), want)])


def narrow_bytes(exe: tg.Executable) -> int:
    kept = prepared_bytes(exe)
    return kept["i8"] + kept["u8"]


def weight_bytes(exe: tg.Executable, line: int = 1, behind: int = 0) -> int:
    """The bytes of all products' weights, of 8 bits each, with the padding of their panels (columns, and k to whole lines), and
    what each column has behind it."""
    narrow = [v.shape for _, v in exe.prepare.outputs if v.dtype.name in ("i8", "u8")]
    panels = [shape for shape in narrow if len(shape) == max(map(len, narrow))]  # a table of segments has three axes too
    (width,) = {int(shape[2]) for shape in panels}  # type: ignore[call-overload]

    def padded(rows: int, depth: int) -> int:
        return -(-rows // width) * width * (-(-depth // line) * line + behind)

    return 2 * (4 * padded(32, 32) + padded(48, 32) + padded(32, 48)) + padded(32, 32)


def of_integers(exe: tg.Executable) -> int:
    """The same for products of integers, of which no x was quantised here."""
    tile = integer_tile(exe.target, unsigned=True)
    return weight_bytes(exe, tile.depth, 4 * tile.dot.sums_stored)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("weights", ["QInt8", "QUInt8"])
def test_dynamic(plain: Path, weights: str, per_channel: bool) -> None:
    """DynamicQuantizeLinear and MatMulInteger. The integers are the same unless a number is beside a tie, where the last bit of
    what comes before decides, and all that follows moves by a part of a unit."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = plain.with_name(f"dynamic_{weights}_{per_channel}.onnx")
    quantize_dynamic(str(plain), str(path), weight_type=getattr(QuantType, weights), per_channel=per_channel,
                     reduce_range=pairs_saturate(), extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    exe, difference = compare(path)
    assert np.median(difference) < 1e-5 and difference.max() < 0.05
    assert weight_bits(exe.kernels) == {("integer_linear", 8): PRODUCTS}
    assert narrow_bytes(exe) == of_integers(exe) + TABLES + 32


class Calibration:
    """Two batches, as the quantiser asks for them."""

    def __init__(self) -> None:
        self.batches = iter([feeds(seed) for seed in (1, 2)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


@pytest.mark.parametrize(("form", "weights", "activations", "per_channel"), [
    ("QDQ", "QInt8", "QUInt8", True), ("QDQ", "QInt8", "QInt8", False), ("QDQ", "QUInt8", "QUInt8", False),
    ("QOperator", "QInt8", "QUInt8", False), ("QOperator", "QUInt8", "QUInt8", True), ("QOperator", "QInt8", "QInt8", False)])
def test_static(plain: Path, form: str, weights: str, activations: str, per_channel: bool) -> None:
    """QDQ pairs, and QLinearMatMul. A number beside a tie is rounded to either side: a unit of what it is rounded to, which of
    the states is 7 / 255, and what follows moves by parts of one. QOperator's sums and softmax, which ONNX Runtime looks up in
    tables and multiplies with reciprocals, are beside one more often."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    path = plain.with_name(f"static_{form}_{weights}_{activations}_{per_channel}.onnx")
    quantize_static(str(plain), str(path), Calibration(), quant_format=getattr(QuantFormat, form), per_channel=per_channel,
                    weight_type=getattr(QuantType, weights), activation_type=getattr(QuantType, activations),
                    reduce_range=pairs_saturate(),
                    extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    exe, difference = compare(path)
    assert (difference > 1e-4).mean() < (0.02 if form == "QDQ" else 0.15) and difference.max() < 2 * 7 / 255
    assert weight_bits(exe.kernels) == {("integer_linear", 8): PRODUCTS}
    least = of_integers(exe) + TABLES
    assert least <= narrow_bytes(exe) <= least + 2 * 32 * 2 + 2048  # biases, gammas
    assert len([e for e in exe.explain() if e.family == "integer_linear"]) < PRODUCTS  # layers alike share kernels


@pytest.mark.parametrize(("bits", "symmetric"), [(4, True), (4, False), (8, False), (2, True)])
def test_blocks(plain: Path, bits: int, symmetric: bool) -> None:
    """Products in f32 of weights in blocks of 32, the last one of 48 half full."""
    path = plain.with_name(f"blocks_{bits}_{symmetric}.onnx")
    onnx.save(in_blocks(onnx.load(str(plain)), bits, symmetric), str(path))
    exe, difference = compare(path)
    assert difference.max() < 1e-5
    assert weight_bits(exe.kernels) == {("linear", bits): SPELLED}
    assert narrow_bytes(exe) == weight_bytes(exe, 32 if bits < 8 else 1) * bits // 8  # of k, whole blocks


@pytest.mark.parametrize("symmetric", [False, True])
def test_blocks_go_out_as_they_came(plain: Path, symmetric: bool) -> None:
    path, again = (plain.with_name(f"{name}_{symmetric}.onnx") for name in ("came", "went"))
    onnx.save(in_blocks(onnx.load(str(plain)), 4, symmetric), str(path))
    tg.export_onnx(import_onnx(path), again)
    files = [onnx.load(str(p)) for p in (path, again)]
    came, went = ([n for n in f.graph.node if n.op_type == "MatMulNBits"] for f in files)
    assert len(came) == len(went) == PRODUCTS
    assert [len(n.input) for n in went] == [len(n.input) for n in came]  # zero points in the middle are left out
    held = [sum(onnx.numpy_helper.to_array(i).nbytes for i in f.graph.initializer) for f in files]
    assert held[1] < 1.1 * held[0]
    exe, difference = compare(again)
    assert difference.max() < 1e-5 and weight_bits(exe.kernels) == {("linear", 4): SPELLED}
    before = tg.compile(import_onnx(path)).run(feeds(4))
    assert all(np.array_equal(a, b) for a, b in zip(exe.run(feeds(4)).values(), before.values()))


@pytest.mark.parametrize("symmetric", [False, True])
def test_blocks_of_the_quantiser(plain: Path, symmetric: bool) -> None:
    pytest.importorskip("onnx_ir", reason="ONNX Runtime's quantiser of blocks needs it")
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer: Any = MatMulNBitsQuantizer(onnx.load(str(plain)), block_size=32, is_symmetric=symmetric)
    quantizer.process()
    path = plain.with_name(f"quantiser_{symmetric}.onnx")
    quantizer.model.save_model_to_file(str(path))
    exe, difference = compare(path)
    assert difference.max() < 1e-5
    assert weight_bits(exe.kernels) == {("linear", 4): SPELLED}
