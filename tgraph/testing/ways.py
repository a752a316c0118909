"""The ways that a program goes, besides the reference, and the sets of them that have a name."""

from __future__ import annotations

from tgraph.ir.errors import GraphError

ROUND_TRIPS = ("text", "json")
PASSES = {f"passes-{level}": level for level in ("O1", "O2", "O3")}
KERNELS = {"kernels-cpu": "cpu", "kernels-cuda": "cuda:sm_90"}
OTHERS = ("torch", "onnx-import", "onnx")
LEVELS = ("O0", "O3")  # of what is compiled

UNCOMPILED = (*ROUND_TRIPS, *PASSES, *KERNELS, "torch", "onnx-import")
"""Those of `WAYS` for which nothing is compiled: some 40 ms a program."""

COMPILED = (*LEVELS, "bundle", "session")
WAYS = (*UNCOMPILED, "onnx", *COMPILED)
"""The ways that a program goes, besides the reference: round trips of its text and JSON; what passes leave at O1 to O3, and the
graphs of kernels of two targets, run by the reference; PyTorch in float64; the exported ONNX model, imported again, and in ONNX
Runtime; compiled at O0 and O3, a bundle saved and loaded, its states kept by a session."""

SETS = {"all": WAYS, "uncompiled": UNCOMPILED, "compiled": COMPILED}


def ways_named(text: str) -> tuple[str, ...]:
    """The ways of a text such as "text,json" or "uncompiled,onnx", in the order of WAYS. Raises GraphError for an unknown one."""
    found: set[str] = set()
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name not in SETS and name not in WAYS:
            raise GraphError(f"there is no way {name!r} to check a graph; the ways are {', '.join(WAYS)}, and the sets of them "
                             f"{', '.join(SETS)}")
        found.update(SETS.get(name, (name,)))
    return tuple(way for way in WAYS if way in found)
