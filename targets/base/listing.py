"""Listings of compiled code taken apart: the text of each function, and of what some kernels come to."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """How functions look in a language: a line that matches `begin`, with the name as its group, up to one that matches `end`.

    with_before: what stands between functions, such as the constants of assembly, belongs to the function below it.
    with_end: the line of the end belongs to the function; else it may begin another.
    """

    begin: re.Pattern[str]
    end: re.Pattern[str]
    with_before: bool = False
    with_end: bool = True


_BRACE = re.compile(r"^\}")
LLVM = Form(re.compile(r'^define .*?@"?([\w.$]+)"?\('), _BRACE)
ASSEMBLY = Form(re.compile(r"^\s+\.type\s+([\w.$]+), ?[@%]function"), re.compile(r"^\s+\.size\s"), with_before=True)
CUDA = Form(re.compile(r'^extern "C" __global__ (?:.*[\s*])?(\w+)\(.*\{$'), _BRACE)
PTX = Form(re.compile(r"^(?:\.visible |\.weak )*\.(?:entry|func) (?:\(.*?\) )?(\w+)\("), _BRACE)
SASS = Form(re.compile(r"^\s*\.section\s+\.text\.(\w+),"), re.compile(r"^\s*\.section\s"), with_end=False)
FORMS = {"llvm": LLVM, "asm": ASSEMBLY, "cuda": CUDA, "ptx": PTX, "sass": SASS}


def functions_in(text: str, form: Form) -> dict[str, str]:
    """The text of each function of a listing, by name, in order."""
    found: dict[str, str] = {}
    name, lines = "", list[str]()
    for line in [*text.splitlines(), ""]:
        ends = form.end.match(line)
        if name and ends and not form.with_end:
            found[name] = "\n".join(lines).strip("\n")
            name, lines = "", []
        begins = None if name else form.begin.match(line)
        name = begins[1] if begins else name
        if name or form.with_before:
            lines.append(line)
        if ends and form.with_end:
            if name:
                found[name] = "\n".join(lines).strip("\n")
            name, lines = "", []
    return {**found, name: "\n".join(lines).strip("\n")} if name else found


def excerpt(functions: Mapping[str, str], symbols: Collection[str]) -> str:
    """Of a listing's functions, those that kernels come to, and what these call.

    The code of a kernel with the symbol `k` is in `k` and functions that TVM makes of it: an entry `__tvm_ffi_k`, a body
    `k_compute_`, parts for a GPU `k_kernel`, `k_kernel_1`, and what runs in parallel, which the body mentions.
    """
    of_kernels = re.compile(rf"(?:__tvm_ffi_)?(?:{'|'.join(map(re.escape, sorted(symbols)))})(?:_compute_|_kernel(?:_\d+)?)?")
    names = {name: name.removeprefix(".L") for name in functions}
    plain = {bare: name for name, bare in names.items()}
    pending = [name for name in functions if of_kernels.fullmatch(names[name])]
    wanted = dict.fromkeys(pending)
    while pending:
        for mentioned in re.findall(r"[A-Za-z_][\w.$]*", functions[pending.pop()]):
            other = mentioned if mentioned in functions else plain.get(mentioned.removeprefix("L"))
            if other is not None and other not in wanted:
                wanted[other] = None
                pending.append(other)
    return "\n\n".join(text for name, text in functions.items() if name in wanted)
