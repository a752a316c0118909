"""What a machine can do at most, as measured: the yardstick of profiles and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Yardstick:
    """The roofline of a machine (Williams, Waterman, Patterson 2009) with so many threads.

    peak: f32 operations a second; bandwidth: bytes a second that are read from memory, past all caches. narrow: operations a
    second of products of "bf16" or "i8", where the machine has instructions for them and they were measured.
    """

    peak: float
    bandwidth: float
    threads: int
    narrow: Mapping[str, float] = field(default_factory=dict)

    def arithmetic_seconds(self, flops: float, narrow: Mapping[str, int] | None = None) -> float:
        """The least time of operations; `narrow`: those among them that are products of a type which may have a peak of its own,
        by type."""
        known = {kind: count for kind, count in (narrow or {}).items() if kind in self.narrow}
        return (flops - sum(known.values())) / self.peak + sum(count / self.narrow[kind] for kind, count in known.items())

    def least_seconds(self, flops: float, nbytes: float, narrow: Mapping[str, int] | None = None) -> float:
        """No work is shorter than its arithmetic, nor than its reading and writing."""
        return max(self.arithmetic_seconds(flops, narrow), nbytes / self.bandwidth)

    def best(self, other: Yardstick) -> Yardstick:
        """The higher of two measurements of one machine: anything else that ran only took away."""
        kinds = {**self.narrow, **other.narrow}
        narrow = {kind: max(one.narrow.get(kind, 0.0) for one in (self, other)) for kind in kinds}
        return Yardstick(max(self.peak, other.peak), max(self.bandwidth, other.bandwidth), self.threads, narrow)
