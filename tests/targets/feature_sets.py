"""CPUs that differ in what matters to kernels. What depends on the CPU is compiled for all of them, and run where it can be.

`pytest --lacking avx512f` runs all tests as on a CPU without these: `Target.parse("cpu")` is then that one.
"""

from __future__ import annotations

import platform

import pytest

from targets.base.target import Target
from targets.cpu.instruction_sets import known_features

X86 = {  # instruction sets, and a target that has those and no later ones
    "SSE4": "cpu:x86-64-v2",
    "AVX2": "cpu:x86-64-v3",
    "AVX2 and VNNI": "cpu:x86-64-v3,+avxvnni",
    "AVX-512": "cpu:x86-64-v4",
    "AVX-512 and VNNI": "cpu:x86-64-v4,+avx512vnni",
    "AVX-512, VNNI and BF16": "cpu:x86-64-v4,+avx512bf16,+avx512vnni",
    "AMX": "cpu:x86-64-v4,+avx512bf16,+avx512vnni,+amx-bf16,+amx-int8",
    "all of this CPU's": "cpu",
}
FEATURE_SETS = X86 if platform.machine() in ("x86_64", "AMD64") else {"all of this CPU's": "cpu"}

each_feature_set = pytest.mark.parametrize("cpu", FEATURE_SETS.values(), ids=FEATURE_SETS.keys())


def run_only_here(target: Target | str) -> None:
    """Ends a test that has compiled for a target, and looked at the code, as skipped if this machine cannot run that."""
    missing = Target.parse(target).missing
    if missing:
        pytest.skip(f"compiled for {target}, not run: this machine lacks {', '.join(sorted(missing))}")


def registers(assembly: str) -> set[str]:
    """Which vector registers of an x86 code uses: xmm, ymm, zmm."""
    return {name for name in ("xmm", "ymm", "zmm") if f"%{name}" in assembly}


def widest(target: Target) -> str:
    """An x86's widest vector registers."""
    return {128: "xmm", 256: "ymm", 512: "zmm"}[target.vector_bits]


def foreign_cpu() -> str:
    """A CPU whose code does not run on this machine."""
    return f"{Target.parse('cpu')},+{min(known_features() - Target.parse('cpu').features)}"


def lack(names: str) -> None:
    """Make this machine's CPU one without some instruction sets, for the tests of this process."""
    from targets.cpu import instruction_sets, machine

    real = instruction_sets.host_changes
    instruction_sets.host_changes = lambda: (*real(), *(f"-{name}" for name in names.split(",")))  # type: ignore[assignment]
    machine.cpu_target.cache_clear()
