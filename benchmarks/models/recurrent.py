"""One recurrent layer over [B, T, hidden], in one direction or in both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import tgraph as tg
from benchmarks.harness.job import Feeds
from tgraph import nn

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Outputs(nn.Module):
    """A layer without its last state."""

    def __init__(self, kind: str, hidden: int, both: bool):
        self.layer = KINDS[kind](hidden, hidden, bidirectional=both)

    def __call__(self, x: tg.Tensor) -> tg.Tensor:
        y: tg.Tensor = self.layer(x)[0]
        return y


def recurrent_graph(kind: str, hidden: int, both: bool) -> tg.Graph:
    """For tgraph."""
    batch, steps = tg.dims("B T")
    return tg.trace(Outputs(kind, hidden, both), x=tg.f32[batch, steps, hidden])


class RecurrentPeer:
    """A PeerModel. weights: PyTorch's names of a layer's parameters, below `layer`."""

    optimizer = None

    def __init__(self, weights: Mapping[str, np.ndarray], kind: str, hidden: int, both: bool):
        self.weights = {name: np.array(array) for name, array in weights.items()}
        self.kind, self.hidden, self.both = kind, hidden, both

    def onnx(self) -> dict[str, Any]:
        """The standard's op."""
        from tgraph.formats.onnx.export import to_model
        from tgraph.formats.onnx.writing.writer import tensor

        graph = recurrent_graph(self.kind, self.hidden, self.both)
        graph.load_weights(self.weights)
        model, arrays = to_model(graph, 17)
        model.graph.initializer.extend(tensor(name, array) for name, array in arrays.items())
        return {"": model}

    def onnx_feeds(self, feeds: Feeds) -> dict[str, np.ndarray]:
        return dict(feeds)

    def openvino(self) -> None:
        return None

    def torch(self, precision: str) -> Any:
        import torch

        layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[self.kind](self.hidden, self.hidden, batch_first=True,
                                                                        bidirectional=self.both)
        layer.load_state_dict({name.removeprefix("layer."): torch.from_numpy(a) for name, a in self.weights.items()})
        return lambda x: (layer(x)[0],)

    def torch_feeds(self, feeds: Feeds) -> list[np.ndarray]:
        return [feeds["x"]]
