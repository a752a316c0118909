"""A user's file, as mypy --strict sees it: what is right is accepted, and each line marked with `error:` is refused."""

from pathlib import Path

import numpy as np

import tgraph as tg
from tgraph import nn

B, S = tg.dims("B S")


class Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        self.attention = nn.MultiHeadAttention(dim, heads)
        self.norm = nn.LayerNorm(dim)
        self.gain = nn.Parameter(tg.f32[dim])
        self.layers = [nn.Linear(dim, dim) for _ in range(2)]

    def __call__(self, x: tg.Tensor, mask: tg.Tensor | None = None) -> tg.Tensor:
        x = self.norm(x + self.attention(x, mask=mask)) * self.gain
        for layer in self.layers:
            x = tg.gelu(layer(x), approximate="tanh")
        scores: tg.Tensor = tg.softmax(x @ x.transpose(0, 2, 1), axis=-1) * x.shape[-1] ** -0.5
        first, _ = tg.split(tg.concat(scores, scores, axis=-1), sizes=[1, 2])
        last: tg.Tensor = x[:, -1] + np.float32(2) * x[:, 0, None] - np.sqrt(64)
        return tg.where(x > 0, x, 0.0).astype(np.float32).sum(axis=1, keepdims=True) + last + tg.reduce_mean(first, axes=(0, 1))


def scale(x: tg.Tensor) -> tg.Tensor:
    return S * x * S ** -0.5 - x.shape[0] / S + 1.0 / (S + 1) * x + tg.full(shape=(B, 1), value=1.0, dtype=tg.f32)


graph = tg.trace(Block(8, 2), x=tg.f32[B, S, 8], mask=tg.bool_[B, S])
optimized: tg.Graph = tg.optimize(graph, "O2")
exe = tg.compile(graph, target="cpu")
y = exe(np.ones((1, 2, 8), np.float32), mask=np.ones((1, 2), bool))
exe.save(Path("block.tgc"))
graph.load_weights("weights.safetensors", cast=True)
graph.dump("block.svg")
print(tg.check(exe))

right: bool = tg.check(exe).ok
slowest: list[str] = [f"{group.name} {group.microseconds}" for group in exe.profile(x=y).by("kernel")]
kernels: list[str] = [node.op.name for node in exe.kernels.nodes]
wide: tg.Parameter = Block(8, 2).attention.query.weight
slope: tg.Parameter | None = Block(8, 2).norm.bias
place: tuple[int, float] = exe.memory(B=1, S=2).arena_bytes, graph.inputs[0].dtype.largest
states: dict[str, np.ndarray] = {name: exe.session(B=2)[name] for name in exe.graph.states}
program: tg.ProgramExecutable = tg.compile(tg.trace_program(Block(8, 2), step=tg.f32[B, S, 8]))
step: tg.Executable = program["step"]

bad: int = tg.softmax(3, axes=2)  # error: Unexpected keyword argument "axes" / error: Incompatible types in assignment
worse: str = tg.relu(graph)  # error: Incompatible types in assignment / error: Argument 1 to "relu" has incompatible type "Graph"
tg.gelu(np.ones(3), approximate="fast")  # error: incompatible type "Literal['fast']"
tg.softmax()  # error: Missing positional argument "x"
tg.softmax(np.ones(3), -1, dim="x")  # error: Argument "dim" to "softmax" has incompatible type "str"
first, second = tg.relu(np.ones(3)), tg.unpack(np.ones(3)).name  # error: "tuple[Tensor, Tensor]" has no attribute "name"
exe.session(B="2")  # error: Argument "B" to "session" of "Executable" has incompatible type "str"
Block(8, 2).norm.weight + "1"  # error: Unsupported operand types for + ("Parameter" and "str")
exe.kernels = "none"  # error: Incompatible types in assignment
tg.compile(graph, target=3)  # error: No overload variant of "compile" matches argument types "Graph", "int"
tg.trace(Block("8", 2), x=tg.f32[B])  # error: Argument 1 to "Block" has incompatible type "str"
