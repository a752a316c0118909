"""The table of ONNX ops that can be imported, for `tgraph ops --onnx` and docs/onnx.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tgraph.formats.onnx.registry import Importer

DOMAINS = {"": "ONNX", "com.microsoft": "com.microsoft (ONNX Runtime)"}


def table_of_onnx_ops() -> str:
    """Markdown: the ops by domain and family, what of them is not taken, and the ops that are refused, with the reason."""
    from tgraph.formats.onnx import importer  # noqa: F401  (fills the table)
    from tgraph.formats.onnx.registry import IMPORTERS

    lines: list[str] = []
    limits: list[str] = []
    refused: dict[str, list[str]] = {}
    for domain in sorted({domain for domain, _ in IMPORTERS}):
        families: dict[str, list[str]] = {}
        for (where, op), found in sorted(IMPORTERS.items()):
            if where != domain:
                continue
            if found[-1].refused:
                refused.setdefault(found[-1].refused, []).append(op)
                continue
            first = _first(domain, op, found)
            families.setdefault(_family(found[0]), []).append(f"`{op}`" + (f" ({first})" if first > 1 else ""))
            limits += [f"| {f'{domain} ' if domain else ''}`{op}` | {found[0].limits} |"] if found[0].limits else []
        lines += [f"## {DOMAINS.get(domain, domain)}", "",
                  "| family | ops, with the opset from which on they are taken, if not 1 |", "|---|---|",
                  *(f"| {family} | {', '.join(ops)} |" for family, ops in sorted(families.items())), ""]
    lines += ["## Limits", "", "| op | what is taken of it |", "|---|---|", *limits, ""]
    lines += ["## Refused", "", "| ops | why, and what to do |", "|---|---|",
              *(f"| {', '.join(f'`{op}`' for op in ops)} | {why} |" for why, ops in refused.items())]
    return "\n".join(lines) + "\n"


def _family(found: Importer) -> str:
    return found.function.__module__.rpartition(".")[2].replace("_", " ")


def _first(domain: str, op: str, found: Sequence[Importer]) -> int:
    """The first opset that has the op and whose meaning is known."""
    import onnx

    versions = [s.since_version for s in onnx.defs.get_all_schemas_with_history() if (s.domain, s.name) == (domain, op)]
    return max(found[-1].since, min(versions, default=1))
