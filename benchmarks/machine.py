"""Which machine this is, and what it can do at most: measured by a process that waits beside the contenders."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.harness.contender import cpu_seconds
from targets.base.yardstick import Yardstick
from tgraph.ir.errors import TGraphError

SHOWN = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512vnni", "avxvnni", "avx512bf16", "amx-bf16", "amx-int8", "neon", "sve",
         "dotprod", "i8mm", "bf16")


class BenchmarkError(TGraphError):
    """A benchmark could not be run."""


@dataclass(frozen=True)
class Machine:
    """cpu: by LLVM's name; model: by the vendor's. features: of those that matter to products. caches: bytes of L1, L2 (a core's)
    and L3. peak: f32 operations a second; bandwidth: bytes read a second; both measured, at `threads` threads. dot_peaks: the
    same as peak of products of "bf16" and "i8" by the CPU's widest instructions, where it has any.
    """

    cpu: str
    model: str
    features: tuple[str, ...]
    caches: tuple[int, int, int]
    threads: int
    peak: float
    bandwidth: float
    dot_peaks: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Machine:
        known = {"dot_peaks": values.get("tile_peaks", {}), **values}  # what only tiles had, until 2026
        known.pop("tile_peaks", None)
        return cls(**{**known, "features": tuple(values["features"]), "caches": tuple(values["caches"])})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def name(self) -> str:
        """What results from this kind of machine are filed under."""
        return f"{self.cpu}-{self.threads}"

    @property
    def yardstick(self) -> Yardstick:
        return Yardstick(self.peak, self.bandwidth, self.threads, self.dot_peaks)

    def least_seconds(self, flops: float, bytes: float) -> float:
        """The roofline: no call is shorter than its arithmetic, nor than its reading."""
        return self.yardstick.least_seconds(flops, bytes)


    def best(self, other: Machine) -> Machine:
        """The higher of two measurements of this machine: anything else that ran only took away."""
        best = self.yardstick.best(other.yardstick)
        return replace(self, peak=best.peak, bandwidth=best.bandwidth, dot_peaks=best.narrow)


class Probe:
    """A process that measures this machine whenever it is asked to, and sleeps meanwhile. A context that ends it."""

    def __init__(self, threads: int):
        self.threads = threads
        self._started: subprocess.Popen[str] | None = None

    def measure(self) -> Machine:
        """The machine, with what it can do now. Raises BenchmarkError if the process dies."""
        from targets.base.target import Target

        target = Target.parse("cpu")
        features = tuple(name for name in SHOWN if target.has(name))
        found = self._ask()
        return Machine(target.name, model_name(), features, (target.l1_bytes, target.l2_bytes, target.l3_bytes), self.threads,
                       found["peak"], found["bandwidth"], found["narrow"])

    def _ask(self) -> dict[str, Any]:
        if self._started is None:
            environment = {**os.environ, "TVM_NUM_THREADS": str(self.threads),
                           "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
            self._started = subprocess.Popen([sys.executable, "-m", "targets.cpu.probe", str(self.threads)], env=environment,
                                             text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             cwd=Path(__file__).parents[1])
        process = self._started
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchmarkError(f"the probe of the machine ended with exit status {process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def cpu_seconds(self) -> float | None:
        """Processor time that the process has used so far."""
        return None if self._started is None else cpu_seconds(self._started.pid)

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *error: object) -> None:
        if self._started is not None:
            assert self._started.stdin is not None and self._started.stdout is not None
            self._started.stdin.close()
            self._started.wait()
            self._started.stdout.close()


def model_name() -> str:
    """The CPU by the name that its vendor gives it, as far as the system says."""
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()
