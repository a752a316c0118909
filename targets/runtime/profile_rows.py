"""What a profile is made of: rows of kernel calls, overheads, sums of them, and their places on the roofline."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from targets.runtime.node_times import NodeTime


@dataclass(frozen=True)
class ProfileRow:
    """One kernel call, or a node that runs on the host between two stages (`host`).

    microseconds: the median of all runs, which `samples` has in order; flops and bytes as the ops declare them, bytes those that
    enter and leave the kernel. nodes: what it stands for.
    """

    kernel: str
    scope: str
    microseconds: float
    flops: int
    bytes: int = 0
    nodes: tuple[NodeTime, ...] = ()
    samples: tuple[float, ...] = ()
    host: bool = False

    @property
    def narrow(self) -> Mapping[str, int]:
        """The operations of its products of narrow types, by type."""
        return total_narrow(self.nodes)

    @property
    def gflops_per_second(self) -> float:
        return self.flops / self.microseconds / 1e3 if self.microseconds else 0.0


@dataclass(frozen=True)
class Overhead:
    """Time of a call in which no kernel runs. The last one of a profile is what is left of the call's time."""

    name: str
    microseconds: float
    meaning: str


@dataclass(frozen=True)
class Position:
    """A place on the roofline: operations and bytes a second, and how near they come to what the machine can do.

    of_peak, of_bandwidth, of_roof: from 0 to 1, None without a yardstick; of_roof: the least time that arithmetic and memory
    allow over the time taken. intensity: operations a byte. bound: what the least time is that of, "compute" or "memory".
    """

    flops_per_second: float
    bytes_per_second: float
    intensity: float | None
    of_peak: float | None = None
    of_bandwidth: float | None = None
    of_roof: float | None = None
    bound: str = ""

    @property
    def valid(self) -> bool:
        """Whether the yardstick holds: nothing is faster than what was measured as the most."""
        return max(self.of_peak or 0.0, self.of_bandwidth or 0.0) <= 1.0


@dataclass(frozen=True)
class Group:
    """Rows of a profile summed up. low, high: the quartiles of the runs' sums.

    own: the time that no inner group has; it differs from `microseconds` for scopes alone. estimated: whether the time of kernels
    was split over their nodes. depth: of a scope within scopes. narrow: products of narrow types among the flops, by type.
    """

    name: str
    calls: int
    microseconds: float
    low: float
    high: float
    flops: int = 0
    bytes: int = 0
    own: float = 0.0
    estimated: bool = False
    depth: int = 0
    overhead: bool = False
    narrow: Mapping[str, int] = field(default_factory=dict)


def total_narrow(parts: Iterable[NodeTime | ProfileRow]) -> Mapping[str, int]:
    """The operations of all products of narrow types, by type."""
    found: Counter[str] = Counter()
    for part in parts:
        found.update(part.narrow)
    return found


def quartiles(samples: Sequence[float]) -> tuple[float, float]:
    """The lower and the upper quartile."""
    if len(samples) < 2:
        return samples[0], samples[0]
    low, _, high = statistics.quantiles(samples, method="inclusive")
    return low, high


def scope_path(scope: str) -> tuple[str, ...]:
    """`encoder.layer.3` -> ("encoder", ".layer", ".3"); names of ONNX's exporters have slashes."""
    return tuple(re.findall(r"[./]*[^./]+", scope))


def layer_of(scope: str) -> str:
    """`encoder.layer.3.attention.self` -> `encoder.layer.3`; without a number, the first two names of the path.

    Names of ONNX's exporters have slashes: `/encoder/layer.3/attention/MatMul` -> `/encoder/layer.3`.
    """
    numbered = re.match(r"(.*?[./])?\d+(?=[./]|$)", scope)
    return numbered.group() if numbered else "".join(scope_path(scope)[:2]) or "(top)"
