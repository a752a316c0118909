"""The speed of products in reduced precision on CPUs, as far as it is known. docs/precision.md has the figures."""

from __future__ import annotations

from targets.base.target import Target
from targets.cpu.kernels.dot_choice import bf16_dot
from targets.cpu.kernels.dots import Dot
from targets.cpu.kernels.tiles import TileDot


def products(target: Target, dot: Dot | None) -> str:
    """What products of whole groups are made of on a CPU, for people; without an instruction for them, f32's."""
    if dot is None or dot.name == "plain":
        return "no instruction for products"
    if isinstance(dot, TileDot):
        step, vectors = 16 * 16 * 16 * dot.group // 16, 2 * target.vector_bits // 32  # multiply-adds in a cycle, at most
        return f"{dot.name} on tiles (AMX), at most {step // vectors} times the multiply-adds of f32 in the same time"
    return f"{dot.name}, {dot.group * dot.deep} products in a step"


def not_faster(target: Target, precision: str) -> str:
    """Why products in `precision` are no faster than f32's on a CPU, as far as is known; empty where they may well be."""
    if precision == "f16":
        return "tgraph uses no instruction of CPUs for products of f16, so they are computed in f32 between roundings to f16"
    if precision != "bf16":
        return ""
    dot = bf16_dot(target.has)
    if dot is None:
        return ("tgraph knows no instruction of it for products of bf16 (avx512bf16), so they are computed in f32 between "
                "roundings to bf16, which was seen to take up to twice as long as f32")
    since_sapphire_rapids = target.has("avx512fp16") and not target.has("sse4a")  # Intel's; sse4a is AMD's
    if since_sapphire_rapids and not isinstance(dot, TileDot):
        return ("its instruction for products of bf16 does no more in a second than those for f32, and its tiles (AMX), "
                "which do, are not there for programs")
    return ""


def fastest_first(target: Target) -> list[tuple[str, str]]:
    """Ways to compute on a CPU, as (precision, weights), the fastest first; f32 is the last. docs/precision.md has their times.

    Integers do at least twice as much in the same time as bf16 where a CPU has instructions for both. Weights of half the bytes
    help few rows, and cost many rows next to nothing; of the two kinds f16 is the more precise, up to its largest number.
    """
    bf16 = [] if not_faster(target, "bf16") else [("bf16", "f32")]
    halves = [("f32", "f16")] if target.has("f16c") or target.has("fullfp16") else []
    return [("f32", "i8"), *bf16, *halves, ("f32", "bf16"), ("f32", "f32")]
