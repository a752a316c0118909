"""CPUs as targets: by LLVM's name of a model, or this machine's, with what it has or lacks against that; caches and registers."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from targets.base.target import Target
from targets.base.tvm_api import host_cpu, valid_cpus
from targets.cpu import instruction_sets
from targets.cpu.instruction_sets import features_of, known_features, least_changes
from tgraph.ir.errors import TargetError

TYPICAL = (32 * 1024, 512 * 1024, 16 * 1024 * 1024)  # bytes of data caches, L1 to L3


def missing_on_host(target: Target) -> frozenset[str]:
    """Instruction sets that code for a CPU may use, and that of this machine does not have."""
    return target.features - cpu_target("").features


@functools.cache
def cpu_target(detail: str) -> Target:
    """A CPU by LLVM's name, or this machine's, with changes. Raises TargetError."""
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
    least = least_changes(mcpu, changes if name else [*instruction_sets.host_changes(), *changes])
    features = features_of(mcpu, least)
    bits, registers = 128, 32 if "neon" in features else 16
    if "avx2" in features:
        bits = 256
    if "avx512f" in features:
        bits, registers = 512, 32
    l1, l2, l3 = cache_sizes(_read) if mcpu == host_cpu() else TYPICAL
    return Target("cpu", mcpu, least, features, bits, registers, l1, l2, l3)


def _no_such_cpu(name: str) -> str:
    """Why there is no CPU of a name, and which there are."""
    for architecture in ("x86_64", "aarch64", "riscv64", "powerpc64le", "s390x"):
        if name in valid_cpus(f"{architecture}-linux-gnu"):
            return f"it is a CPU of another architecture ({architecture}) than this machine's; compile for it on such a machine"
    return f"LLVM knows no CPU of that name{_did_you_mean(_near(name, valid_cpus()))}; `tgraph targets --cpus` lists them"


def _near(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, sorted(known), n=4, cutoff=0.75)


def _did_you_mean(near: Sequence[str]) -> str:
    return f"; did you mean {', '.join(near)}?" if near else ""


def cache_sizes(read: Callable[[str], str]) -> tuple[int, int, int]:
    """Data caches of the first core, in bytes, by what Linux says in its files, which `read` reads; typical sizes where it says
    nothing."""
    sizes = dict(zip((1, 2, 3), TYPICAL))
    for index in range(8):
        folder = f"/sys/devices/system/cpu/cpu0/cache/index{index}"
        try:
            kind, level, text = (read(f"{folder}/{file}").strip() for file in ("type", "level", "size"))
            if kind != "Instruction" and int(level) in sizes:
                sizes[int(level)] = int(text.rstrip("KM")) * (1024 if text.endswith("K") else 1024 * 1024)
        except (OSError, ValueError):
            continue
    return sizes[1], sizes[2], sizes[3]


def _read(file: str) -> str:
    return Path(file).read_text()
