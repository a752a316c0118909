"""Which machine this is, and what it can do at most."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from targets.base.yardstick import Yardstick

SHOWN = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512vnni", "avxvnni", "avx512bf16", "amx-bf16", "amx-int8", "neon", "sve",
         "dotprod", "i8mm", "bf16")


@dataclass(frozen=True)
class Machine:
    """cpu: by LLVM's name; model: by the vendor's. features: of those that matter to products. caches: bytes of L1, L2 (a core's)
    and L3. peak: f32 operations a second; bandwidth: bytes read a second; both measured, at `threads` threads. tile_peaks: the
    same of tiles (AMX), by the type of what they multiply, "bf16" and "i8", where the CPU has them.
    """

    cpu: str
    model: str
    features: tuple[str, ...]
    caches: tuple[int, int, int]
    threads: int
    peak: float
    bandwidth: float
    tile_peaks: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def measure(cls, threads: int) -> Machine:
        """This one. The measuring is done in a process of its own, whose threads are gone afterwards."""
        from targets.base.target import Target

        target = Target.parse("cpu")
        environment = {**os.environ, "TVM_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        done = subprocess.run([sys.executable, "-m", "targets.cpu.probe", str(threads)], env=environment, check=True,
                              capture_output=True, text=True, cwd=Path(__file__).parents[1])
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        features = tuple(name for name in SHOWN if target.has(name))
        return cls(target.name, model_name(), features, (target.l1_bytes, target.l2_bytes, target.l3_bytes), threads,
                   found["peak"], found["bandwidth"], found["tile_peaks"])

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Machine:
        return cls(**{**values, "features": tuple(values["features"]), "caches": tuple(values["caches"])})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def name(self) -> str:
        """What results from this kind of machine are filed under."""
        return f"{self.cpu}-{self.threads}"

    def least_seconds(self, flops: float, bytes: float) -> float:
        """The roofline: no call is shorter than its arithmetic, nor than its reading."""
        return Yardstick(self.peak, self.bandwidth, self.threads).least_seconds(flops, bytes)


def model_name() -> str:
    """The CPU by the name that its vendor gives it, as far as the system says."""
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()
