"""What a machine is: its kind, instruction set, registers and caches. `Target.parse("cpu:znver3")`, and back by `str`."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from targets.base.schedules import NONE, Schedules, load_schedules, schedule_file
from tgraph.ir.errors import TargetError

ALIGNMENT = 64  # bytes: of memory that TVM shares, and of everything that is laid out for it

KINDS = {
    "cpu": 'this machine\'s CPU, or one by LLVM\'s name: "cpu:skylake-avx512"; changed: "cpu:znver4,-avx512f", "cpu:-avx512f"',
    "cuda": 'this machine\'s GPU, or NVIDIA\'s name of an architecture: "cuda:sm_90"; that needs no GPU',
    "numpy": "the reference interpreter, float by float as the types say; no compiler",
}
OLDEST_GPU = 80  # compute capability 8.0: the first with bf16 products and asynchronous copies


@dataclass(frozen=True)
class Target:
    """A machine to compile for.

    mcpu: LLVM's name of a CPU's model; changes: what the CPU has ("+avxvnni") or lacks ("-avx512f") against LLVM's table;
    features: LLVM's names of its instruction sets. vector_bits and vector_registers: of the widest of them; l1_bytes, l2_bytes,
    l3_bytes: data caches of one core (l3: shared). arch: NVIDIA's name of a GPU. schedules: parameters of kernels that tuning
    found, where it did.
    """

    kind: str
    mcpu: str = ""
    changes: tuple[str, ...] = ()
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
        return replace(target, schedules=load_schedules(schedule_file(target.name)))

    @property
    def is_host(self) -> bool:
        """Whether code for this target runs here."""
        if self.kind == "numpy":
            return True
        if self.kind == "cuda":
            from targets.cuda.runtime import host_arch, runs

            return bool(host_arch()) and runs(self.arch, host_arch())
        return not self.missing

    @property
    def missing(self) -> frozenset[str]:
        """Instruction sets that code for this CPU may use, and that of this machine does not have."""
        return self.features - _cpu("").features if self.kind == "cpu" else frozenset()

    def has(self, feature: str) -> bool:
        """Whether the instruction set has a feature, by LLVM's name."""
        return feature in self.features

    @property
    def name(self) -> str:
        """Of the CPU or GPU: "znver4", "znver4,-avx512f", "sm_90"."""
        return ",".join([self.mcpu, *self.changes]) or self.arch

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


def require_host(target: Target, what: str) -> None:
    """Raises TargetError if code for a CPU, `what` in the message, may have instructions that this machine's CPU does not."""
    missing = sorted(target.missing)
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise TargetError(f"{what} was compiled for {target}; this machine ({_cpu('')}) lacks some of its instructions: {shown}; "
                          'compile it here for "cpu", or for an older CPU such as cpu:x86-64-v3')


def capability(arch: str) -> int:
    """The number in a GPU's architecture, 90 of "sm_90"; 0 for an empty name."""
    return int(arch[3:] or 0)


def _gpu(name: str) -> str:
    """A GPU's architecture by its name, or this machine's. Raises TargetError."""
    if not name:
        from targets.cuda.runtime import require_arch

        return require_arch()
    if not re.fullmatch(r"sm_\d{2,3}", name) or capability(name) < OLDEST_GPU:
        raise TargetError(f"target 'cuda:{name}': a GPU's architecture is \"sm_\" and its compute capability without the point, "
                          f"sm_{OLDEST_GPU} or later: sm_80 (A100), sm_86, sm_89, sm_90 (H100)")
    return name


@functools.cache
def _cpu(detail: str) -> Target:
    """A CPU by LLVM's name, or this machine's, with changes. Raises TargetError."""
    from targets.base.tvm_api import host_cpu, valid_cpus
    from targets.cpu.instruction_sets import features_of, host_changes, known_features, least_changes

    name, *changes = [part.strip() for part in detail.split(",")]
    if name[:1] in ("+", "-"):
        name, changes = "", [name, *changes]
    if name and name not in valid_cpus():
        raise TargetError(f"target 'cpu:{detail}': {_no_such_cpu(name)}")
    for change in changes:
        if change[:1] not in ("+", "-") or change[1:] not in known_features():
            near = [f"{sign}{feature}" for feature in _near(change.lstrip("+-"), known_features()) for sign in (change[:1],)
                    if sign in ("+", "-")]
            raise TargetError(f"target 'cpu:{detail}': {change!r} is no change to a CPU, which is + or - and LLVM's name of an "
                              f"instruction set, as in \"cpu:x86-64-v3,+avxvnni\"{_did_you_mean(near)}")
    mcpu = name or host_cpu()
    least = least_changes(mcpu, changes if name else [*host_changes(), *changes])
    features = features_of(mcpu, least)
    bits, registers = 128, 32 if "neon" in features else 16
    if "avx2" in features:
        bits = 256
    if "avx512f" in features:
        bits, registers = 512, 32
    l1, l2, l3 = _cache_sizes() if mcpu == host_cpu() else (32 * 1024, 512 * 1024, 16 * 1024 * 1024)
    return Target("cpu", mcpu, least, features, bits, registers, l1, l2, l3)


def _no_such_cpu(name: str) -> str:
    """Why there is no CPU of a name, and which there are."""
    from targets.base.tvm_api import valid_cpus

    for architecture in ("x86_64", "aarch64", "riscv64", "powerpc64le", "s390x"):
        if name in valid_cpus(f"{architecture}-linux-gnu"):
            return f"it is a CPU of another architecture ({architecture}) than this machine's; compile for it on such a machine"
    return f"LLVM knows no CPU of that name{_did_you_mean(_near(name, valid_cpus()))}; `tgraph targets --cpus` lists them"


def _near(name: str, known: Iterable[str]) -> list[str]:
    import difflib

    return difflib.get_close_matches(name, sorted(known), n=4, cutoff=0.75)


def _did_you_mean(near: Sequence[str]) -> str:
    return f"; did you mean {', '.join(near)}?" if near else ""


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
