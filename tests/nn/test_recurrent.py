"""Recurrent layers against PyTorch's, with the same weights by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn
from tgraph.reference.interpreter import Interpreter

torch = pytest.importorskip("torch")
B, T = tg.dims("B T")
KINDS = ("RNN", "GRU", "LSTM")


def data_of(module: Any) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def states_of(kind: str, shape: tuple[int, ...]) -> list[Any]:
    return [torch.randn(shape, dtype=torch.float64) for _ in range(2 if kind == "LSTM" else 1)]


def expected(module: Any, x: Any, states: list[Any], lengths: Any) -> list[np.ndarray]:
    """What PyTorch makes of sequences of these lengths: outputs padded with zeros, and the last states."""
    utils, batch_first = torch.nn.utils.rnn, module.batch_first
    given = None if not states else states[0] if len(states) == 1 else tuple(states)
    packed = x if lengths is None else utils.pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=False)
    y, last = module(packed, given)
    if lengths is not None:
        y, _ = utils.pad_packed_sequence(y, batch_first=batch_first, total_length=x.shape[1 if batch_first else 0])
    return [t.detach().numpy() for t in (y, *(last if isinstance(last, tuple) else (last,)))]


def graph_of(layer: nn.Module, kind: str, layers: int, hidden: int, state: bool, lengths: str, batch_first: bool) -> tg.Graph:
    specs = {"x": tg.f64[B, T, 5] if batch_first else tg.f64[T, B, 5]}
    specs |= {name: tg.f64[layers, B, hidden] for name in (("h", "c") if kind == "LSTM" else ("h",)) if state}
    specs |= {"lengths": tg.i64[B]} if lengths == "lengths" else {"mask": tg.bool_[B, T]} if lengths == "mask" else {}

    def model(**tensors: tg.Tensor) -> tuple[tg.Tensor, ...]:
        x, *rest = tensors.values()
        named = {lengths: rest.pop()} if lengths else {}
        y, last = layer(x, tuple(rest) if len(rest) > 1 else rest[0] if rest else None, **named)
        return (y, *last) if isinstance(last, tuple) else (y, last)

    return tg.trace(model, **specs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layers", "both", "state", "lengths", "batch_first", "bias"), [
    (1, False, False, "", True, True), (2, True, True, "lengths", True, True), (3, False, True, "mask", True, False),
    (2, True, False, "", False, True)])
def test_layers(kind: str, layers: int, both: bool, state: bool, lengths: str, batch_first: bool, bias: bool) -> None:
    torch.manual_seed(1)
    options = {"num_layers": layers, "bidirectional": both, "batch_first": batch_first, "bias": bias}
    theirs = getattr(torch.nn, kind)(5, 7, **options).double()
    layer = getattr(nn, kind)(5, 7, **options, dtype=tg.f64)
    layer.load_weights(data_of(theirs))
    x, ends = torch.randn(4, 6, 5, dtype=torch.float64), torch.tensor([6, 1, 4, 2])
    x = x if batch_first else x.transpose(0, 1)
    states = states_of(kind, (layers * (1 + both), 4, 7)) if state else []
    graph = graph_of(layer, kind, layers * (1 + both), 7, state, lengths, batch_first)
    feeds = [x.numpy(), *(s.numpy() for s in states)]
    feeds += [ends.numpy()] if lengths == "lengths" else [np.arange(6) < ends.numpy()[:, None]] if lengths == "mask" else []
    found = Interpreter(graph).run(dict(zip([i.name for i in graph.inputs], feeds)))
    for y, r in zip(found.values(), expected(theirs, x, states, ends if lengths else None), strict=True):
        assert y.shape == r.shape and np.abs(y - r).max() < 1e-12


def test_relu() -> None:
    theirs = torch.nn.RNN(5, 7, nonlinearity="relu", batch_first=True).double()
    layer = nn.RNN(5, 7, nonlinearity="relu", dtype=tg.f64)
    layer.load_weights(data_of(theirs))
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    y = tg.reference.run(tg.trace(lambda x: layer(x)[0], x=tg.f64[B, T, 5]), {"x": x.numpy()})["output"]
    assert np.abs(y - theirs(x)[0].detach().numpy()).max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", [False, True])
def test_cells(kind: str, state: bool) -> None:
    theirs = getattr(torch.nn, f"{kind}Cell")(5, 7).double()
    cell = getattr(nn, f"{kind}Cell")(5, 7, dtype=tg.f64)
    cell.load_weights(data_of(theirs))
    x, states = torch.randn(3, 5, dtype=torch.float64), states_of(kind, (3, 7)) if state else []
    specs = {"x": tg.f64[B, 5], **{f"s{i}": tg.f64[B, 7] for i in range(len(states))}}
    given = lambda found: tuple(found) if len(found) > 1 else found[0] if found else None
    graph = tg.trace(lambda **t: cell(next(iter(t.values())), given(list(t.values())[1:])), **specs)
    made = theirs(x, given(states))
    found = Interpreter(graph).run(dict(zip(specs, [t.numpy() for t in (x, *states)])))
    for y, r in zip(found.values(), made if isinstance(made, tuple) else (made,), strict=True):
        assert np.abs(y - r.detach().numpy()).max() < 1e-12
