"""The ops of com.microsoft against ONNX Runtime, which defines them, on small models of one node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import tgraph as tg
from tgraph.formats import import_onnx
from tgraph.testing.others import pairs_saturate

MICROSOFT = "com.microsoft"
B, S, H, D, INPUT = 2, 5, 4, 16, 24
WIDTH = H * D
NUMBERS = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return NUMBERS.standard_normal(shape).astype(np.float32)


class Node:
    """A model of one node. `inputs`: fed; `held`: initialisers; a name of "" leaves an operand out."""

    def __init__(self, op: str, operands: Sequence[tuple[str, Any]], outputs: int = 1, held: Sequence[str] = (),
                 **attributes: Any):
        names = [name for name, _ in operands]
        arrays = {name: np.asarray(value) for name, value in operands if name}
        self.feeds = {name: a for name, a in arrays.items() if name not in held}
        results = [f"y{i}" for i in range(outputs)]
        node = helper.make_node(op, names, results, domain=MICROSOFT, **attributes)
        graph = helper.make_graph(
            [node], "node",
            [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in self.feeds.items()],
            [helper.make_empty_tensor_value_info(name) for name in results],
            [onnx.numpy_helper.from_array(arrays[name], name) for name in held])
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
        self.model = helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def expected(self) -> list[np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(self.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, self.feeds))

    def found(self) -> dict[str, np.ndarray]:
        graph = import_onnx(self.model)
        return tg.compile(graph, target="numpy", level="O0").run({i.name: self.feeds[i.name] for i in graph.inputs})

    def check(self, like: Node | None = None, tolerance: float = 1e-4, units: float = 0.0) -> None:
        """`like`: a node that is to give the same, where ONNX Runtime does not run this one on a CPU.

        Results may differ by `tolerance`, relative to the largest, and by `units` besides.
        """
        found = self.found()
        for i, want in enumerate((like or self).expected()):
            got = found[f"y{i}"]
            assert got.shape == want.shape and got.dtype == want.dtype
            assert np.abs(got.astype(np.float64) - want).max() <= tolerance * max(1.0, np.abs(want).max()) + units, f"result {i}"


def weights(*shape: int) -> np.ndarray:
    """Integers of 8 bits, or of 7 where ONNX Runtime would saturate sums of two of their products with unsigned ones."""
    most = 64 if pairs_saturate() else 128
    return NUMBERS.integers(-most, most, shape).astype(np.int8)


def projections() -> list[tuple[str, Any]]:
    return [("x", normal(B, S, INPUT)), ("w", normal(INPUT, 3 * WIDTH) * 0.2), ("b", normal(3 * WIDTH))]


LENGTHS = np.array([3, 5], np.int32)
MASKS = {
    "none": None,
    "lengths": LENGTHS,
    "ends and starts": np.array([4, 5, 1, 0], np.int32),
    "of keys": np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32),
    "of all keys masked": np.array([[0, 0, 0, 0, 0], [1, 1, 1, 1, 0]], np.int32),
    "of queries and keys": (NUMBERS.random((B, S, S)) > 0.4).astype(np.int32),
}


class TestAttention:
    @pytest.mark.parametrize("mask", MASKS)
    @pytest.mark.parametrize("causal", [0, 1])
    def test_masks(self, mask: str, causal: int) -> None:
        given = [] if MASKS[mask] is None else [("m", MASKS[mask])]
        Node("Attention", [*projections(), *given], held=("w", "b"), num_heads=H, unidirectional=causal).check()

    def test_hidden_sizes(self) -> None:
        operands = [("x", normal(B, S, INPUT)), ("w", normal(INPUT, 2 * WIDTH + 16)), ("b", normal(2 * WIDTH + 16))]
        Node("Attention", operands, held=("w", "b"), num_heads=H, qkv_hidden_sizes=[WIDTH, WIDTH, 16]).check()

    @pytest.mark.parametrize("causal", [0, 1])
    def test_past(self, causal: int) -> None:
        operands = [*projections(), ("m", (NUMBERS.random((B, 3 + S)) > 0.3).astype(np.int32)), ("past", normal(2, B, H, 3, D))]
        Node("Attention", operands, outputs=2, num_heads=H, unidirectional=causal, scale=0.3).check()

    def test_bias(self) -> None:
        operands = [*projections(), ("m", MASKS["of keys"]), ("", None), ("bias", normal(B, H, S, S))]
        Node("Attention", operands, num_heads=H).check()

    def test_a_filter_beyond_all_scores(self) -> None:
        operands = [*projections(), ("m", MASKS["of keys"])]
        Node("Attention", operands, num_heads=H, mask_filter_value=-3.4028234663852886e38).check()

    @pytest.mark.parametrize("zero", [0, 7])
    def test_quantized(self, zero: int) -> None:
        x = NUMBERS.integers(0, 255, (B, S, INPUT)).astype(np.uint8)
        w = weights(INPUT, 3 * WIDTH)
        operands = [("x", x), ("w", w), ("b", normal(3 * WIDTH)), ("xs", np.float32(0.01)), ("ws", np.float32(0.02)),
                    ("m", LENGTHS), ("xz", np.uint8(100)), ("wz", np.int8(zero))]
        Node("QAttention", operands, held=("w", "b", "xs", "ws", "xz", "wz"), num_heads=H).check()


class TestMultiHeadAttention:
    def test_separate(self) -> None:
        operands = [("q", normal(B, S, WIDTH)), ("k", normal(B, 7, WIDTH)), ("v", normal(B, 7, 16)),
                    ("b", normal(2 * WIDTH + 16)),
                    ("m", (NUMBERS.random((B, 7)) > 0.3).astype(np.int32)), ("a", normal(1, H, S, 7))]
        Node("MultiHeadAttention", operands, num_heads=H).check()

    def test_packed_keys(self) -> None:
        q, both = normal(B, S, WIDTH), normal(B, 7, H, 2, D)
        apart = [("k", both[:, :, :, 0].reshape(B, 7, WIDTH)), ("v", both[:, :, :, 1].reshape(B, 7, WIDTH))]
        Node("MultiHeadAttention", [("q", q), ("k", both)], num_heads=H).check(
            Node("MultiHeadAttention", [("q", q), *apart], num_heads=H))

    def test_packed(self) -> None:
        all_three = normal(B, S, H, 3, D)
        apart = [(name, all_three[:, :, :, i].reshape(B, S, WIDTH)) for i, name in enumerate("qkv")]
        Node("MultiHeadAttention", [("q", all_three)], num_heads=H).check(Node("MultiHeadAttention", apart, num_heads=H))

    def test_keys_as_heads(self) -> None:
        Node("MultiHeadAttention", [("q", normal(B, S, WIDTH)), ("k", normal(B, H, 7, D)), ("v", normal(B, H, 7, D))],
             num_heads=H).check()

    @pytest.mark.parametrize("causal", [0, 1])
    def test_past(self, causal: int) -> None:
        operands = [("q", normal(B, S, WIDTH)), ("k", normal(B, S, WIDTH)), ("v", normal(B, S, WIDTH)), ("", None), ("", None),
                    ("", None), ("pk", normal(B, H, 3, D)), ("pv", normal(B, H, 3, D))]
        Node("MultiHeadAttention", operands, outputs=3, num_heads=H, unidirectional=causal).check()

    def test_a_mask_of_queries(self) -> None:
        operands = [("q", normal(B, S, WIDTH)), ("k", normal(B, S, WIDTH)), ("v", normal(B, S, WIDTH)), ("", None),
                    ("m", MASKS["of queries and keys"])]
        Node("MultiHeadAttention", operands, num_heads=H).check()


def tables(width: int) -> list[tuple[str, Any]]:
    angles = np.arange(16)[:, None] / 100 ** (np.arange(width // 2) / width)
    return [("cos", np.cos(angles).astype(np.float32)), ("sin", np.sin(angles).astype(np.float32))]


class TestGroupQueryAttention:
    KEYS = 2

    def operands(self, batch: int, length: int, before: int, last: Sequence[int], packed: bool = False) -> list[tuple[str, Any]]:
        q, k, v = normal(batch, length, WIDTH), normal(batch, length, self.KEYS * D), normal(batch, length, self.KEYS * D)
        given = [("q", np.concatenate([q, k, v], -1)), ("", None), ("", None)] if packed else [("q", q), ("k", k), ("v", v)]
        return [*given, ("pk", normal(batch, self.KEYS, before, D)), ("pv", normal(batch, self.KEYS, before, D)),
                ("last", np.array(last, np.int32)), ("total", np.array([before + length], np.int32))]

    @pytest.mark.parametrize("packed", [False, True])
    def test_first_call(self, packed: bool) -> None:
        operands = self.operands(B, S, 0, [S - 1, S - 1], packed)
        Node("GroupQueryAttention", operands, outputs=3, num_heads=H, kv_num_heads=self.KEYS).check()

    @pytest.mark.parametrize("turned", [0, 1])
    def test_one_sequence(self, turned: int) -> None:
        operands = [*self.operands(1, 3, 4, [6]), *tables(D)]
        Node("GroupQueryAttention", operands, outputs=3, num_heads=H, kv_num_heads=self.KEYS, do_rotary=1,
             rotary_interleaved=turned, scale=0.2).check()

    @pytest.mark.parametrize(("window", "cap"), [(-1, 0.0), (3, 0.0), (-1, 2.0)])
    def test_next_token_of_each_sequence(self, window: int, cap: float) -> None:
        node = Node("GroupQueryAttention", [*self.operands(B, 1, 6, [6, 4]), *tables(D)], outputs=3, num_heads=H,
                    kv_num_heads=self.KEYS, do_rotary=1, local_window_size=window, softcap=cap)
        found, want = node.found(), node.expected()
        assert np.abs(found["y0"] - want[0]).max() < 1e-4
        for name, whole in (("y1", want[1]), ("y2", want[2])):  # beyond a sequence's own keys, anything
            assert np.abs(found[name][0] - whole[0]).max() < 1e-5
            assert np.abs(found[name][1, :, :5] - whole[1, :, :5]).max() < 1e-5

    def test_a_window_is_the_ops(self) -> None:
        node = Node("GroupQueryAttention", self.operands(1, 3, 4, [6]), outputs=3, num_heads=H, kv_num_heads=self.KEYS,
                    local_window_size=3)
        node.check()
        (attention,) = [n for n in import_onnx(node.model).nodes if n.op.name == "attention"]
        assert attention.attrs["causal"] and attention.attrs["window"] == (2, -1) and attention.operands[3] is None

    def test_scores_are_capped(self) -> None:
        node = Node("GroupQueryAttention", self.operands(1, 3, 4, [6]), outputs=3, num_heads=H, kv_num_heads=self.KEYS,
                    softcap=0.5)
        node.check()
        assert [n.attrs["softcap"] for n in import_onnx(node.model).nodes if n.op.name == "attention"] == [0.5]

    def test_bias(self) -> None:
        operands = [*self.operands(1, 3, 4, [6]), ("", None), ("", None), ("", None), ("a", normal(1, H, 3, 7))]
        Node("GroupQueryAttention", operands, outputs=3, num_heads=H, kv_num_heads=self.KEYS).check()

    def test_a_sink_is_refused(self) -> None:
        operands = [*self.operands(1, 3, 4, [6]), *[("", None)] * 4, ("sink", normal(H))]
        with pytest.raises(tg.FormatError, match="a sink"):
            import_onnx(Node("GroupQueryAttention", operands, outputs=3, num_heads=H, kv_num_heads=self.KEYS).model)


class TestRotaryEmbedding:
    @pytest.mark.parametrize("interleaved", [0, 1])
    def test_positions(self, interleaved: int) -> None:
        places = NUMBERS.integers(0, 16, (B, S))
        Node("RotaryEmbedding", [("x", normal(B, S, WIDTH)), ("p", places), *tables(D)], interleaved=interleaved).check()

    def test_first_position_and_heads(self) -> None:
        Node("RotaryEmbedding", [("x", normal(B, H, S, D)), ("p", np.array([3])), *tables(D)]).check()

    def test_a_part_of_each_head(self) -> None:
        places = NUMBERS.integers(0, 16, (B, S))
        operands = [("x", normal(B, S, WIDTH)), ("p", places), *tables(4)]
        Node("RotaryEmbedding", operands, num_heads=H, rotary_embedding_dim=4).check()


class TestNorms:
    def test_embed(self) -> None:
        ids, kinds = NUMBERS.integers(0, 30, (B, S)).astype(np.int32), NUMBERS.integers(0, 2, (B, S)).astype(np.int32)
        operands = [("ids", ids), ("kinds", kinds), ("words", normal(30, WIDTH)), ("places", normal(9, WIDTH)),
                    ("segments", normal(2, WIDTH)), ("w", normal(WIDTH)), ("b", normal(WIDTH)),
                    ("m", np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32))]
        Node("EmbedLayerNormalization", operands, outputs=3, held=("words", "places", "segments", "w", "b")).check()

    def test_embed_without_segments(self) -> None:
        ids = NUMBERS.integers(0, 30, (B, S)).astype(np.int32)
        operands = [("ids", ids), ("", None), ("words", normal(30, WIDTH)), ("places", normal(9, WIDTH)), ("", None),
                    ("w", normal(WIDTH)), ("b", normal(WIDTH)), ("", None),
                    ("p", NUMBERS.integers(0, 9, (B, S)).astype(np.int32))]
        Node("EmbedLayerNormalization", operands, outputs=2).check()

    @pytest.mark.parametrize("bias", [False, True])
    def test_skip(self, bias: bool) -> None:
        operands = [("x", normal(B, S, WIDTH)), ("skip", normal(S, WIDTH)), ("w", normal(WIDTH)), ("beta", normal(WIDTH)),
                    *([("b", normal(WIDTH))] if bias else [])]
        node = Node("SkipLayerNormalization", operands, outputs=4, epsilon=1e-6)
        node.model.graph.node[0].output[1] = node.model.graph.node[0].output[2] = ""
        del node.model.graph.output[1:3]
        found = node.found()
        for name, want in zip(("y0", "y3"), node.expected()):
            assert np.abs(found[name] - want).max() < 1e-4

    def test_skip_rms(self) -> None:
        operands = [("x", normal(B, S, WIDTH)), ("skip", normal(B, S, WIDTH)), ("w", normal(WIDTH)), ("b", normal(WIDTH))]
        Node("SkipSimplifiedLayerNormalization", operands).check()


class TestActivations:
    def test_bias_gelu(self) -> None:
        Node("BiasGelu", [("x", normal(B, S, WIDTH)), ("b", normal(WIDTH))]).check()

    @pytest.mark.parametrize("bias", [False, True])
    def test_fast_gelu(self, bias: bool) -> None:
        Node("FastGelu", [("x", normal(B, S, WIDTH)), *([("b", normal(WIDTH))] if bias else [])]).check()

    def test_gelu(self) -> None:
        Node("Gelu", [("x", normal(B, S, WIDTH))]).check()

    @pytest.mark.parametrize("alpha", [1.0, 1.702])
    def test_quick_gelu(self, alpha: float) -> None:
        Node("QuickGelu", [("x", normal(B, S, WIDTH))], alpha=alpha).check()

    @pytest.mark.parametrize("how", [{"activation": "Relu"}, {"activation": "LeakyRelu", "activation_alpha": 0.3}])
    def test_fused_gemm(self, how: dict[str, Any]) -> None:
        operands = [("x", normal(S, INPUT)), ("y", normal(WIDTH, INPUT)), ("c", normal(WIDTH))]
        Node("FusedGemm", operands, transB=1, alpha=0.5, **how).check()

    def test_fused_conv(self) -> None:
        operands = [("x", normal(1, 3, 8, 8)), ("w", normal(4, 3, 3, 3)), ("b", normal(4)), ("z", normal(1, 4, 8, 8))]
        Node("FusedConv", operands, pads=[1, 1, 1, 1], activation="Relu").check()

    def test_fused_matmul(self) -> None:
        Node("FusedMatMul", [("x", normal(B, INPUT, S)), ("y", normal(B, WIDTH, INPUT))], transA=1, transB=1, alpha=0.5).check()


class TestFewBits:
    @pytest.mark.parametrize(("bits", "zero"), [(2, "none"), (4, "none"), (8, "none"), (2, "packed"), (4, "packed"),
                                                (8, "packed"), (4, "float")])
    def test_matmul(self, bits: int, zero: str) -> None:
        rows, columns, block = 6, 80, 32
        blocks = -(-columns // block)
        weight = NUMBERS.integers(0, 256, (rows, blocks, block * bits // 8)).astype(np.uint8)
        operands = [("x", normal(B, S, columns)), ("w", weight), ("s", np.abs(normal(rows, blocks)) * 0.1)]
        if zero == "packed":
            operands.append(("z", NUMBERS.integers(0, 256, (rows, -(-blocks * bits // 8))).astype(np.uint8)))
        if zero == "float":
            operands.append(("z", normal(rows, blocks)))
        held = [name for name, _ in operands[1:]]
        Node("MatMulNBits", operands, held=held, bits=bits, block_size=block, N=rows, K=columns).check()

    @pytest.mark.parametrize("columns", [False, True])
    def test_integers(self, columns: bool) -> None:
        x = NUMBERS.integers(0, 255, (B, S, INPUT)).astype(np.uint8)
        y = weights(INPUT, 6)
        scale = np.abs(normal(6)) if columns else np.float32(0.02)
        zero = NUMBERS.integers(-9, 9, 6).astype(np.int8) if columns else np.int8(3)
        operands = [("x", x), ("y", y), ("xs", np.float32(0.1)), ("ys", scale), ("xz", np.uint8(90)), ("yz", zero),
                    ("b", normal(6))]
        Node("MatMulIntegerToFloat", operands).check()

    @pytest.mark.parametrize("columns", [False, True])
    def test_dynamic(self, columns: bool) -> None:
        scale = np.abs(normal(6)) if columns else np.float32(0.02)
        operands = [("x", normal(B, S, INPUT)), ("y", weights(INPUT, 6)), ("ys", scale)]
        Node("DynamicQuantizeMatMul", operands).check()


def eights(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    limits = np.iinfo(dtype)
    return NUMBERS.integers(limits.min, limits.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
class TestOn8BitIntegers:
    """Within one unit of what ONNX Runtime gives: it multiplies with reciprocals, and looks some functions up in tables."""

    def check(self, op: str, operands: Sequence[tuple[str, Any]], **attributes: Any) -> None:
        held = [name for name, value in operands if np.size(value) == 1]
        Node(op, operands, held=held, **attributes).check(units=1)

    @pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
    def test_two(self, op: str, dtype: Any) -> None:
        scales = {"x": np.float32(0.05), "y": np.float32(0.03), "o": np.float32(0.1 if op == "QLinearAdd" else 0.4)}
        self.check(op, [("a", eights(B, S, 6, dtype=dtype)), ("as", scales["x"]), ("az", dtype(7)), ("b", eights(6, dtype=dtype)),
                        ("bs", scales["y"]), ("bz", dtype(90)), ("os", scales["o"]), ("oz", dtype(3))])

    @pytest.mark.parametrize(("op", "attributes"), [
        ("QLinearSigmoid", {}), ("QLinearLeakyRelu", {"alpha": 0.2}), ("QLinearSoftmax", {"axis": -1, "opset": 17}),
        ("QLinearSoftmax", {"axis": 1, "opset": 11})])
    def test_one(self, op: str, attributes: dict[str, Any], dtype: Any) -> None:
        scale = np.float32(0.05 if op == "QLinearLeakyRelu" else 1 / 256)
        self.check(op, [("x", eights(B, S, 6, dtype=dtype)), ("s", np.float32(0.05)), ("z", dtype(9)), ("os", scale),
                        ("oz", dtype(0 if dtype is np.uint8 else -128))], **attributes)

    def test_concat(self, dtype: Any) -> None:
        parts = [[(f"x{i}", eights(B, i + 2, dtype=dtype)), (f"s{i}", np.float32(0.01 + 0.02 * i)), (f"z{i}", dtype(i + 5))]
                 for i in range(3)]
        self.check("QLinearConcat", [("os", np.float32(0.03)), ("oz", dtype(4)), *parts[0], *parts[1], *parts[2]], axis=1)

    @pytest.mark.parametrize("rounded", [False, True])
    @pytest.mark.parametrize("columns", [False, True])
    def test_gemm(self, dtype: Any, rounded: bool, columns: bool) -> None:
        scale = np.abs(normal(6)) / 50 + np.float32(0.01) if columns else np.float32(0.02)
        zero = np.zeros(6, np.int8) if columns else np.int8(4)
        operands = [("a", eights(S, INPUT, dtype=dtype)), ("as", np.float32(0.03)), ("az", dtype(40)),
                    ("b", weights(6, INPUT)), ("bs", scale), ("bz", zero),
                    ("c", NUMBERS.integers(-900, 900, 6).astype(np.int32)),
                    *([("os", np.float32(1.5)), ("oz", dtype(100))] if rounded else [])]
        self.check("QGemm", operands, transB=1, alpha=0.5)
