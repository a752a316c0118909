"""The speed of products in reduced precision on CPUs, as far as it is known. docs/precision.md has the figures."""

from __future__ import annotations

from targets.base.target import Target
from targets.cpu.kernels.dots import bf16_dot

# LLVM's names of CPUs with an instruction for bf16 that was seen to be no faster than f32 on one of them; their cores are alike
NO_FASTER = ("sapphirerapids", "emeraldrapids")


def not_faster(target: Target, precision: str) -> str:
    """Why products in `precision` are no faster than f32's on a CPU, as far as is known; empty where they may well be."""
    if precision == "f16":
        return "tgraph uses no instruction of CPUs for products of f16, so they are computed in f32 between roundings to f16"
    if precision != "bf16":
        return ""
    if bf16_dot(target.has) is None:
        return ("tgraph knows no instruction of it for products of bf16 (avx512bf16), so they are computed in f32 between "
                "roundings to bf16, which was seen to take up to twice as long as f32")
    if target.mcpu in NO_FASTER:
        return "its instruction for products of bf16 does no more in a second than those for f32"
    return ""
