"""CUDA source, as TVM generates it, to a shared object for the host."""

from __future__ import annotations

import re

DYNAMIC = re.compile(r"^( *)extern __shared__ (?:__align__\(\d+\) )?([\w ]+?) (\w+)\[\];", re.M)
STATIC = re.compile(r"^( *)__shared__ (?:alignas\(\d+\) )?([\w ]+?) (\w+)\[(\d+)\];", re.M)
KERNEL = re.compile(r"^extern \"C\" __global__ void (?:__launch_bounds__\((\d+)[^)]*\) )?(\w+)\([^;{]*\{", re.M)


def host_source(cuda: str, arch: int) -> str:
    """The CUDA text with its shared arrays declared by macro, and with a description of every kernel at the end."""
    text = DYNAMIC.sub(r"\1EMULATED_DYNAMIC_SHARED(\2, \3);", cuda)
    text = STATIC.sub(r"\1EMULATED_SHARED(\2, \3, \4);", text)
    if "__shared__" in text:
        line = next(line for line in text.splitlines() if "__shared__" in line)
        raise RuntimeError(f"the emulator cannot read this declaration of shared memory: {line.strip()}")
    described = (f"EMULATED_KERNEL({name}, {threads or 0}, {arch})" for threads, name in KERNEL.findall(text))
    return "\n".join([text, *described, ""])
