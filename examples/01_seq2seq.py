"""Translation without attention: all that the decoder knows of a source is one vector, the encoder's last state.

    python examples/01_seq2seq.py

The language pair is dates as people write them and ISO 8601 (dates.py); train_dates.py has trained the weights.
"""

import numpy as np
from dates import BEGIN, END, load, numbers, pairs, text_of

import tgraph as tg

B, S, T = tg.dims("B S T")


def translate(exe, texts, **options):
    """What the compiled program writes for each text, letter by letter, until it writes END."""
    session = exe.session()
    session.start(*numbers(texts))
    return [text_of(tokens) for tokens in tg.generate(session, [[BEGIN]] * len(texts), stop=END, max_new_tokens=11, **options)]


def compiled(attention):
    """The trained model: a graph that reads a source, and one that writes the next letter, over one set of weights."""
    model = load(attention)
    return tg.compile(tg.trace_program(model, start={"source": tg.i64[B, S], "source_mask": tg.bool_[B, S]}, step=tg.i64[B, T]))


def accuracy(exe, count=500):
    """The share of dates that are right in all letters, of dates that were in no format part of the training."""
    test = pairs(count, seed=7, test=True)
    found = translate(exe, [human for human, _ in test])
    return np.mean([one == iso for one, (_, iso) in zip(found, test)])


if __name__ == "__main__":
    exe = compiled(None)
    print(exe["start"].graph)
    some = pairs(6, seed=3, test=True)
    for (human, iso), found in zip(some, translate(exe, [human for human, _ in some])):
        print(f"{human:<30} {found}  {'' if found == iso else 'but it is ' + iso}")
    share = accuracy(exe)
    print(f"right in all letters: {share:.1%} of held-out dates")
    assert share > 0.9
