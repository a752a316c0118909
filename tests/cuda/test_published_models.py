"""Every published model, and every sequence-to-sequence network, on a CUDA device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tests.models.pretrained_cases import CASES, real
from tests.models.pretrained_golden import feeds_of, some
from tests.models.test_pretrained import golden, trace, write_folder
from tests.models.test_pretrained_compiled import head_over_words
from tgraph.models.gpt2 import GPT2Config, GPT2LMHeadModel
from tgraph.models.llama import LlamaConfig, LlamaForCausalLM
from tgraph.models.seq2seq import Seq2Seq
from tgraph.models.t5 import T5Config, T5ForConditionalGeneration
from tgraph.models.transformer import Transformer
from tgraph.nn.scored_attention import SCORES

pytestmark = pytest.mark.usefixtures("tight_arena")
B, S, T = tg.dims("B S T")
SOURCE = np.array([[1, 2, 3, 4], [5, 6, 0, 0]])
DECODERS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config.from_dict(CASES["gpt2"].small)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(vocab_size=11, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
                                                  num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=20)),
    "t5": lambda: T5ForConditionalGeneration(T5Config(vocab_size=11, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)),
    "transformer": lambda: Transformer(11, 11, dim=16, heads=2, hidden=24, layers=1, max_length=20),
    **{f"{cell} {score}": lambda cell=cell, score=score: Seq2Seq(11, 11, dim=8, hidden=12, cell=cell, attention=score)
       for cell, score in (("rnn", None), ("lstm", None), *(("gru", score) for score in SCORES))},
}


@pytest.mark.parametrize("kind", CASES)
def test_published_models(kind: str, tmp_path: Path) -> None:
    architecture = head_over_words(kind)
    feeds = feeds_of(kind, "small", architecture)
    executable = tg.compile(trace(tg.models.from_pretrained(write_folder(tmp_path / "m", kind, architecture)), feeds), "cuda")
    expected = golden(kind)["architectures"][architecture]["outputs"]["logits"]
    np.testing.assert_allclose(some(real(executable.run(feeds)["logits"], feeds)), expected, atol=1e-4)


@pytest.mark.parametrize("kind", DECODERS)
def test_decoders_write_the_same_tokens(kind: str) -> None:
    model: Any = DECODERS[kind]()
    generator = np.random.default_rng(1)
    for parameter in model.parameters().values():  # large enough that the tokens differ
        if parameter.type.rank > 1:
            parameter.data = generator.standard_normal(parameter.type.shape).astype(np.float32)
    start: Any = {"start": (tg.i64[B, S], tg.bool_[B, S])} if hasattr(model, "start") else {}
    program = tg.trace_program(model, **start, step=tg.i64[B, T])
    written = []
    for target in ("cuda", "numpy"):
        session = tg.compile(program, target).session(**({} if isinstance(model, Seq2Seq) else {"B": 2, "C": 12}))
        if start:
            session.start(SOURCE, SOURCE > 0)
        written.append(tg.generate(session, [[3, 4], [5, 6]], max_new_tokens=6).tokens)
    assert written[0] == written[1]
    assert len({token for row in written[1] for token in row}) > 1
