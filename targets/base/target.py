"""Targets: the machines to compile for, with their instruction sets, registers and caches; `Target.parse("cpu:znver3")`."""

from __future__ import annotations

from dataclasses import dataclass, field

from targets.base.registry import backend_of
from targets.base.schedules import NONE, Schedules

ALIGNMENT = 64  # bytes: of memory that TVM shares, and of everything that is laid out for it


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
        return backend_of(kind).parse(detail)

    @property
    def is_host(self) -> bool:
        """Whether code for this target runs here."""
        return not backend_of(self).obstacle(self)

    @property
    def missing(self) -> frozenset[str]:
        """Instruction sets that code for this target may use, and that this machine does not have."""
        return backend_of(self).missing(self)

    def has(self, feature: str) -> bool:
        """Whether the instruction set has a feature, by LLVM's name."""
        return feature in self.features

    @property
    def name(self) -> str:
        """The name of the CPU or GPU: "znver4", "znver4,-avx512f", "sm_90"."""
        return ",".join([self.mcpu, *self.changes]) or self.arch

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind
