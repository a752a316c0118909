"""An encoder-decoder of T5's kind side by side: tgraph's sessions, CTranslate2's translator, and ONNX Runtime with a past.

Contenders of `python -m benchmarks.generation --model t5`. The model is T5 small (6 + 6 layers of 512) with random weights; a
point is a batch of sources of one length, of which each contender writes the same number of tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.decoding import CTranslate2, Generated, Past, onnx_session, timed_steps

VOCABULARY = 32128
START = 0  # the token before the first of a target


class TGraph:
    """A session of the compiled `start` and `step`."""

    def load(self, folder: Path, weights: str, threads: int) -> None:
        import tgraph as tg

        tg.set_num_threads(threads)
        model: Any = tg.models.from_pretrained(folder)
        program = tg.trace_program(model, start={"input_ids": model.start_specs["input_ids"]}, step=model.step_specs)
        self.exe = tg.compile(program, weights=weights)

    def generate(self, sources: np.ndarray, steps: int) -> Generated:
        session = self.exe.session(B=len(sources), C=steps + 2)
        session.start(sources)
        return timed_steps(session.step, session.step(np.full((len(sources), 1), START)), steps)


class Translator(CTranslate2):
    """CTranslate2's translator."""

    kind, vocabulary = "Translator", "shared_vocabulary.json"

    def write(self, words: list[list[str]], count: int) -> Sequence[list[str]]:
        results = self.model.translate_batch(
            words, max_decoding_length=count, min_decoding_length=count, beam_size=1, end_token=[])
        return [r.hypotheses[0] for r in results]


class OnnxRuntime:
    """Two graphs: the source to keys and values for the decoder, and a step with its past as inputs and outputs."""

    def load(self, folder: Path, weights: str, threads: int) -> None:
        if not (folder / "step.onnx").exists():
            _export(folder)
        self.start, self.step = (onnx_session(folder / f"{name}.onnx", weights, threads) for name in ("start", "step"))

    def generate(self, sources: np.ndarray, steps: int) -> Generated:
        from onnxruntime import OrtValue

        made = self.start.run_with_ort_values(None, {"input_ids": OrtValue.ortvalue_from_numpy(sources)})
        past = Past(self.step, len(sources), dict(zip((o.name for o in self.start.get_outputs()), made)))
        return timed_steps(past.step, past.step(np.full((len(sources), 1), START)), steps)


def _export(folder: Path) -> None:
    """The model in a folder as start.onnx and step.onnx."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, DynamicCache, EncoderDecoderCache

    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    config = model.config
    layers, heads, size = config.num_decoder_layers, config.num_heads, config.d_kv

    class Start(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any) -> Any:
            hidden = self.model.encoder(input_ids).last_hidden_state
            found = []
            for block in self.model.decoder.block:
                for linear in (block.layer[1].EncDecAttention.k, block.layer[1].EncDecAttention.v):
                    found.append(linear(hidden).view(hidden.shape[0], -1, heads, size).transpose(1, 2))
            return tuple(found)

    class Step(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: Any, *states: Any) -> Any:
            memory, past = states[: 2 * layers], states[2 * layers :]
            caches = [DynamicCache(), DynamicCache()]
            for cache, kept in zip(caches, (past, memory)):
                for layer in range(layers):
                    cache.update(kept[2 * layer], kept[2 * layer + 1], layer)
            both = EncoderDecoderCache(*caches)
            both.is_updated = dict.fromkeys(range(layers), True)
            hidden = memory[0].transpose(1, 2).reshape(memory[0].shape[0], -1, config.d_model)  # only its length is looked at
            made = self.model(encoder_outputs=(hidden,), decoder_input_ids=tokens, past_key_values=both, use_cache=True)
            own = made.past_key_values.self_attention_cache
            return made.logits[:, -1:], *[part for layer in own.layers for part in (layer.keys, layer.values)]

    memory_names, names = [f"memory.{i}" for i in range(2 * layers)], [f"past.{i}" for i in range(2 * layers)]
    memory_axes = {n: {0: "B", 2: "S"} for n in memory_names}
    options: dict[str, Any] = {"dynamo": False, "opset_version": 17}
    torch.onnx.export(Start(), (torch.ones(2, 5, dtype=torch.int64),), str(folder / "start.onnx"), input_names=["input_ids"],
                      output_names=memory_names, dynamic_axes={"input_ids": {0: "B", 1: "S"}, **memory_axes}, **options)
    states = [torch.zeros(2, heads, 5, size) for _ in memory_names] + [torch.zeros(2, heads, 3, size) for _ in names]
    present = [n.replace("past", "present") for n in names]
    axes = {"tokens": {0: "B", 1: "T"}, **memory_axes, **{n: {0: "B", 2: "P"} for n in names},
            **{n: {0: "B", 2: "P+T"} for n in present}}
    torch.onnx.export(Step(), (torch.zeros(2, 1, dtype=torch.int64), *states), str(folder / "step.onnx"),
                      input_names=["tokens", *memory_names, *names], output_names=["scores", *present],
                      dynamic_axes=axes, **options)


def make_model(folder: Path, layers: int) -> None:
    """T5 small with so many layers on each side and random weights, and a tokenizer of as many words."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(vocab_size=VOCABULARY, num_layers=layers, num_decoder_layers=layers, decoder_start_token_id=START)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, VOCABULARY)}
    Tokenizer(models.WordLevel(words, unk_token="<unk>")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}))


CONTENDERS: dict[str, type[Any]] = {"tgraph": TGraph, "ctranslate2": Translator, "onnxruntime": OnnxRuntime}
