"""Which instruction multiplies 8-bit integers, or bf16, on a CPU."""

from __future__ import annotations

from collections.abc import Callable

from targets.cpu.kernels.byte_dot import ByteDot
from targets.cpu.kernels.dots import Dot
from targets.cpu.kernels.tiles import TileDot


def integer_dot(features: Callable[[str], bool], vector_bits: int, *, unsigned: bool = False) -> Dot:
    """The fastest exact dot of 8-bit integers for a CPU that has `features`; `unsigned`: for x of u8.

    An x of i8 that may be far from 0 throughout had better be made u8 where the dot for these is `unsigned`.
    """
    if features("amx-int8"):
        return TileDot("tdpbusd", 4, "uint8", "int32", 16) if unsigned else TileDot("tdpbssd", 4, "int8", "int32", 16)
    if features("avx512vnni"):
        return Dot("vpdpbusd", 4, "uint8", "int32", 16, unsigned=True)
    if features("avxvnni"):
        return Dot("vpdpbusd", 4, "uint8", "int32", 8, unsigned=True)
    lanes = 16 if features("avx512bw") and vector_bits == 512 else 8
    if features("avx2"):
        return ByteDot("vpmaddubsw", 4, "int8", "int32", lanes, unsigned, deep=2)
    return Dot("plain", 2, "int16", "int32", vector_bits // 32)


def bf16_dot(features: Callable[[str], bool]) -> Dot | None:
    """The dot of bf16 with sums in f32, where a CPU has one. It takes denormals for 0."""
    if features("amx-bf16"):
        return TileDot("tdpbf16ps", 2, "uint16", "float32", 16)
    return Dot("vdpbf16ps", 2, "uint16", "float32", 16) if features("avx512bf16") else None
