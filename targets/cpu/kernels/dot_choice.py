"""Which instruction multiplies 8-bit integers, or bf16, on a CPU."""

from __future__ import annotations

from collections.abc import Callable

from targets.cpu.kernels.byte_dot import ByteDot
from targets.cpu.kernels.dots import Dot
from targets.cpu.kernels.tiles import TileDot


def integer_dot(features: Callable[[str], bool], vector_bits: int, *, unsigned: bool = False, centred: bool = False) -> Dot:
    """The fastest exact dot of 8-bit integers for a CPU that has `features`; `unsigned`: where x is u8 to begin with.

    Without VNNI it is vpmaddubsw on bytes where x is `centred`, quantised about 0 and by its largest element. Elsewhere x may be
    far from 0 throughout, and would have too many rests for that: it is widened to i16 for vpmaddwd.
    """
    if features("amx-int8"):
        return TileDot("tdpbusd", 4, "uint8", "int32", 16) if unsigned else TileDot("tdpbssd", 4, "int8", "int32", 16)
    if features("avx512vnni"):
        return Dot("vpdpbusd", 4, "uint8", "int32", 16, unsigned=True)
    if features("avxvnni"):
        return Dot("vpdpbusd", 4, "uint8", "int32", 8, unsigned=True)
    lanes = 16 if features("avx512bw") and vector_bits == 512 else 8
    if features("avx2") and centred:
        return ByteDot("vpmaddubsw", 4, "int8", "int32", lanes, deep=2)
    if features("avx2"):
        return Dot("vpmaddwd", 2, "int16", "int32", lanes)
    return Dot("plain", 2, "int16", "int32", vector_bits // 32)


def bf16_dot(features: Callable[[str], bool]) -> Dot | None:
    """The dot of bf16 with sums in f32, where a CPU has one. It takes denormals for 0."""
    if features("amx-bf16"):
        return TileDot("tdpbf16ps", 2, "uint16", "float32", 16)
    return Dot("vdpbf16ps", 2, "uint16", "float32", 16) if features("avx512bf16") else None
