"""A decoder alone: GPT-2 writes text, token by token, with the keys and values of what it wrote in memory.

    python examples/09_gpt2.py [FOLDER [PROMPT]]

FOLDER: a GPT-2 that transformers saved, with tokenizer.json (`tgraph generate FOLDER PROMPT` is the same). By default a small one
with random weights.
"""

import sys
import time

import numpy as np

import tgraph as tg
from tgraph.models.gpt2 import GPT2Config, GPT2LMHeadModel

B, T = tg.dims("B T")

if __name__ == "__main__":
    if len(sys.argv) > 1:
        model, tokenizer = tg.models.from_pretrained(sys.argv[1]), tg.models.load_tokenizer(sys.argv[1])
        prompt = tokenizer.encode(sys.argv[2] if len(sys.argv) > 2 else "The attention mechanism").ids
    else:
        model = GPT2LMHeadModel(GPT2Config.from_dict(
            {"vocab_size": 200, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128}))
        tokenizer, prompt = None, [11, 5, 42, 7]
    exe = tg.compile(tg.trace_program(model, step=tg.i64[B, T]))
    for method, options in (("greedy", {}), ("beam", {"beams": 4}), ("sample", {"temperature": 0.8, "top_p": 0.9, "seed": 1})):
        session = exe.session(B=1, C=64)
        start = time.perf_counter()
        tokens, = tg.generate(session, prompt, max_new_tokens=20, method=method, **options)
        milliseconds = (time.perf_counter() - start) / len(tokens) * 1e3
        print(f"{method:<7} {milliseconds:5.2f} ms a token: {tokens if tokenizer is None else tokenizer.decode(tokens)!r}")
        if method == "greedy":
            greedy = tokens

    fresh = exe.session(B=1, C=64)  # without what it remembers, all of the text is read again for each token
    text = list(prompt)
    for _ in range(5):
        fresh.reset()
        text.append(int(np.argmax(fresh.step(np.array([text])), axis=-1).ravel()[-1]))
    assert text[len(prompt):] == greedy[:5]
