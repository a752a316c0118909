"""What each kernel takes of a multiprocessor: registers, memory, and how many of its blocks run there at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tgraph.ir.tables import html_table, text_table

WARP = 32
REGISTERS = 65536  # of one multiprocessor, of every architecture here
REGISTER_UNIT = 256  # registers that a warp gets at once
WARP_UNIT = 4  # warps go to the four parts of a multiprocessor in turn
SHARED_UNIT, SHARED_RESERVED = 128, 1024  # bytes of shared memory: allocated at once; taken by the system for each block


@dataclass(frozen=True)
class Multiprocessor:
    """The limits of one multiprocessor: resident warps and blocks, bytes of shared memory."""

    warps: int
    blocks: int
    shared: int


# CUDA Programming Guide, "Technical Specifications per Compute Capability"
MULTIPROCESSORS = {
    80: Multiprocessor(64, 32, 164 * 1024), 86: Multiprocessor(48, 16, 100 * 1024), 87: Multiprocessor(48, 16, 164 * 1024),
    89: Multiprocessor(48, 24, 100 * 1024), 90: Multiprocessor(64, 32, 228 * 1024), 100: Multiprocessor(64, 32, 228 * 1024),
    120: Multiprocessor(48, 24, 100 * 1024),
}


@dataclass(frozen=True)
class Resources:
    """One kernel: threads of a block; of each thread registers, bytes spilled to memory and bytes of stack; of each block bytes
    of shared memory, that known to the compiler and that asked for at the launch; blocks of a multiprocessor, and the part of
    its warps that they are (occupancy)."""

    kernel: str
    threads: int
    registers: int
    spilled: int
    stack: int
    static_shared: int
    dynamic_shared: int
    blocks: int
    occupancy: float


COLUMNS = (">threads", ">registers", ">spilled", ">stack", ">shared", ">blocks", ">occupancy")


class ResourceTable(list[Resources]):
    """The kernels of an executable; prints as a table."""

    def __init__(self, rows: list[Resources], arch: str):
        super().__init__(rows)
        self.arch = arch

    def cells(self) -> list[tuple[str, ...]]:
        """The table as text, one tuple a kernel."""
        return [(r.kernel, *map(str, (r.threads, r.registers, r.spilled, r.stack, r.static_shared + r.dynamic_shared, r.blocks)),
                 f"{r.occupancy:.0%}") for r in self]

    def __str__(self) -> str:
        return text_table((f"kernels for {self.arch}", *COLUMNS), self.cells())

    def _repr_html_(self) -> str:
        return html_table(f"kernels for {self.arch}", ("kernel", *COLUMNS), self.cells())


def read_resources(log: str, source: str, dynamic: Mapping[str, int], arch: str) -> ResourceTable:
    """From the assembler's log (`ptxas -v`), the CUDA source, and the bytes that launches ask for by kernel."""
    threads = {name: int(count) for count, name in
               re.findall(r'extern "C" __global__ void __launch_bounds__\((\d+)[^)]*\) (\w+)\(', source)}
    rows = []
    for part in re.split(r"Compiling entry function ", log)[1:]:
        name = part[1:part.index("'", 1)]

        def number(pattern: str, text: str = part) -> int:
            found = re.search(pattern, text)
            return int(found.group(1)) if found else 0

        registers, static = number(r"Used (\d+) registers"), number(r"(\d+) bytes smem")
        block = threads.get(name, 1024)
        blocks = resident_blocks(arch, block, registers, static + dynamic.get(name, 0))
        limit = _multiprocessor(arch)
        rows.append(Resources(
            name, block, registers, number(r"(\d+) bytes spill stores"), number(r"(\d+) bytes stack"), static,
            dynamic.get(name, 0), blocks, blocks * -(-block // WARP) / limit.warps))
    return ResourceTable(sorted(rows, key=lambda r: r.kernel), arch)


def resident_blocks(arch: str, threads: int, registers: int, shared: int) -> int:
    """How many blocks of a kernel run on a multiprocessor at once; `registers` of a thread, `shared` bytes of a block."""
    limit, warps = _multiprocessor(arch), -(-threads // WARP)
    of_warp = -(-max(registers, 1) * WARP // REGISTER_UNIT) * REGISTER_UNIT
    by_registers = REGISTERS // of_warp // WARP_UNIT * WARP_UNIT // warps
    by_shared = limit.shared // (-(-(shared + SHARED_RESERVED) // SHARED_UNIT) * SHARED_UNIT)
    return min(limit.blocks, limit.warps // warps, by_registers, by_shared)


def _multiprocessor(arch: str) -> Multiprocessor:
    """The multiprocessor of an architecture; of the nearest older one, where it is not in the table."""
    number = int(re.sub(r"\D", "", arch))
    return MULTIPROCESSORS[max((n for n in MULTIPROCESSORS if n <= number), default=80)]
