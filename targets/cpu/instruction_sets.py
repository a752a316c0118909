"""What CPUs can execute: by LLVM's table for the name of a model, and read from the CPU that this runs on.

The two differ. A hypervisor hides what its guests may not use (AMX, AVX-512), vendors sell models with parts switched off, and
a CPU may be younger than its table. So a CPU is a model's name and changes to it, `("-avx512f", "+avxvnni")`, LLVM's attributes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

from targets.cpu import tile_permission

# What code made from ordinary arithmetic, loads and stores can contain, by the beginnings of LLVM's names for it. The rest of
# LLVM's tables is advice on scheduling, or for operating systems; no kernel uses it, so whether it is there makes no difference.
_X86 = ("sse", "ssse", "avx", "fma", "xop", "tbm", "f16c", "bmi", "lzcnt", "popcnt", "movbe", "cmov", "cx16", "aes", "vaes",
        "pclmul", "vpclmul", "gfni", "sha", "sm3", "sm4", "amx", "egpr", "ccmp", "cf", "ndd", "nf", "ppx", "push2pop2", "zu")
_ARM = ("neon", "fp-armv8", "fullfp16", "fp16fml", "dotprod", "i8mm", "bf16", "sve", "lse", "rdm", "complxnum", "rcpc",
        "crc", "jsconv", "fptoint", "cssc", "mops")

# LLVM's names of what Linux lists as "Features" of an ARM, where LLVM itself asks for no more than the model
_ARM_FLAGS = {"asimdhp": "fullfp16", "asimdfhm": "fp16fml", "asimddp": "dotprod", "i8mm": "i8mm", "bf16": "bf16",
              "asimdrdm": "rdm", "fcma": "complxnum", "lrcpc": "rcpc", "jscvt": "jsconv", "frint": "fptoint"}


_VERSIONS = ("avx10.1",)  # names for many features together, each of which is read by itself; systems do not list them


def computes(feature: str) -> bool:
    """Whether a feature, by LLVM's name, is one of the instructions that compute."""
    return feature.startswith(_X86 + _ARM) and not feature.startswith(_VERSIONS)


@functools.cache
def features_of(mcpu: str, changes: tuple[str, ...] = ()) -> frozenset[str]:
    """The instruction sets of a model with changes to it, and all that LLVM knows to come or go with them."""
    from targets.base.tvm_api import llvm_features

    return frozenset(filter(computes, llvm_features(mcpu, changes)))


@functools.cache
def known_features() -> frozenset[str]:
    """The names of all instruction sets that some CPU of this architecture has."""
    from targets.base.tvm_api import host_features, valid_cpus

    return frozenset().union(filter(computes, host_features()), *map(features_of, valid_cpus()))


@functools.cache
def host_changes() -> tuple[str, ...]:
    """How this machine's CPU differs from LLVM's table for its model; what the system refuses counts as absent."""
    from targets.base.tvm_api import host_cpu, host_features

    try:
        linux = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        linux = ""
    read = {**host_features(), **arm_features(linux)}
    return changes_from(host_cpu(), {**read, **dict.fromkeys(refused(read), False)})


def refused(read: Mapping[str, bool]) -> frozenset[str]:
    """What the CPU has, and the system does not let this process use. To find out, it is asked for permission to."""
    tiles = {name for name, present in read.items() if present and name.startswith("amx")}
    return frozenset(tiles if tiles and tile_permission.refusal() else ())


def changes_from(mcpu: str, read: Mapping[str, bool]) -> tuple[str, ...]:
    """The changes to a model that make it the CPU of which this was read. What was not read of it is as the model has it."""
    model = features_of(mcpu)
    added = sorted(name for name, present in read.items() if present and computes(name) and name not in model)
    missing = sorted(name for name in model if not read.get(name, True))
    return least_changes(mcpu, [f"+{name}" for name in added] + [f"-{name}" for name in missing])


def arm_features(cpuinfo: str) -> dict[str, bool]:
    """What Linux's /proc/cpuinfo says of an ARM's cores, those that all of them have; nothing for other CPUs."""
    cores = [set(line.partition(":")[2].split()) for line in cpuinfo.splitlines() if line.startswith("Features")]
    return {name: all(flag in core for core in cores) for flag, name in _ARM_FLAGS.items()} if cores else {}


def least_changes(mcpu: str, changes: Iterable[str]) -> tuple[str, ...]:
    """The fewest changes that mean the same: without AVX-512F there is no AVX-512BW, so that one need not be said."""
    model, wanted = features_of(mcpu), tuple(changes)
    least = {c for c in wanted if (c[1:] in model) == (c[0] == "-")}
    follows = {c: {f for f in model ^ features_of(mcpu, (c,)) if f != c[1:]} for c in least}
    shortest = tuple(sorted(c for c in least if not any(c[1:] in follows[d] for d in least if d[0] == c[0])))
    return shortest if features_of(mcpu, shortest) == features_of(mcpu, wanted) else wanted
