"""Translation with attention: for each letter that it writes, the decoder looks at all states of the encoder, and chooses.

    python examples/02_seq2seq_attention.py

The weights of these means, drawn as a matrix, are an alignment of source and target that nobody taught the model.
"""

from importlib import import_module

import numpy as np
from dates import BEGIN, END, load, numbers, targets

import tgraph as tg

without = import_module("01_seq2seq")
B, S, T = tg.dims("B S T")

if __name__ == "__main__":
    exe = without.compiled("additive")
    share = without.accuracy(exe)
    print(f"right in all letters: {share:.1%} of held-out dates")
    assert share > 0.98

    human = "saturday 3 may 1998"
    greedy, = without.translate(exe, [human])
    beams, = without.translate(exe, [human], method="beam", beams=4)
    print(f"{human} -> {greedy} (beams: {beams})")
    assert greedy == beams == "1998-05-03"

    model = load("additive")  # where it looks as it writes each letter: the same weights in a graph of its own
    align = tg.compile(tg.trace(model.align, source=tg.i64[B, S], target=tg.i64[B, T], source_mask=tg.bool_[B, S]))
    source, mask = numbers([human])
    written = targets([greedy])
    weights = align(source, np.concatenate([[[BEGIN]], written[:, :-1]], axis=1), mask)[0]
    for letter, line in zip([*greedy, "(end)"], weights):
        best = np.sort(np.argsort(-line)[:3])
        print(f"{letter:>5}: " + ", ".join(f"{human[i]!r} at {i} {line[i]:.2f}" for i in best))
    assert np.allclose(weights.sum(axis=-1), 1, atol=1e-5) and written[0, -1] == END
    try:
        tg.plot.alignment(weights, list(human), [*greedy, "end"], path="alignment.png")
        print("alignment.png: which letters of the source each letter of the target comes from")
    except ModuleNotFoundError as error:
        print(error)
