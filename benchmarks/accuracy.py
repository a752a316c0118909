"""What reduced precision costs: all-MiniLM-L6-v2 on the sentences of `tgraph demo`, against f32.

`python -m benchmarks.accuracy`; what it gains in speed are the workloads `*-reduced` of `python -m benchmarks`.
"""

from __future__ import annotations

import argparse
from typing import Any

import tgraph as tg

CHOICES: dict[str, dict[str, Any]] = {
    "bf16": {"weights": "bf16"}, "f16": {"weights": "f16"}, "i8": {"weights": "i8"},
    "i4": {"weights": "i4"},
    "precision=bf16": {"precision": "bf16"}, "precision=f16": {"precision": "f16"},
}


def accuracy(choices: list[str]) -> None:
    """The report of each choice on real sentences."""
    from tgraph.cli.demo import SENTENCES
    from tgraph.cli.models import minilm
    from tgraph.models.sentence import encode_batch, load_minilm

    model, tokenizer = load_minilm()
    graph = minilm(model)
    ids, mask = encode_batch(tokenizer, SENTENCES)
    for name in choices:
        print(f"\n{name}: {tg.accuracy(tg.compile(graph, **CHOICES[name]), {'input_ids': ids, 'mask': mask})}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choices", default=",".join(CHOICES), help="Default: %(default)s")
    accuracy(parser.parse_args().choices.split(","))


if __name__ == "__main__":
    main()
