"""`tgraph ops`: the table of ops, from their definitions."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tgraph.ir.graph import Graph
    from tgraph.ir.registry import Op


@click.command("ops")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the ops; with NAME, one op's documentation, and what it is in simpler ops.

    \b
    Examples:
      $ tgraph ops
      $ tgraph ops softmax
    """
    import tgraph.ops  # noqa: F401  (defines the built-in ops)
    from tgraph.cli.console import console, print_graph, table
    from tgraph.ir.registry import OPS, get_op

    out = console()
    if name is None:
        rows = [(signature(op), "composite" if op.composite else "primitive", op.summary) for _, op in sorted(OPS.items())]
        out.print(table(f"{len(OPS)} ops", ("op", "kind", "what it computes"), rows))
        return
    op = get_op(name)
    out.print(f"[bold cyan]{op.name}[/bold cyan]{signature(op)[len(op.name):]}\n", soft_wrap=True)
    out.print(op.doc, markup=False, soft_wrap=True)
    code = op.infer.__code__
    out.print(f"\ndefined in {op.infer.__module__}, line {code.co_firstlineno}", style="dim", soft_wrap=True)
    if op.composite and (graph := decomposed(op)) is not None:
        out.print("\nin simpler ops:")
        print_graph(graph.text())


def signature(op: Op) -> str:
    """`softmax(x, *, axis=-1)`: operands and attributes with their defaults."""
    shown = []
    for parameter in inspect.signature(op.infer).parameters.values():
        shown.append(parameter.replace(annotation=inspect.Parameter.empty))
    return f"{op.name}{inspect.Signature(shown)}"


def decomposed(op: Op) -> Graph | None:
    """A composite on typical operands, in simpler ops; None for an op whose operands cannot be guessed."""
    from tgraph.ir.builder import Builder
    from tgraph.ir.errors import TGraphError
    from tgraph.ir.graph import Graph

    assert op.decompose is not None
    types, attrs = example(op)
    graph = Graph(op.name)
    b = Builder(graph)
    names = [f"x{i}" for i in range(len(types))] if op.variadic else [o.name for o in op.operands]
    values = [graph.input(name, t) for name, t in zip(names, types)]
    try:
        applied = b.apply(op, values, attrs)
        node = (applied[0] if isinstance(applied, tuple) else applied).node
        made = op.decompose(b, *node.operands, **node.attrs)
        graph.set_outputs([("y", v) for v in made] if isinstance(made, tuple) else [("y", made)])
        graph.erase(node)
    except (TGraphError, TypeError):
        return None
    return graph


def example(op: Op) -> tuple[list[Any], dict[str, Any]]:
    """Operand types and attributes that show an op at work."""
    import tgraph as tg

    batch, length = tg.dims("B S")
    x, heads = tg.f32[batch, length, 8], tg.f32[batch, 4, length, 16]
    known: dict[str, tuple[list[Any], dict[str, Any]]] = {
        "attention": ([heads, heads, heads, tg.bool_[batch, length]], {}),
        "einsum": ([tg.f32[batch, 4, 8], tg.f32[batch, 8, 16]], {"equation": "bij,bjk->bik"}),
        "layer_norm": ([x, tg.f32[8], tg.f32[8]], {}),
        "linear": ([x, tg.f32[4, 8], tg.f32[4]], {}),
        "pack_panels": ([tg.f32[24, 8]], {"width": 16}),
        "rms_norm": ([x, tg.f32[8]], {}),
        "unpack_panels": ([tg.f32[2, 8, 16]], {"rows": 24}),
        "zero_padding": ([x, tg.bool_[batch, length]], {}),
    }
    return known.get(op.name, ([x for o in op.operands if not o.optional], {}))
