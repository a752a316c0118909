"""What runs on the GPU: BERT-base, one attention op, and large products, each as tgraph and PyTorch have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import tgraph as tg
from benchmarks.harness.torch_bert import TorchBert
from benchmarks.models.attention import AttentionPeer, attention_graph
from benchmarks.work import product_flops, ragged_flops
from passes.pipelines import LEVELS
from tgraph.cli.models import BERTS, bert
from tgraph.models.bert import BertConfig

# tokens of the sentences in ../sentences.txt by MiniLM's tokenizer, which a GPU machine may lack
LENGTHS = (18, 17, 18, 8, 52, 13, 25, 16, 17, 19, 44, 14, 25, 18, 16, 16, 18, 21, 46, 14, 30, 14, 19, 21, 18, 25, 11, 43, 17, 17,
           24, 22)
POINTS = ((1, 128), (8, 128), (32, 128), (8, 512))
PRODUCTS = ((4096, 2304, 768), (4096, 3072, 768), (4096, 768, 3072), (8192, 4096, 4096))  # M, N, K
Contender = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One row of the table: its name, floating-point operations of a call, who runs it, and which rows of results count."""

    name: str
    flops: int
    contenders: dict[str, Contender]
    real: Any = None


@dataclass(frozen=True)
class Setting:
    """device: PyTorch's name of it; dtype: "f16" or "bf16"; compiled: with torch.compile; small: sizes to try it with."""

    device: str
    dtype: str
    compiled: bool
    small: bool

    def torch(self, array: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(array).to(self.device)

    def floats(self, *shape: int) -> Any:
        """Normal numbers in this setting's type, divided by the root of the last size."""
        import torch

        array = np.random.default_rng(sum(shape)).standard_normal(shape, np.float32) / np.sqrt(shape[-1])
        return self.torch(array).to({"f16": torch.float16, "bf16": torch.bfloat16}[self.dtype])

    def peers(self, function: Callable[..., Any], *operands: Any) -> dict[str, Contender]:
        """PyTorch as it comes and compiled, on these operands."""
        import torch

        found: dict[str, Contender] = {"torch": lambda: function(*operands)}
        if self.compiled:
            fast = torch.compile(function, mode="max-autotune")
            found["torch.compile"] = lambda: fast(*operands)
        return found


def cases(setting: Setting) -> Iterator[Case]:
    """All of them, made one after the other: a case is over before the next one takes memory."""
    yield from berts(setting)
    yield from attentions(setting)
    yield from products(setting)


def berts(setting: Setting) -> Iterator[Case]:
    name = "bert-tiny" if setting.small else "bert-base"
    graph, config = bert(name), BertConfig(**BERTS[name])
    peer = TorchBert(vars(config), {name: graph.weights[name] for name in graph.parameters})
    peer.weights = {name: tensor.to(setting.device, setting.floats(1).dtype) for name, tensor in peer.weights.items()}
    exe = tg.compile(graph, "cuda", precision=setting.dtype)
    ragged = tg.compile(graph, "cuda", precision=setting.dtype,
                        passes="remove-padding{output=hidden,mask=mask}," + LEVELS["O3"])
    random = np.random.default_rng(0)
    for batch, length in ((1, 16),) if setting.small else POINTS:
        ids = setting.torch(random.integers(0, config.vocab_size, (batch, length)))
        mask = setting.torch(np.ones((batch, length), bool))
        yield Case(f"{name} {batch}x{length}", product_flops(graph, {"B": batch, "S": length}), {
            "tgraph": lambda: exe(ids, mask), **setting.peers(peer, ids, mask)})
    lengths = LENGTHS[:3] if setting.small else LENGTHS
    mask = setting.torch(np.arange(max(lengths)) < np.array(lengths)[:, None])
    ids = setting.torch(random.integers(0, config.vocab_size, tuple(mask.shape)))
    yield Case(f"{name}, {len(lengths)} sentences", ragged_flops(graph, lengths), {
        "tgraph": lambda: ragged(ids, mask), **setting.peers(peer, ids, mask)}, mask)


def attentions(setting: Setting) -> Iterator[Case]:
    heads, head_dim = 12, 64
    for causal in (False, True):
        graph = attention_graph(heads, head_dim, causal, setting.dtype)
        exe = tg.compile(graph, "cuda")
        peer = AttentionPeer({}, heads, head_dim, causal).torch(setting.dtype)
        for length in (64,) if setting.small else (512, 1024, 2048, 4096, 8192):
            operands = [setting.floats(1, length, heads * head_dim) for _ in range(3)]
            flops = product_flops(graph, {"B": 1, "S": length})
            yield Case(f"{'causal ' if causal else ''}attention {length}", flops, {
                "tgraph": lambda: exe(*operands), **setting.peers(peer, *operands)})


def products(setting: Setting) -> Iterator[Case]:
    import torch

    rows, dtype = tg.dim("M"), {"f16": tg.f16, "bf16": tg.bf16}[setting.dtype]
    for m, n, k in ((128, 128, 128),) if setting.small else PRODUCTS:
        weight = setting.floats(n, k)
        graph = tg.trace(lambda x, w: tg.linear(x, w), x=dtype[rows, k], w=dtype[n, k])
        exe, x = tg.compile(graph, "cuda"), setting.floats(m, k)
        yield Case(f"product {m}x{n}x{k}", 2 * m * n * k, {
            "tgraph": lambda: exe(x, weight), "torch": lambda: torch.nn.functional.linear(x, weight)})
