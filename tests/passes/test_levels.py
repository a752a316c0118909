"""What the levels make of a BERT in primitives: the counts that benchmarks/pass_nodes.py prints."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import tgraph as tg
from benchmarks.pass_nodes import table

sys.path.insert(0, str(Path(__file__).parent))

from test_variants import VARIANTS, count, traced

LAYERS = 3
COMPOSITE = {"attention", "gelu", "layer_norm", "linear", "softmax"}


def test_a_bert_in_primitives_comes_back_layer_by_layer() -> None:
    found = table(LAYERS)
    assert not COMPOSITE & set(found["O0"]) and not COMPOSITE & set(found["O1"])
    for level in ("O2", "O3"):
        assert {op: n for op, n in found[level].items() if op in COMPOSITE} == {
            "attention": LAYERS, "gelu": LAYERS, "layer_norm": 2 * LAYERS + 1,
            "linear": (6 if level == "O2" else 4) * LAYERS + 1}
        assert not {"exp", "erf", "sqrt", "where", "matmul", "reduce_mean", "greater", "cast"} & set(found[level])
    assert found["O3"]["split"] == LAYERS, "query, key and value are one product"
    assert found["O3"]["add"] == 2 * LAYERS + 2, "the residuals and the sum of embeddings"
    nodes = [column.total() for column in found.values()]
    assert nodes[1] > nodes[2] > nodes[3] > nodes[4] and nodes[4] < nodes[0]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("prefix", ["", "decompose,"], ids=["as_written", "in_primitives"])
def test_each_variant_is_one_attention_at_every_fusing_level(variant: object, prefix: str) -> None:
    for level in ("O2", "O3"):
        found = count(tg.optimize(traced(variant), prefix + level, verify_each=True))  # type: ignore[arg-type]
        assert found["attention"] == 1 and not {"softmax", "matmul", "einsum", "exp", "concat"} & set(found)
