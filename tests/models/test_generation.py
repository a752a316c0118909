"""Generation by decoders from Hugging Face folders: token for token, and score for score, what transformers itself generates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SMALL = {"vocab_size": 61, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
DECODERS = {
    "gpt2": lambda t: t.GPT2LMHeadModel(t.GPT2Config(**SMALL, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
    "llama": lambda t: t.LlamaForCausalLM(t.LlamaConfig(
        **SMALL, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64)),
    "mistral": lambda t: t.MistralForCausalLM(t.MistralConfig(
        **SMALL, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, sliding_window=6)),
    "qwen2": lambda t: t.Qwen2ForCausalLM(t.Qwen2Config(
        **SMALL, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64)),
}
PROMPTS = [[5, 17, 8, 33, 21, 40, 9], [11, 3], [50, 7, 7, 28]]
BEAMS = {"num_beams": 3, "length_penalty": 0.7, "return_dict_in_generate": True, "output_scores": True}


def saved(model: Any, folder: Path) -> Any:
    """A model of transformers with weights large enough for the best token to change, and its folder."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn_like(parameter) * (2.0 if "wpe" in name else 0.6)
    model.eval().save_pretrained(folder)
    return model


def padded(prompts: list[list[int]]) -> dict[str, Any]:
    """The prompts as transformers takes them, with padding before them."""
    longest = max(map(len, prompts))
    ids = [[2] * (longest - len(p)) + p for p in prompts]
    mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def new_tokens(row: Any, start: int) -> list[int]:
    """What a row has after the prompt, up to the first token to stop at."""
    found = [int(t) for t in row[start:]]
    return found[:found.index(1) + 1] if 1 in found else found


@pytest.mark.parametrize("kind", DECODERS)
def test_decoders_generate_what_transformers_does(kind: str, tmp_path: Path) -> None:
    theirs = saved(DECODERS[kind](transformers), tmp_path)
    ours: Any = tg.models.from_pretrained(tmp_path)
    exe = tg.compile(tg.trace_program(ours, step=ours.step_specs))
    length = max(map(len, PROMPTS))
    with torch.no_grad():
        greedy = theirs.generate(**padded(PROMPTS), max_new_tokens=20, do_sample=False)
        beams = theirs.generate(**padded(PROMPTS), max_new_tokens=12, do_sample=False, **BEAMS)
    got = tg.generate(exe.session(B=3, C=40), PROMPTS, max_new_tokens=20, stop=1)
    assert got.tokens == [new_tokens(row, length) for row in greedy]
    assert len({t for row in got for t in row}) > 4, "a model that says one thing only tests little"
    found = tg.generate(exe.session(B=3, C=40), PROMPTS, method="beam", beams=3, length_penalty=0.7, max_new_tokens=12, stop=1)
    assert found.tokens == [new_tokens(row, length) for row in beams.sequences]
    np.testing.assert_allclose(found.scores, beams.sequences_scores.numpy(), atol=1e-4)


def test_an_encoder_and_decoder_generates_what_transformers_does(tmp_path: Path) -> None:
    config = transformers.T5Config(
        vocab_size=61, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, eos_token_id=1, pad_token_id=2,
        decoder_start_token_id=0, relative_attention_num_buckets=8, relative_attention_max_distance=12)
    theirs = saved(transformers.T5ForConditionalGeneration(config), tmp_path)
    ours: Any = tg.models.from_pretrained(tmp_path)
    exe = tg.compile(tg.trace_program(ours, start=ours.start_specs, step=ours.step_specs))
    source = np.array([[5, 17, 8, 33, 1], [11, 3, 1, 2, 2]])
    feeds = {"input_ids": torch.tensor(source), "attention_mask": torch.tensor(source != 2).long()}
    with torch.no_grad():
        greedy = theirs.generate(**feeds, max_new_tokens=20, do_sample=False)
        beams = theirs.generate(**feeds, max_new_tokens=12, do_sample=False, **BEAMS)
    session = exe.session(B=2, C=32)
    session.start(source, source != 2)
    got = tg.generate(session, [[0], [0]], max_new_tokens=20, stop=1)
    assert got.tokens == [new_tokens(row, 1) for row in greedy]
    session.start(source, source != 2)
    found = tg.generate(session, [[0], [0]], method="beam", beams=3, length_penalty=0.7, max_new_tokens=12, stop=1)
    assert found.tokens == [new_tokens(row, 1) for row in beams.sequences]
    np.testing.assert_allclose(found.scores, beams.sequences_scores.numpy(), atol=1e-4)
