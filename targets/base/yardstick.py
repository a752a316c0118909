"""What a machine can do at most, as measured: the yardstick of profiles and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Yardstick:
    """The roofline of a machine (Williams, Waterman, Patterson 2009) with so many threads.

    peak: f32 operations a second; bandwidth: bytes a second that are read from memory, past all caches.
    """

    peak: float
    bandwidth: float
    threads: int

    @property
    def balance(self) -> float:
        """The operations a byte at which arithmetic and memory take the same time: the ridge of the roofline."""
        return self.peak / self.bandwidth

    def least_seconds(self, flops: float, nbytes: float) -> float:
        """No work is shorter than its arithmetic, nor than its reading and writing."""
        return max(flops / self.peak, nbytes / self.bandwidth)

    def best(self, other: Yardstick) -> Yardstick:
        """The higher of two measurements of one machine: anything else that ran only took away."""
        return Yardstick(max(self.peak, other.peak), max(self.bandwidth, other.bandwidth), self.threads)
