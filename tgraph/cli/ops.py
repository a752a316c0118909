"""`tgraph ops`: the table of ops, from their definitions."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from tgraph.cli.answers import answer, json_option

if TYPE_CHECKING:
    from tgraph.functions.calls import Documented
    from tgraph.ir.graph import Graph
    from tgraph.ir.registry import Op


@click.command("ops")
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="The table as a page of documentation (docs/ops.md is one).")
@click.option("--stub", is_flag=True, help="The ops as functions with types, for type checkers (tgraph/typed_ops.pyi is one).")
@click.option("--onnx", is_flag=True, help="The ONNX ops that can be imported, and those that are refused (docs/onnx.md).")
@json_option({
    "ops": [{"name": "string: as in the text form", "signature": "string: operands, and after * attributes with their defaults",
             "kind": "string: primitive, composite, or function (which is no op, and traces into some)",
             "doc": "string: what it computes", "traits": ["string: what it declares"], "module": "string: where it is defined",
             "decomposition": "string or null: of a composite, a graph of simpler ops; with NAME alone"}],
})
def command(name: str | None, markdown: bool, stub: bool, onnx: bool, as_json: bool) -> None:
    """List the ops; with NAME, the documentation of an op, and what it is in simpler ops, or of a function.

    \b
    Examples:
      $ tgraph ops
      $ tgraph ops softmax
      $ tgraph ops --onnx
    """
    import tgraph.ops  # noqa: F401  (defines the built-in ops)
    from tgraph.cli.console import console, print_graph, table
    from tgraph.functions import DOCUMENTED
    from tgraph.ir.registry import OPS, get_op

    if as_json:
        if markdown or stub or onnx:
            raise click.UsageError("--json lists ops; --markdown, --stub and --onnx are texts")
        answer({"ops": [facts(op, False) for _, op in sorted(OPS.items())] if name is None else [_named(name)]}, True)
        return
    if markdown:
        click.echo(markdown_page(OPS.values()) + "\n" + functions_page(), nl=False)
        return
    if onnx:
        from tgraph.cli.onnx_ops import table_of_onnx_ops

        click.echo(table_of_onnx_ops(), nl=False)
        return
    if stub:
        from tgraph.cli.stub import stub_of

        click.echo(stub_of(OPS.values()), nl=False)
        return
    out = console()
    if name is None:
        rows = [(signature(op), "composite" if op.composite else "primitive", op.summary) for _, op in sorted(OPS.items())]
        out.print(table(f"{len(OPS)} ops", ("op", "kind", "what it computes"), rows))
        return
    listed = next((f for f in DOCUMENTED if name not in OPS and name in (f.name, *f.aliases)), None)
    if listed is not None:
        out.print(f"[bold cyan]{listed.name}[/bold cyan]{listed.signature[len(listed.name):]}\n", soft_wrap=True)
        out.print(listed.doc, markup=False, soft_wrap=True)
        out.print(f"\na function, defined in {listed.module}", style="dim", soft_wrap=True)
        return
    op = get_op(name)
    out.print(f"[bold cyan]{op.name}[/bold cyan]{signature(op)[len(op.name):]}\n", soft_wrap=True)
    out.print(op.doc, markup=False, soft_wrap=True)
    out.print(f"\ntraits: {', '.join(traits(op)) or 'none'}", markup=False, soft_wrap=True)
    code = op.infer.__code__
    out.print(f"\ndefined in {op.infer.__module__}, line {code.co_firstlineno}", style="dim", soft_wrap=True)
    if op.composite and (graph := decomposed(op)) is not None:
        out.print("\nin simpler ops:")
        print_graph(graph.text())


def facts(op: Op, decompose: bool) -> dict[str, Any]:
    """What is known of an op, as plain data."""
    graph = decomposed(op) if decompose and op.composite else None
    return {"name": op.name, "signature": signature(op), "kind": "composite" if op.composite else "primitive", "doc": op.doc,
            "traits": traits(op), "module": op.infer.__module__, "decomposition": None if graph is None else graph.text()}


def _named(name: str) -> dict[str, Any]:
    """What is known of the op or function of a name. Raises GraphError for others."""
    from tgraph.functions import DOCUMENTED
    from tgraph.ir.registry import OPS, get_op

    listed = next((f for f in DOCUMENTED if name not in OPS and name in (f.name, *f.aliases)), None)
    if listed is None:
        return facts(get_op(name), True)
    return {"name": listed.name, "signature": listed.signature, "kind": "function", "doc": listed.doc, "traits": [],
            "module": listed.module, "decomposition": None}


def markdown_page(ops: Iterable[Op]) -> str:
    """All ops with their documentation, grouped by the file that defines them."""
    from tgraph.ir.traits import documentation

    families: dict[str, list[Op]] = {}
    for op in sorted(ops, key=lambda o: (o.infer.__module__, o.name)):
        families.setdefault(op.infer.__module__, []).append(op)
    lines = ["# Ops", "",
             "Generated by `tgraph ops --markdown`. Operands come first, attributes after `*`; `tgraph ops NAME` shows",
             "what a composite op is in simpler ones.", "",
             "## Traits", "",
             "What passes and targets may conclude about an op, declared with it: `@op(elementwise=True)`. A user's op declares",
             "them the same way ([architecture.md](architecture.md#traits-and-axis-maps)).", "",
             "| trait | what follows from it |", "|---|---|",
             *(f"| `{name}` | {text} |" for name, text in documentation().items()), ""]
    for module, family in families.items():
        lines += [f"## {module.rpartition('.')[2]}", ""]
        for op in family:
            kind = "composite" if op.composite else "primitive"
            lines += [f"### `{signature(op)}`", "", f"*{kind}.* {op.doc}", ""]
            lines += [f"Traits: {', '.join(f'`{t}`' for t in shown)}.", ""] if (shown := traits(op)) else []
    return "\n".join(lines)


def functions_page() -> str:
    """All functions that are no ops, grouped by family, and what functions of the names of ops take besides."""
    from tgraph.functions import DOCUMENTED

    families: dict[str, list[Documented]] = {}
    for listed in sorted(DOCUMENTED, key=lambda f: (f.module, f.name)):
        families.setdefault(listed.module, []).append(listed)
    lines = ["# Functions", "",
             "Functions that trace into ops, and of those that have an op's name, what they take besides the op's own form.",
             "`dim` and `axis`, `keepdim` and `keepdims`, ... are names of one argument; see [functions.md](functions.md).", ""]
    for module, family in families.items():
        lines += [f"## {module.rpartition('.')[2]}", ""]
        for listed in family:
            also = f" Also as {', '.join(f'`{a}`' for a in listed.aliases)}." if listed.aliases else ""
            method = " A method of tensors too." if listed.method else ""
            lines += [f"### `{listed.signature}`", "", f"{listed.doc}{also}{method}", ""]
    return "\n".join(lines)


def signature(op: Op) -> str:
    """`softmax(x, *, axis=-1)`: operands and attributes with their defaults."""
    shown = []
    for parameter in inspect.signature(op.infer).parameters.values():
        shown.append(parameter.replace(annotation=inspect.Parameter.empty))
    return f"{op.name}{inspect.Signature(shown)}"


def traits(op: Op) -> list[str]:
    """What an op declares beyond the defaults, as its decorator has it."""
    shown = []
    for field in dataclasses.fields(op.traits):
        value = getattr(op.traits, field.name)
        if value is True:
            shown.append(field.name)
        elif field.name == "axis_attributes":
            shown += [f"{name}: {role}" for name, role in value.items()]
        elif value != field.default:
            shown.append(f"{field.name}={value!r}")
    return shown


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
        graph.set_outputs([(f"y{i}", v) for i, v in enumerate(made)] if isinstance(made, tuple) else [("y", made)])
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
        "dequantize": ([tg.u8[24, 16], tg.f32[24, 1], tg.f32[24, 1]], {"depth": 32, "block": 32, "bits": 4}),
        "einsum": ([tg.f32[batch, 4, 8], tg.f32[batch, 8, 16]], {"equation": "bij,bjk->bik"}),
        "integer_linear": ([tg.i8[batch, length, 8], tg.i8[4, 8]], {}),
        "layer_norm": ([x, tg.f32[8], tg.f32[8]], {}),
        "linear": ([x, tg.f32[4, 8], tg.f32[4]], {}),
        "gru": ([x, tg.f32[1, 12, 8], tg.f32[1, 12, 4], tg.f32[1, 12], tg.f32[1, 12]], {}),
        "lstm": ([x, tg.f32[1, 16, 8], tg.f32[1, 16, 4], tg.f32[1, 16], tg.f32[1, 16]], {}),
        "rnn": ([x, tg.f32[1, 4, 8], tg.f32[1, 4, 4], tg.f32[1, 4], tg.f32[1, 4]], {}),
        "pack_gates": ([tg.f32[1, 32, 8]], {"gates": 4, "width": 8}),
        "unpack_gates": ([tg.f32[1, 1, 8, 32]], {"gates": 4, "hidden": 8}),
        "pack_panels": ([tg.f32[24, 8]], {"width": 16}),
        "number_rows": ([tg.bool_[batch, length]], {}),
        "pad_rows": ([tg.f32[tg.dim("N"), 8], tg.i64[batch, length]], {}),
        "quantize_blocks": ([tg.f32[24, 64]], {}),
        "ragged_attention": ([*[tg.f32[tg.dim("N"), 4, 16]] * 3, tg.i64[batch + 1]], {}),
        "rms_norm": ([x, tg.f32[8]], {}),
        "scatter": ([x, tg.i64[batch, length, 2], tg.f32[batch, length, 2]], {}),
        "take_along_axis": ([x, tg.i64[batch, length, 2]], {}),
        "topk": ([x], {"k": 2}),
        "unpack_panels": ([tg.f32[2, 8, 16]], {"rows": 24}),
        **dict.fromkeys(("update_slice", "update_in_place"), ([heads, tg.f32[batch, 4, 1, 16], tg.i64[()]], {"axis": 2})),
        "zero_padding": ([x, tg.bool_[batch, length]], {}),
    }
    return known.get(op.name, ([x for o in op.operands if not o.optional], {}))
