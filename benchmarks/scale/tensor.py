"""When several GPUs pay for one layer: what the parts of its products cost beside the two all-reduces that join them.

A layer that is cut as examples/tensor_parallel.py cuts it takes, on each of R GPUs, 1/R of its products, attention, weights and
cache; norms and residuals are done by all of them, whole; and twice the hidden states are added up over all GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HALF = 2  # bytes of an element


@dataclass(frozen=True)
class Gpu:
    """flops, bandwidth: of bf16 and of memory, a second, as the data sheet has them; of_flops, of_bandwidth: the shares that
    kernels reach. link: bytes a second that an all-reduce moves between GPUs ("bus bandwidth" of nccl-tests). latency: seconds of
    a small all-reduce by number of GPUs. launch: seconds between two kernels of a CUDA graph.
    """

    name: str
    flops: float
    bandwidth: float
    link: float
    latency: Mapping[int, float]
    of_flops: float = 0.6
    of_bandwidth: float = 0.8
    launch: float = 1.5e-6

    def all_reduce(self, bytes: float, workers: int) -> float:
        """Seconds to add up so many bytes over GPUs, in a ring: each sends 2 (R - 1) / R of them."""
        if workers == 1:
            return 0.0
        return self.latency[workers] + 2 * (workers - 1) / workers * bytes / self.link


H100 = Gpu("H100 SXM, NVLink", 989e12, 3.35e12, 370e9, {2: 6e-6, 4: 9e-6, 8: 13e-6})
L40S = Gpu("L40S, PCIe 4", 362e12, 0.864e12, 20e9, {2: 15e-6, 4: 25e-6, 8: 40e-6})
GPUS = (H100, L40S)
WORKERS = (1, 2, 4, 8)
KERNELS = 7  # of a layer: norm, QKV, attention, output, norm, hidden units, output


@dataclass(frozen=True)
class Shape:
    """A model's layers. gated: hidden units have a gate, three products instead of two. causal: a query sees half of the keys."""

    name: str
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    units: int
    layers: int
    gated: bool = False
    causal: bool = False

    @property
    def weights(self) -> int:
        """Numbers in the products of a layer."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        return attention + self.hidden * self.units * (3 if self.gated else 2)


@dataclass(frozen=True)
class Call:
    """batch sequences of `queries` new tokens, which see `keys` (their own included)."""

    batch: int
    queries: int
    keys: int

    @property
    def tokens(self) -> int:
        return self.batch * self.queries


@dataclass(frozen=True)
class Cost:
    """Seconds of a layer on each GPU: its share, what all do, and the two all-reduces."""

    share: float
    whole: float
    reducing: float

    @property
    def seconds(self) -> float:
        return self.share + self.whole + self.reducing


def layer_cost(gpu: Gpu, shape: Shape, call: Call, workers: int) -> Cost:
    """Of one layer. Raises ValueError if heads cannot be divided."""
    if shape.heads % workers or shape.kv_heads % workers:
        raise ValueError(f"{shape.heads} heads and {shape.kv_heads} key heads cannot be divided among {workers} GPUs")
    seen = call.keys / 2 if shape.causal and call.queries == call.keys else call.keys
    flops = 2 * call.tokens * (shape.weights + 2 * seen * shape.heads * shape.head_dim)
    cache = 2 * call.batch * call.keys * shape.kv_heads * shape.head_dim * HALF
    states = call.tokens * shape.hidden * HALF
    inner = call.tokens * (2 * shape.heads * shape.head_dim + 2 * shape.units) * HALF
    rate, speed = gpu.bandwidth * gpu.of_bandwidth, gpu.flops * gpu.of_flops
    share = max(flops / workers / speed, (shape.weights * HALF / workers + cache / workers + inner / workers + 2 * states) / rate)
    whole = 6 * states / rate + KERNELS * gpu.launch  # two norms with their residuals read and write; launches
    return Cost(share, whole, 2 * gpu.all_reduce(states, workers))


BERT_BASE = Shape("BERT-base", 768, 12, 12, 64, 3072, 12)
BERT_LARGE = Shape("BERT-large", 1024, 16, 16, 64, 4096, 24)
LLAMA_7B = Shape("Llama 2 7B", 4096, 32, 32, 128, 11008, 32, gated=True, causal=True)
LLAMA_70B = Shape("Llama 3 70B", 8192, 64, 8, 128, 28672, 80, gated=True, causal=True)
CASES: tuple[tuple[Shape, Call, str], ...] = (
    (BERT_BASE, Call(1, 128, 128), "1 x 128"), (BERT_BASE, Call(256, 128, 128), "256 x 128"),
    (BERT_LARGE, Call(1, 128, 128), "1 x 128"), (BERT_LARGE, Call(64, 512, 512), "64 x 512"),
    (LLAMA_7B, Call(1, 1, 2048), "step of 1, past of 2048"), (LLAMA_7B, Call(64, 1, 2048), "step of 64, past of 2048"),
    (LLAMA_7B, Call(1, 2048, 2048), "prompt of 2048"),
    (LLAMA_70B, Call(1, 1, 2048), "step of 1, past of 2048"), (LLAMA_70B, Call(64, 1, 2048), "step of 64, past of 2048"),
    (LLAMA_70B, Call(1, 2048, 2048), "prompt of 2048"),
)
