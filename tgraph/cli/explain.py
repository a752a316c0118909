"""`tgraph explain`: which kernels a model becomes and why those, what became of a node, and what a kernel comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tgraph.cli.answers import answer, json_option
from tgraph.cli.completing import complete_model
from tgraph.cli.options import Numbers, level_option, passes_option, precision_options, target_option

if TYPE_CHECKING:
    from rich.console import Console

    from targets import Executable, ProgramExecutable
    from targets.runtime.trail import Trail


@click.command("explain")
@click.argument("model", metavar="MODEL", shell_complete=complete_model)
@click.option("--node", "nodes", multiple=True, metavar="PATTERN",
              help="What became of nodes: a scope (encoder.layer.0.attention; of an ONNX file a node's name), a value (%12), a "
                   "line (model.py:31) or an op. Repeatable.")
@click.option("--kernel", "kernels", multiple=True, metavar="NAME", help="What a kernel comes from. Repeatable.")
@target_option
@level_option
@passes_option
@precision_options
@json_option({
    "target": "string: what was compiled for", "graphs": ["string: a graph of the model"],
    "kernels": [{"kernel": "string: its name", "calls": "integer: how often it is called", "family": "string: what emits it",
                 "chosen": "string: what that chose, and why", "ops": ["string: an op that it computes, in order"]}],
    "trails": [{
        "graph": "string: its name", "subject": "string: the nodes or kernel that --node or --kernel named",
        "origins": [{"text": "string: a node of the model", "scope": "string: its scope",
                     "lines": ["string: as in model.py:31"]}],
        "rewritings": [{"passed": "string: a pass", "rule": "string: its rule", "before": ["string: an op"],
                        "after": ["string: an op"], "times": "integer: how often"}],
        "calls": [{"value": "string: in the graph of kernels", "kernel": "string: its name", "chosen": "string: for it, and why",
                   "scopes": ["string: that it stands for"], "lines": ["string: that it stands for"]}],
        "prepared": ["string: an op that runs once, when weights are loaded"], "apart": ["string: what was not fused, and why"],
    }],
})
def command(model: str, nodes: tuple[str, ...], kernels: tuple[str, ...], target: str, level: str, pipeline: str | None,
            numbers: Numbers, as_json: bool) -> None:
    """List the kernels of a MODEL, how often each is called, what was chosen for it and why.

    With --node, the way of some nodes through the passes instead: which rule of which pass rewrote them, and the kernels that
    compute them now. With --kernel, the way back: the nodes of the model and the lines of its code that a kernel stands for.

    No GPU is needed for a target that names one.

    \b
    Examples:
      $ tgraph explain bert-tiny
      $ tgraph explain bert-tiny --node encoder.layer.0.attention
      $ tgraph explain bert-tiny --kernel linear
      $ tgraph explain bert-base --target cuda:sm_90 --precision f16
    """
    from targets.runtime.explain import Explanations
    from tgraph.cli.console import table
    from tgraph.cli.models import graphs_of, load_executable

    executable, _ = load_executable(model, target=target, level=level, pipeline=pipeline, numbers=numbers)
    trails = [trail for name in nodes for trail in _trails(executable, nodes=name)]
    trails += [trail for name in kernels for trail in _trails(executable, kernel=name)]
    found = Explanations() if trails else executable.explain()

    def show(out: Console) -> None:
        if trails:
            out.print("\n\n".join(map(str, trails)), markup=False, soft_wrap=True)
        else:
            title = f"{', '.join(graphs_of(executable))} for {executable.target}"
            out.print(table(title, found.COLUMNS, found.cells()))

    answer({"target": str(executable.target), "graphs": list(graphs_of(executable)), "kernels": found, "trails": trails}, as_json,
           show)


def _trails(executable: Executable | ProgramExecutable, nodes: str | None = None, kernel: str | None = None) -> list[Trail]:
    """The trail in each graph that has these nodes, or calls this kernel. Raises GraphError if none does."""
    from tgraph.cli.models import graphs_of
    from tgraph.ir.errors import GraphError

    found, missing = [], []
    for exe in graphs_of(executable).values():
        try:
            found.append(exe.trail(nodes, kernel=kernel))
        except GraphError as error:
            missing.append(error)
    if not found:
        raise missing[0]
    return found
