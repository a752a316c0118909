"""What recurrent layers mean in PyTorch: one row and one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tgraph.testing.torch_ops import AVAILABLE, meaning

if AVAILABLE:
    import torch
    import torch.nn.functional as F


def clipped(x: Any, clip: float | None) -> Any:
    return x if clip is None else x.clamp(-clip, clip)


def scanned(x: Any, r: Any, states: list[Any], lengths: Any, direction: str, step: Callable[..., Any]) -> tuple[Any, ...]:
    """A recurrence on projected inputs, one row and one step at a time."""
    (batch, length, _), (count, rows, hidden) = x.shape, r.shape
    last = [torch.zeros(count, batch, hidden, dtype=x.dtype) if s is None else s.clone() for s in states]
    y = torch.zeros(batch, length, count * hidden, dtype=x.dtype)
    for d in range(count):
        for b in range(batch):
            places = range(length if lengths is None else min(max(int(lengths[b]), 0), length))
            for t in reversed(places) if d or direction == "reverse" else places:
                new = step(d, x[b, t, d * rows:(d + 1) * rows], *(s[d, b] for s in last))
                for state, value in zip(last, new):
                    state[d, b] = value
                y[b, t, d * hidden:(d + 1) * hidden] = new[0]
    return (y, *last)


@meaning
def rnn_scan(x: Any, r: Any, h0: Any, lengths: Any, *, activation: str, direction: str, clip: float | None) -> Any:
    f = torch.tanh if activation == "tanh" else torch.relu
    return scanned(x, r, [h0], lengths, direction, lambda d, part, h: [f(clipped(part + r[d] @ h, clip))])


@meaning
def gru_scan(x: Any, r: Any, bias: Any, h0: Any, lengths: Any, *, linear_before_reset: bool, direction: str,
             clip: float | None) -> Any:
    def step(d: int, part: Any, h: Any) -> list[Any]:
        (xr, xz, xn), (rr, rz, rn) = part.chunk(3), r[d].chunk(3)
        reset, update = (torch.sigmoid(clipped(a + w @ h, clip)) for a, w in ((xr, rr), (xz, rz)))
        added = 0 if bias is None else bias[d]
        new = torch.tanh(clipped(xn + (reset * (rn @ h + added) if linear_before_reset else rn @ (reset * h) + added), clip))
        return [(1 - update) * new + update * h]

    return scanned(x, r, [h0], lengths, direction, step)


@meaning
def lstm_scan(x: Any, r: Any, h0: Any, c0: Any, lengths: Any, peephole: Any, *, direction: str, clip: float | None) -> Any:
    def step(d: int, part: Any, h: Any, c: Any) -> list[Any]:
        i, f, g, o = (part + r[d] @ h).chunk(4)
        pi, pf, po = (0, 0, 0) if peephole is None else peephole[d].chunk(3)
        i, f = torch.sigmoid(clipped(i + pi * c, clip)), torch.sigmoid(clipped(f + pf * c, clip))
        c = f * c + i * torch.tanh(clipped(g, clip))
        return [torch.sigmoid(clipped(o + po * c, clip)) * torch.tanh(c), c]

    return scanned(x, r, [h0, c0], lengths, direction, step)


def projected(x: Any, w: Any, *biases: Any) -> Any:
    y = torch.cat([x @ part.T for part in w], -1)
    return y + sum(b.reshape(-1) for b in biases if b is not None)


@meaning
def rnn(x: Any, w: Any, r: Any, b: Any, rb: Any, h0: Any, lengths: Any, **attributes: Any) -> Any:
    return rnn_scan(projected(x, w, b, rb), r, h0, lengths, **attributes)


@meaning
def gru(x: Any, w: Any, r: Any, b: Any, rb: Any, h0: Any, lengths: Any, **attributes: Any) -> Any:
    hidden, outer = r.shape[2], None if rb is None else rb.clone()
    if outer is not None:
        outer[:, 2 * hidden:] = 0
    return gru_scan(projected(x, w, b, outer), r, None if rb is None else rb[:, 2 * hidden:], h0, lengths, **attributes)


@meaning
def lstm(x: Any, w: Any, r: Any, b: Any, rb: Any, h0: Any, c0: Any, lengths: Any, peephole: Any, **attributes: Any) -> Any:
    return lstm_scan(projected(x, w, b, rb), r, h0, c0, lengths, peephole, **attributes)


@meaning
def pack_gates(w: Any, *, gates: int, width: int) -> Any:
    count, rows, depth = w.shape
    apart = w.reshape(count, gates, rows // gates, depth)
    apart = F.pad(apart, (0, 0, 0, -(rows // gates) % width))
    panels = apart.reshape(count, gates, apart.shape[2] // width, width, depth).permute(0, 2, 4, 1, 3)
    return panels.reshape(*panels.shape[:3], gates * width)


@meaning
def unpack_gates(p: Any, *, gates: int, hidden: int) -> Any:
    count, runs, depth, columns = p.shape
    apart = p.reshape(count, runs, depth, gates, columns // gates).permute(0, 3, 1, 4, 2)
    return apart.reshape(count, gates, runs * (columns // gates), depth)[:, :, :hidden].reshape(count, gates * hidden, depth)
