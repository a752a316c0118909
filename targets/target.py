"""What a machine is: its kind, instruction set, registers and caches. `Target.parse("cpu:znver3")`, and back by `str`."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from targets.schedules import NONE, Schedules, load_schedules, schedule_file
from tgraph.ir.errors import TargetError

ALIGNMENT = 64  # bytes: of memory that TVM shares, and of everything that is laid out for it

KINDS = {
    "cpu": 'this machine\'s CPU, or one by LLVM\'s name: "cpu:skylake-avx512"',
    "cuda": 'this machine\'s GPU, or NVIDIA\'s name of an architecture: "cuda:sm_90"; that needs no GPU',
    "numpy": "the reference interpreter, float by float as the types say; no compiler",
}
OLDEST_GPU = 80  # compute capability 8.0: the first with bf16 products and asynchronous copies


@dataclass(frozen=True)
class Target:
    """A machine to compile for.

    mcpu: LLVM's name of a CPU; arch: NVIDIA's of a GPU. vector_bits and vector_registers: of the widest instruction set;
    l1_bytes, l2_bytes, l3_bytes: data caches of one core (l3: shared). schedules: parameters of kernels that tuning found, where
    it did.
    """

    kind: str
    mcpu: str = ""
    features: frozenset[str] = field(default_factory=frozenset, repr=False)
    vector_bits: int = 128
    vector_registers: int = 16
    l1_bytes: int = 32 * 1024
    l2_bytes: int = 512 * 1024
    l3_bytes: int = 16 * 1024 * 1024
    arch: str = ""
    schedules: Schedules = field(default=NONE, repr=False, hash=False)

    @classmethod
    def parse(cls, text: str | Target) -> Target:
        """A target from its text, with what tuning found for it. Raises TargetError that lists the known ones."""
        if isinstance(text, Target):
            return text
        kind, _, detail = str(text).partition(":")
        if kind not in KINDS or (detail and kind == "numpy"):
            known = "\n".join(f"  {name:<6} {what}" for name, what in KINDS.items())
            raise TargetError(f"unknown target {text!r}; the known ones are\n{known}")
        if kind == "numpy":
            return cls(kind)
        if kind == "cuda":
            return cls(kind, arch=_gpu(detail))
        target = _cpu(detail)
        return replace(target, schedules=load_schedules(schedule_file(target.mcpu)))

    @property
    def is_host(self) -> bool:
        """Whether code for this target runs here."""
        if self.kind == "numpy":
            return True
        if self.kind == "cuda":
            from .cuda.runtime import host_arch, runs

            return bool(host_arch()) and runs(self.arch, host_arch())
        from .tvm_api import cpu_features, host_cpu

        return self.mcpu == host_cpu() or self.features <= cpu_features(host_cpu())

    def has(self, feature: str) -> bool:
        """Whether the instruction set has a feature, by LLVM's name."""
        return feature in self.features

    def __str__(self) -> str:
        name = self.mcpu or self.arch
        return f"{self.kind}:{name}" if name else self.kind


def capability(arch: str) -> int:
    """The number in a GPU's architecture, 90 of "sm_90"; 0 for an empty name."""
    return int(arch[3:] or 0)


def _gpu(name: str) -> str:
    """A GPU's architecture by its name, or this machine's. Raises TargetError."""
    if not name:
        from .cuda.runtime import require_arch

        return require_arch()
    if not re.fullmatch(r"sm_\d{2,3}", name) or capability(name) < OLDEST_GPU:
        raise TargetError(f"target 'cuda:{name}': a GPU's architecture is \"sm_\" and its compute capability without the point, "
                          f"sm_{OLDEST_GPU} or later: sm_80 (A100), sm_86, sm_89, sm_90 (H100)")
    return name


@functools.cache
def _cpu(name: str) -> Target:
    import difflib

    from .tvm_api import cpu_features, host_cpu, valid_cpus

    mcpu = name or host_cpu()
    if name and name not in valid_cpus():
        near = difflib.get_close_matches(name, valid_cpus(), n=4)
        hint = f"; did you mean {', '.join(near)}?" if near else "; `tgraph targets --cpus` lists them"
        raise TargetError(f"target 'cpu:{name}': LLVM knows no CPU of that name{hint}")
    features = cpu_features(mcpu)
    bits, registers = 128, 32 if "neon" in features else 16
    if "avx2" in features:
        bits = 256
    if "avx512f" in features:
        bits, registers = 512, 32
    l1, l2, l3 = _cache_sizes() if mcpu == host_cpu() else (32 * 1024, 512 * 1024, 16 * 1024 * 1024)
    return Target("cpu", mcpu, features, bits, registers, l1, l2, l3)


def _cache_sizes() -> tuple[int, int, int]:
    """Data caches of the first core, by what Linux says; typical sizes where it says nothing."""
    sizes = {1: 32 * 1024, 2: 512 * 1024, 3: 16 * 1024 * 1024}
    root = Path("/sys/devices/system/cpu/cpu0/cache")
    for index in sorted(root.glob("index*")) if root.is_dir() else ():
        try:
            kind = (index / "type").read_text().strip()
            level = int((index / "level").read_text())
            text = (index / "size").read_text().strip()
        except (OSError, ValueError):
            continue
        if kind != "Instruction" and level in sizes:
            sizes[level] = int(text.rstrip("KM")) * (1024 if text.endswith("K") else 1024 * 1024)
    return sizes[1], sizes[2], sizes[3]


def default_threads() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
