"""remove-padding on whole models: the same results, in the reference and compiled, with fewer rows."""

from __future__ import annotations

import numpy as np
import pytest

import tgraph as tg
from passes import PASSES, run_pipeline
from passes.base import Pass
from passes.padding.row_demand import RowDemand
from passes.rewriting import RewriteReport, reporting
from tgraph import nn
from tgraph.models.bert import Bert, BertConfig
from tgraph.models.transformer import Transformer
from tgraph.reference import run

B, S, T = tg.dims("B S T")
CONFIG = BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
                    max_position_embeddings=16)
FUSED = "fold-constants,cse,fuse-qkv,remove-padding,fuse-bias-activation,fuse-embeddings,fuse-skip-norm,cse,dce"
MASKS = {
    "padded": [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]],
    "with_gaps": [[0, 1, 0, 1, 1, 0], [0, 0, 1, 0, 0, 1], [1, 1, 1, 1, 1, 1]],
    "an_empty_sequence": [[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]],
    "nothing": [[0] * 6] * 3,
    "everything": [[1] * 6] * 3,
}


class PaddedBert(nn.Module):
    """BERT whose padded rows are zeros; with the pooler also the first token, whatever the mask says of it."""

    def __init__(self, pooler: bool):
        self.bert = Bert(CONFIG, pooler=pooler)

    def __call__(self, input_ids: tg.Tensor, mask: tg.Tensor) -> dict[str, tg.Tensor]:
        output = self.bert(input_ids, mask)
        hidden = {"hidden": tg.zero_padding(output.hidden, mask)}
        return hidden if output.pooled is None else hidden | {"pooled": output.pooled}


def bert(pooler: bool) -> tg.Graph:
    return tg.trace(PaddedBert(pooler), name="bert", input_ids=tg.i64[B, S], mask=tg.bool_[B, S])


def feeds(mask: str) -> dict[str, np.ndarray]:
    return {"input_ids": np.random.default_rng(0).integers(0, 30, (3, 6)), "mask": np.array(MASKS[mask], bool)}


def rows(graph: tg.Graph) -> dict[str, int]:
    """How many products, norms and embeddings run on packed rows, and how many on padded ones."""
    found = {"packed": 0, "padded": 0}
    for node in graph.nodes:
        if node.op.name in ("linear", "layer_norm", "embedding") and node.result.shape[0] != S:
            found["packed" if str(node.result.shape[0]) == "N" else "padded"] += 1
    return found


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("pooler", [False, True])
def test_bert_in_the_reference(pooler: bool, mask: str) -> None:
    graph = bert(pooler)
    packed = run_pipeline(graph, "cse,remove-padding", verify_each=True)[0]
    assert rows(packed) == {"packed": 2 * 8 + 2, "padded": 1 if pooler else 0}  # but for the pooler's product
    expected, found = run(graph, feeds(mask)), run(packed, feeds(mask))
    for name in expected:
        assert np.abs(found[name] - expected[name]).max() <= 1e-12


@pytest.mark.parametrize("pooler", [False, True])
def test_nothing_is_padded_before_the_end(pooler: bool) -> None:
    """All values that depend on packed rows are packed until the outputs; the QKV product is read in place."""
    packed = run_pipeline(bert(pooler), FUSED)[0]
    ops = [n.op.name for n in packed.nodes]
    assert ops.count("ragged_attention") == CONFIG.num_hidden_layers and "attention" not in ops
    assert ops.count("pad_rows") == 1
    kernels = tg.compile(bert(pooler), passes=FUSED).kernels
    for node in kernels.nodes:
        function = node.attrs.get("function")
        if function is not None and any(n.op.name == "ragged_attention" for n in function.nodes):
            floats = {v.shape[-1] for v in node.inputs if v.dtype.is_float}
            assert floats == {3 * CONFIG.hidden_size} and node.results[0].shape[-1] == CONFIG.hidden_size


@pytest.mark.parametrize("target", ["numpy", "cpu"])
@pytest.mark.parametrize("pooler", [False, True])
def test_bert_compiled(pooler: bool, target: str) -> None:
    graph = bert(pooler)
    exe = tg.compile(graph, target, passes=FUSED)
    for mask in MASKS:
        expected, found = run(graph, feeds(mask)), exe.run(feeds(mask))
        for name in expected:
            assert np.abs(found[name] - expected[name]).max() <= 1e-5, mask


def test_a_transformers_memory_needs_no_zero_padding() -> None:
    """The encoder's rows are read by masked attention alone, so all of it runs on packed rows."""
    graph = tg.trace(Transformer(20, 20, dim=8, heads=2, hidden=12, layers=2, max_length=16), source=tg.i64[B, S],
                     target=tg.i64[B, T], source_mask=tg.bool_[B, S])
    packed = run_pipeline(graph, "cse,remove-padding{mask=source_mask}", verify_each=True)[0]
    products = [n for n in packed.nodes if n.op.name == "linear"]
    # the encoder; keys and values of the decoder
    assert sum(str(n.result.shape[0]) == "N" for n in products) == 2 * 6 + 2 * 2
    given = {"source": np.arange(18).reshape(3, 6), "target": np.arange(6).reshape(3, 2),
             "source_mask": np.array(MASKS["an_empty_sequence"], bool)}
    (expected,), (found,) = run(graph, given).values(), run(packed, given).values()
    assert np.abs(found - expected).max() <= 1e-12


def test_a_mean_of_all_values_reads_padded_rows() -> None:
    """empty_row="uniform" gives a query without a key the mean of all values; the first token may be such a query."""

    def attend(x: tg.Tensor, mask: tg.Tensor, w: tg.Tensor) -> dict[str, tg.Tensor]:
        heads = tg.unsqueeze(tg.matmul(x, w), axes=1)
        y = tg.squeeze(tg.attention(heads, heads, heads, mask, empty_row="uniform"), axes=1)
        return {"y": tg.zero_padding(y, mask), "first": y[:, 0]}

    def without_first(x: tg.Tensor, mask: tg.Tensor, w: tg.Tensor) -> tg.Tensor:
        return tg.zero_padding(tg.squeeze(tg.attention(*[tg.unsqueeze(tg.matmul(x, w), axes=1)] * 3, mask,
                                                       empty_row="uniform"), axes=1), mask)

    types = {"x": tg.f32[B, S, 4], "mask": tg.bool_[B, S], "w": tg.f32[4, 4]}
    read = tg.trace(attend, **types)
    assert run_pipeline(read, "remove-padding")[0] == read
    spared = tg.trace(without_first, **types)
    demand = RowDemand(spared, spared.inputs[1])
    assert (0, 2) in {axes for value, axes in demand.row_axes.items() if value.type.rank == 4}


def test_finite_rows_are_asked_of_the_user() -> None:
    def mean(x: tg.Tensor, mask: tg.Tensor, w: tg.Tensor) -> tg.Tensor:
        return (tg.matmul(x, w) * mask.astype(tg.f32)[:, :, None]).sum(axis=1)

    graph = tg.trace(mean, x=tg.f32[B, S, 4], mask=tg.bool_[B, S], w=tg.f32[4, 4])
    assert run_pipeline(graph, "remove-padding")[0] == graph
    assert "unpack" in str(run_pipeline(graph, "remove-padding{finite=true}")[0])


def test_the_effect_follows_the_options() -> None:
    cls: type[Pass] = PASSES["remove-padding"]
    assert cls.effect == cls().effect == "rounds"
    assert cls(output="hidden", mask="mask").effect == "changes-meaning"  # type: ignore[call-arg]


@pytest.mark.parametrize(("options", "message"), [
    ("output=hidden", "output= wants mask="),
    ("mask=nothing", "'nothing' is no input of bert"),
    ("mask=input_ids", "'input_ids' is i64"),
    ("output=nothing,mask=mask", "no output 'nothing'; it has hidden"),
])
def test_wrong_options(options: str, message: str) -> None:
    with pytest.raises(tg.PassError, match=message):
        run_pipeline(bert(False), f"remove-padding{{{options}}}")


def test_a_refusal_has_a_reason() -> None:
    """Without zero_padding only keys and values could be spared, and fuse-qkv joined them with the queries."""
    graph = tg.trace(Bert(CONFIG), input_ids=tg.i64[B, S], mask=tg.bool_[B, S])
    report = RewriteReport()
    with reporting(report):
        PASSES["remove-padding"]().apply(run_pipeline(graph, "fuse-qkv")[0])
    assert [m.reason for m in report.misses.values()] == ["no product has rows that nothing depends on"]


def test_another_dim_may_be_named_n() -> None:
    n = tg.dim("N")
    graph = tg.trace(lambda x, mask, w: tg.zero_padding(tg.matmul(x, w), mask), x=tg.f32[n, S, 4], mask=tg.bool_[n, S],
                     w=tg.f32[4, 4])
    assert "i64[N_2]" in str(run_pipeline(graph, "remove-padding", verify_each=True)[0])
