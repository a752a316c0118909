"""What followed BERT and what each changed. Any of them comes from a folder with config.json and weights.

    python examples/08_successors.py [FOLDER]

FOLDER: a model that transformers saved, or a download from a hub. By default small ones with random weights are written.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import tgraph as tg
from tgraph.formats.safetensors import save_safetensors
from tgraph.models.families import FAMILIES

SIZES = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
         "max_position_embeddings": 64}
CHANGES = {
    "bert": ({}, "learned positions, both directions, masked words"),
    "roberta": ({}, "trained longer, without the second task; positions count from the padding"),
    "distilbert": ({"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}, "half the layers, taught by BERT"),
    "albert": ({"embedding_size": 16}, "one layer used again and again, narrow embeddings"),
    "electra": ({"embedding_size": 16}, "learns which words were replaced"),
    "mpnet": ({}, "relative positions as a bias of the scores"),
    "deberta-v2": ({"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False},
                   "content and position apart in the scores"),
    "modernbert": ({"local_attention": 8, "pad_token_id": 0},
                   "rotary positions, most layers look nearby only, gated feed-forward"),
}


def write_small(kind, folder):
    """A folder as transformers would save it, with random weights."""
    family = FAMILIES[kind]
    own, _ = CHANGES[kind]
    values = {"model_type": kind, "architectures": [next(iter(family.architectures))], **SIZES, **own}
    (folder / "config.json").write_text(json.dumps(values))
    model = next(iter(family.architectures.values()))(family.config.from_dict(values))
    graph = tg.trace(model, **model.specs)
    save_safetensors(folder / "model.safetensors", {name: graph.weights[name] for name in model.parameters()})


def show(folder):
    """Read, optimise, and count."""
    model = tg.models.from_pretrained(folder)
    graph = tg.trace(model, **model.specs)
    optimised = tg.optimize(graph)
    ops = [n.op.name for n in optimised.nodes]
    weights = sum(int(np.prod(p.type.shape)) for p in model.parameters().values())
    attentions = ops.count("attention")
    print(f"    {weights:>7} weights, {len(graph):>3} nodes; optimised: {len(optimised):>3}, {attentions} of them attention")
    return graph


if __name__ == "__main__":
    if len(sys.argv) > 1:
        graph = show(sys.argv[1])
    else:
        for kind, (_, change) in CHANGES.items():
            with tempfile.TemporaryDirectory() as folder:
                write_small(kind, Path(folder))
                print(f"{kind} (arXiv:{FAMILIES[kind].paper}): {change}")
                graph = show(folder)
    exe = tg.compile(graph)
    assert tg.check(exe)
    print(exe)
