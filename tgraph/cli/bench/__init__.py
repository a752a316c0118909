"""`tgraph bench`: side by side with other runtimes, each in a process of its own, in turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tgraph.cli.options import Dims, dim_option, level_option, precision_options

PEERS = {  # runtime -> what pip installs
    "onnxruntime": "onnxruntime", "torch": "torch", "openvino": "openvino", "torch.compile": "torch",
    "torch.max-autotune": "torch",
}
USUAL = "onnxruntime,torch,openvino"  # the others compile for half a minute at each of the first shapes
SHAPES = "1x16,1x128,8x128,1x512"


@click.command("bench")
@click.argument("model", metavar="MODEL")
@click.option("--shapes", default=SHAPES, show_default=True, metavar="BxS,...", help="Batches and lengths (dims B and S).")
@dim_option
@click.option("--against", default=USUAL, show_default=True, metavar="PEER,...",
              help=f'Of {", ".join(PEERS)}; "none" for none.')
@click.option("--threads", type=click.IntRange(min=1), metavar="N",
              help="Threads for each contender [default: all cores].")
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True, metavar="N",
              help="Turns of each contender.")
@level_option
@precision_options
@click.option("-o", "--output", metavar="FILE.json", type=click.Path(path_type=Path), help="Write all times.")
def command(model: str, shapes: str, dims: Dims, against: str, threads: int | None, rounds: int, level: str,
            output: Path | None, precision: str, weights: str) -> None:
    """Time a model against other runtimes with the same weights and inputs.

    In each round every contender runs a few calls while the others are idle. Peers are known for the BERT models
    (minilm, bert-base, bert-tiny); other models are timed alone, at sizes given with --dim for dims that are not B or S.

    \b
    Examples:
      $ tgraph bench bert-tiny --shapes 1x16,8x128 --rounds 3 --threads 2
      $ tgraph bench bert-base --against onnxruntime
      $ tgraph bench bert-base --weights i8 --against none
      $ tgraph bench transformer --dim T=16 --shapes 1x32 --rounds 3
    """
    from tgraph.cli.bench.machine import cores
    from tgraph.cli.bench.report import measure_all

    points = parse_shapes(shapes)
    peers = [] if against == "none" else [name.strip() for name in against.split(",") if name.strip()]
    for name in peers:
        if name not in PEERS:
            raise click.UsageError(f"unknown peer {name!r}; known are {', '.join(PEERS)}")
    measure_all(model, points, dims, peers, threads or cores(), rounds, level, output, precision, weights)


def parse_shapes(text: str) -> list[dict[str, int]]:
    """`1x16,8x128` as sizes of B and S."""
    points = []
    for item in text.split(","):
        batch, x, length = item.strip().partition("x")
        if not x or not batch.isdecimal() or not length.isdecimal() or not int(batch) * int(length):
            raise click.UsageError(f"--shapes: expected BATCHxLENGTH like 8x128, got {item.strip()!r}")
        points.append({"B": int(batch), "S": int(length)})
    return points


def peer_of(model: str) -> dict[str, Any] | None:
    """A Job's `peer` for a built-in BERT: its config, prefix of weights' names, and head. None for other models."""
    import dataclasses
    import json

    from tgraph.cli.models import BERTS
    from tgraph.models.bert import BertConfig

    if model in BERTS:
        config, prefix, head = BertConfig(**BERTS[model]), "", "hidden"
    elif model == "minilm":
        from tgraph.models.sentence import minilm_folder

        config = BertConfig.from_dict(json.loads((minilm_folder() / "config.json").read_text(encoding="utf-8")))
        prefix, head = "bert.", "sentence"
    else:
        return None
    return {"class": "tgraph.cli.bench.bert_peer:BertPeer",
            "arguments": {"config": dataclasses.asdict(config), "prefix": prefix, "head": head}}
