"""Repair of the CUDA source that TVM prints, before it is compiled."""

from __future__ import annotations

import re
from typing import Any

from targets.base.tvm_api import tvm

# TVM prints `reinterpret` as a read through the address of its operand, also where that is a literal, which has none.
_LITERAL = re.compile(r"\(\*\((\w+) \*\)\(&\(((?:\(\w+\))?-?[0-9][\w.+]*(?:/\*[^*]*\*/)?)\)\)\)")
_BITS = """\
template <class To, class From> __device__ __forceinline__ To tg_bits(From from) { return *(To*)&from; }
"""
_LAST = "#define ushort unsigned short"  # of TVM's own lines before a kernel


def amend(source: str, _: Any = None) -> str:
    """The source with literals reinterpreted by a function."""
    amended, count = _LITERAL.subn(r"tg_bits<\1>(\2)", source)
    end = amended.index("#endif", amended.rindex(_LAST)) + len("#endif\n")
    return amended[:end] + _BITS + amended[end:] if count else source


tvm.register_global_func("tvm_callback_cuda_postproc", amend, override=True)
