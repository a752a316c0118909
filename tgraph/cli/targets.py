"""`tgraph targets`: what can be compiled for, and what this machine is."""

from __future__ import annotations

import click

SHOWN_FEATURES = ("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx512bf16",
                  "avxvnni", "amx-bf16", "amx-int8", "neon", "dotprod", "bf16", "i8mm", "sve")


@click.command("targets")
@click.option("--cpus", is_flag=True, help="List the names of all CPUs that LLVM knows here.")
def command(cpus: bool) -> None:
    """List the kinds of targets, and describe this machine's CPU and GPU as tgraph sees them.

    \b
    Examples:
      $ tgraph targets
      $ tgraph targets --cpus
    """
    import tgraph as tg
    from targets.base.target import default_threads
    from targets.cpu.precision import not_faster
    from tgraph.cli.console import console, table

    out = console()
    if cpus:
        from targets.base.tvm_api import valid_cpus

        for name in valid_cpus():
            click.echo(f"cpu:{name}")
        return
    out.print(table("Targets", ("target", ""), list(tg.targets.KINDS.items())), "")
    host = tg.targets.Target.parse("cpu")
    features = [f for f in SHOWN_FEATURES if host.has(f)]
    out.print(table("This machine", ("", ""), [
        ("target", str(host)),
        ("vectors", f"{host.vector_registers} registers of {host.vector_bits} bits: {host.vector_bits // 32} floats (f32) each"),
        ("caches", f"L1 {_binary(host.l1_bytes)}, L2 {_binary(host.l2_bytes)} a core, L3 {_binary(host.l3_bytes)} shared"),
        ("features", f"{', '.join(features)} (of {len(host.features)})"),
        ("bf16", not_faster(host, "bf16") or 'it has an instruction for products, so precision="bf16" may be faster than "f32"'),
        ("threads", str(default_threads())),
    ]), "")
    out.print(table("CUDA", ("", ""), _cuda()))


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
