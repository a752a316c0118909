"""Writes what tgraph makes of some models into a folder: texts, files of graphs, bundles, results. Run in a process of its own.

    python -m tests.targets.everything_written FOLDER [--first MODULE] [--only NAME ...] [--bundles]
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

SUFFIXES = (".tg", ".json", ".dot", ".svg", ".mmd", ".onnx", ".html", ".model-explorer.json")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", default="tgraph", help="a module to import before all others")
    parser.add_argument("--only", nargs="+", help="models")
    parser.add_argument("--bundles", action="store_true", help="write bundles, and what their libraries are made of, alone")
    options = parser.parse_args()
    importlib.import_module(options.first)
    import tgraph as tg
    from tgraph import nn
    from tgraph.models.bert import Bert, BertConfig
    from tgraph.models.gpt2 import GPT2Config, GPT2LMHeadModel
    from tgraph.models.seq2seq import Seq2Seq

    b, s, t = tg.dims("B S T")

    def bert() -> tg.Graph:
        config = BertConfig(vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
        return tg.trace(Bert(config), input_ids=tg.i64[b, s].range(0, 99), mask=tg.bool_[b, s], name="bert")

    def gpt2() -> tg.Program:
        config = {"vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
        return tg.trace_program(GPT2LMHeadModel(GPT2Config.from_dict(config)), step=tg.i64[b, t].range(0, 61))

    def translate() -> tg.Program:
        model = Seq2Seq(60, 50, dim=16, hidden=24, layers=2, cell="lstm", attention="additive")
        return tg.trace_program(model, start={"source": tg.i64[b, s].range(0, 60), "source_mask": tg.bool_[b, s]},
                                step=tg.i64[b, t].range(0, 50))

    def layer() -> tg.Graph:
        return tg.trace(nn.EncoderLayer(64, 4, 128), x=tg.f32[b, s, 64], mask=tg.bool_[b, s], name="layer")

    models: dict[str, tuple[Callable[[], tg.Graph | tg.Program], dict[str, str]]] = {
        "bert": (bert, {}), "gpt2": (gpt2, {}), "translate": (translate, {}), "layer_i8": (layer, {"weights": "i8"}),
        "layer_bf16": (layer, {"weights": "bf16"}),
    }
    for name in options.only or models:
        make, how = models[name]
        model, place = make(), options.folder / name
        exe = tg.compile(model, **how)
        place.mkdir(parents=True)
        exe.save(place / "bundle.tgc", originals=True)
        (place / "bundle.llvm").write_text(exe.source("llvm"))
        if options.bundles:
            continue
        graphs = {model.name: model} if isinstance(model, tg.Graph) else model.graphs
        for graph_name, graph in graphs.items():
            for suffix in SUFFIXES:
                if suffix != ".onnx" or not graph.states:
                    graph.dump(place / f"{graph_name}{suffix}")
            one = exe if isinstance(exe, tg.Executable) else exe[graph_name]
            for level in ("traced", "optimized", "prepare", "kernels", "relax", "tir", "llvm", "asm"):
                (place / f"{graph_name}.{level}").write_text(one.source(level))
            (place / f"{graph_name}.explained").write_text(str(one.explain()))
            feeds = tg.reference.inputs.generate_inputs(graph, seed=3)
            for output, array in one.run(feeds).items():
                (place / f"{graph_name}.{output}.result").write_bytes(np.ascontiguousarray(array).tobytes())


if __name__ == "__main__":
    main()
