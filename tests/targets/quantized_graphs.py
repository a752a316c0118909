"""Products with weights of integers, spelled in many ways."""

from __future__ import annotations

from typing import Any

import numpy as np

import tgraph as tg

B = tg.dim("B")
NUMBERS = np.random.default_rng(3)
ROWS, DEPTH = 70, 100


def weights(kind: str) -> tg.Graph:
    """x W^T with a parameter W of integers, spelled in one of many ways."""
    signed, unsigned = tg.i8[ROWS, DEPTH], tg.u8[DEPTH, ROWS]

    def scaled(x: Any, q: Any) -> Any:
        return tg.linear(x, tg.cast(q, dtype=tg.f32) * 0.01)

    def scaled_after(x: Any, q: Any, s: Any) -> Any:
        return tg.linear(x, tg.cast(q, dtype=tg.f32)) * s

    def shifted(x: Any, q: Any, s: Any, z: Any) -> Any:
        return x @ ((tg.cast(q, dtype=tg.f32) - tg.cast(z, dtype=tg.f32)) * s)

    def blocks(x: Any, q: Any, s: Any, z: Any) -> Any:
        return tg.linear(x, tg.dequantize(q, s, z, depth=DEPTH, block=32, bits=4))

    def qdq(x: Any, q: Any, s: Any, z: Any) -> Any:
        rounded = tg.cast(tg.clip(tg.round(x * 30.0) + 117.0, min=0.0, max=255.0), dtype=tg.u8)
        return shifted((tg.cast(rounded, dtype=tg.f32) - 117.0) * np.float32(1 / 30), q, s, z)

    def integers(x: Any, q: Any, z: Any) -> Any:
        left = tg.cast(tg.cast(tg.clip(x * 30.0 + 9.0, min=-128.0, max=127.0), dtype=tg.i8), dtype=tg.i32) - 9
        return left @ (tg.cast(q, dtype=tg.i32) - tg.cast(z, dtype=tg.i32))

    build, specs = {
        "one scale": (scaled, {"q": signed}),
        "scales after": (scaled_after, {"q": signed, "s": tg.f32[ROWS]}),
        "asymmetric": (shifted, {"q": unsigned, "s": tg.f32[1, ROWS], "z": tg.u8[1, ROWS]}),
        "4 bits": (blocks, {"q": tg.u8[ROWS, DEPTH // 2], "s": tg.f32[ROWS, 4], "z": tg.f32[ROWS, 4]}),
        "QDQ": (qdq, {"q": unsigned, "s": tg.f32[1, ROWS], "z": tg.u8[1, ROWS]}),
        "integers": (integers, {"q": unsigned, "z": tg.u8[1, ROWS]}),
    }[kind]
    graph = tg.trace(lambda x, **parts: build(x, **parts), x=tg.f32[B, DEPTH], **specs)
    return as_parameters(graph)


def as_parameters(graph: tg.Graph) -> tg.Graph:
    """The same with all inputs but the first as parameters, of random numbers."""
    text = str(graph)
    for name, type in ((v.name, v.type) for v in graph.inputs[1:]):
        text = text.replace(f", %{name}: {type}", "", 1).replace("{\n", f"{{\n  param @{name}: {type}\n", 1)
        text = text.replace(f"%{name}", f"@{name}")
    made = tg.parse(text)
    for name, parameter in made.parameters.items():
        limits = np.iinfo(parameter.dtype.numpy) if parameter.dtype.is_integer else None
        made.weights.set(name, NUMBERS.random(parameter.shape).astype(np.float32) if limits is None
                         else NUMBERS.integers(limits.min, limits.max + 1, parameter.shape).astype(parameter.dtype.numpy))
    return made


# kind -> the op that its product becomes, and the bits of a weight that it reads
KINDS = {"one scale": ("linear", 8), "scales after": ("linear", 8), "asymmetric": ("linear", 8), "4 bits": ("linear", 4),
         "QDQ": ("integer_linear", 8), "integers": ("integer_linear", 8)}
