"""`tgraph targets`: what can be compiled for, and what this machine is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tgraph.cli.answers import answer, json_option

if TYPE_CHECKING:
    from rich.console import Console

    from targets.base.target import Target

SHOWN_FEATURES = ("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx512bf16",
                  "avxvnni", "amx-bf16", "amx-int8", "neon", "dotprod", "bf16", "i8mm", "sve")


@click.command("targets")
@click.option("--cpus", is_flag=True, help="List the names of all CPUs that LLVM knows here.")
@json_option({
    "kinds": {"<kind>": "string: what may be named behind the kind, as in cpu:skylake-avx512"},
    "machine": {"target": "string: this machine's CPU, as a target", "vector_bits": "integer: width of its vector registers",
                "vector_registers": "integer: how many there are", "l1_bytes": "integer: first cache of a core",
                "l2_bytes": "integer: second cache of a core", "l3_bytes": "integer: third cache, shared",
                "features": ["string: an instruction set"], "threads": "integer: threads that tgraph uses by default",
                "rates": {"<type>": "number: operations a second of products of f32, bf16 and i8, measured; none with --cpus"}},
    "cuda": {"<what>": "string: what compiles for NVIDIA's GPUs here and what runs, or why not"},
    "cpus": ["string: a target of a CPU that LLVM knows; with --cpus alone"],
})
def command(cpus: bool, as_json: bool) -> None:
    """List the kinds of targets, and describe this machine's CPU and GPU as tgraph sees them, with measured rates of products.

    \b
    Examples:
      $ tgraph targets
      $ tgraph targets --cpus
      $ tgraph targets --json
    """
    import tgraph as tg
    from targets.base.cores import default_threads

    host = tg.targets.Target.parse("cpu")
    known: list[str] = []
    if cpus:
        from targets.base.tvm_api import valid_cpus

        known = [f"cpu:{name}" for name in valid_cpus()]
    machine = {"target": str(host), "vector_bits": host.vector_bits, "vector_registers": host.vector_registers,
               "l1_bytes": host.l1_bytes, "l2_bytes": host.l2_bytes, "l3_bytes": host.l3_bytes,
               "features": sorted(host.features), "threads": default_threads(), "rates": {} if cpus else _rates(host)}
    found = {"kinds": tg.targets.KINDS, "machine": machine, "cuda": {} if cpus else dict(_cuda()), "cpus": known}
    answer(found, as_json, lambda out: click.echo("\n".join(known)) if cpus else _show(out, found, host))


def _show(out: Console, found: Mapping[str, Any], host: Target) -> None:
    from targets.base.tvm_api import host_features
    from targets.cpu import tile_permission
    from targets.cpu.instruction_sets import refused
    from targets.cpu.kernels.dot_choice import bf16_dot, integer_dot
    from targets.cpu.precision import not_faster, products
    from tgraph.cli.console import table

    out.print(table("Targets", ("target", ""), list(found["kinds"].items())), "")
    shown = [f for f in SHOWN_FEATURES if host.has(f)]
    out.print(table("This machine", ("", ""), [
        ("target", str(host)),
        ("vectors", f"{host.vector_registers} registers of {host.vector_bits} bits: {host.vector_bits // 32} floats (f32) each"),
        ("caches", f"L1 {_binary(host.l1_bytes)}, L2 {_binary(host.l2_bytes)} a core, L3 {_binary(host.l3_bytes)} shared"),
        ("features", f"{', '.join(shown)} (of {len(host.features)})"),
        ("bf16", not_faster(host, "bf16") or f'{products(host, bf16_dot(host.has))}: precision="bf16" may be faster than "f32"'),
        ("8-bit integers", products(host, integer_dot(host.has, host.vector_bits))),
        *([("tiles (AMX)", f"the CPU has them, but {tile_permission.refusal()}")] if refused(host_features()) else []),
        ("threads", str(found["machine"]["threads"])),
        ("products", _shown(found["machine"]["rates"])),
    ]), "")
    out.print(table("CUDA", ("", ""), list(found["cuda"].items())))


def _rates(host: Target) -> dict[str, float]:
    """What this machine's CPU does at most, on the threads that kernels have."""
    from targets.base.registry import backend_of
    from targets.runtime.runner import runner

    return backend_of(host).rates(host, runner().threads)


def _shown(rates: Mapping[str, float]) -> str:
    """`f32 210, bf16 410 (2.0 x), i8 820 (3.9 x) GFLOP/s, measured now`."""
    parts = [f"{kind} {rate / 1e9:.0f}" + (f" ({rate / rates['f32']:.1f} x)" if kind != "f32" else "")
             for kind, rate in rates.items()]
    return f"{', '.join(parts)} GFLOP/s at most, measured now"


def _cuda() -> list[tuple[str, str]]:
    """What compiles for NVIDIA's GPUs here, and what GPU there is; or why there is none."""
    from targets.cuda import blas, compilers, runtime
    from targets.cuda.triton.binary import state as triton_state
    from tgraph.ir.errors import TGraphError

    try:
        compiles = f"for any architecture (cuda:sm_80, cuda:sm_90), by {compilers.compiler().name}"
    except TGraphError as error:
        compiles = f"no: {error}"
    made = [("compiles", compiles), ("Triton", triton_state())]
    problem = runtime.problem()
    if problem is not None:
        return [*made, ("runs", f"no: {problem}")]
    gpu, driver = runtime.gpu(), runtime.driver_version()
    return [
        *made,
        ("runs", f"on {gpu.name}"),
        ("target", f"cuda:{gpu.arch}"),
        ("memory", f"{gpu.memory / 2**30:.1f} GiB, {gpu.free / 2**30:.1f} GiB of it free; {gpu.processors} multiprocessors"),
        ("cuBLASLt", blas.state()),
        ("driver", f"of CUDA {driver // 1000}.{driver % 1000 // 10}" if driver else "does not say its version"),
    ]


def _binary(count: int) -> str:
    """`32 KiB`."""
    return f"{count // 2**20} MiB" if count >= 2**20 else f"{count // 1024} KiB"
