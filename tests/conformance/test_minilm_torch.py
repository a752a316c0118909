"""all-MiniLM-L6-v2 with its real weights in PyTorch, by `tg.import_torch`, against the language's own model of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph.formats.safetensors import load_safetensors
from tgraph.models.sentence import load_minilm, minilm_folder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnxscript")
B, S = tg.dims("B S")
NAMES = ("input_ids", "mask", "token_type_ids")


class Sentences(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Token numbers and their mask to unit vectors, as sentence-transformers makes them."""

    def __init__(self, bert: Any) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Any, mask: Any, token_type_ids: Any) -> Any:
        hidden = self.bert(input_ids, attention_mask=mask, token_type_ids=token_type_ids)[0]
        kept = mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * kept).sum(1) / kept.sum(1).clamp(min=1e-9)
        return {"embedding": torch.nn.functional.normalize(mean, dim=1)}


@pytest.fixture(scope="module")
def module() -> Any:
    folder = minilm_folder()
    config = transformers.BertConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    bert = transformers.BertModel(config)
    bert.load_state_dict({name: torch.from_numpy(np.array(array))
                          for name, array in load_safetensors(folder / "model.safetensors").items()}, strict=False)
    return Sentences(bert).eval()


def feeds(batch: int, length: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(length)
    mask = np.arange(length) < length - 2 * np.arange(batch)[:, None]
    return rng.integers(1000, 30000, (batch, length)), mask, np.zeros((batch, length), np.int64)


def test_the_same_model(module: Any) -> None:
    """Equal to 1e-5 compiled for the CPU, at several sizes, and by the same kernels."""
    given = tuple(torch.from_numpy(a) for a in feeds(2, 9))
    axes = {0: B, 1: S}
    imported = tg.import_torch(module, (given[0], given[1].long(), given[2]), dynamic_shapes=dict.fromkeys(NAMES, axes))
    assert set(imported.parameters) <= set(module.state_dict())
    own = tg.trace(load_minilm()[0], input_ids=tg.i64[B, S], mask=tg.bool_[B, S], token_type_ids=tg.i64[B, S])
    assert tg.passes.summary(tg.passes.fused(tg.optimize(imported))) == "attention 6 of 6, layer norm 13 of 13, GELU 6 of 6"
    found, expected = tg.compile(imported), tg.compile(own)
    for size in ((1, 5), (3, 24)):
        ids, mask, types = feeds(*size)
        y, r = found(ids, mask.astype(np.int64), types), expected(ids, mask, types)
        with torch.no_grad():
            reference = module(*map(torch.from_numpy, (ids, mask.astype(np.int64), types)))["embedding"].numpy()
        assert y.shape == r.shape and np.abs(y - r).max() < 1e-5 and np.abs(y - reference).max() < 1e-5
    layers = {"linear", "attention", "linear_add", "layer_norm", "linear_gelu", "linear_add_2"}
    assert all(layers <= {kernel.kernel for kernel in exe.explain()} for exe in (found, expected))
    assert len(found.explain()) <= len(expected.explain()) + 2  # the mask is integers, and is multiplied with
