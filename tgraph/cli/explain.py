"""`tgraph explain`: which kernels a model becomes, and why those."""

from __future__ import annotations

import click

from tgraph.cli.options import level_option, passes_option, precision_options, target_option


@click.command("explain")
@click.argument("model", metavar="MODEL")
@target_option
@level_option
@passes_option
@precision_options
def command(model: str, target: str, level: str, pipeline: str | None, precision: str, weights: str) -> None:
    """List the kernels of a MODEL, how often each is called, what was chosen for it and why.

    No GPU is needed for a target that names one.

    \b
    Examples:
      $ tgraph explain bert-tiny
      $ tgraph explain bert-base --target cuda:sm_90 --precision f16
    """
    from tgraph.cli.console import console, table
    from tgraph.cli.models import graphs_of, load_executable

    executable, _ = load_executable(model, target=target, level=level, pipeline=pipeline, precision=precision, weights=weights)
    rows = [(e.kernel, str(e.calls), e.family, e.chosen, " ".join(dict.fromkeys(e.ops))) for e in executable.explain()]
    title = f"{', '.join(graphs_of(executable))} for {executable.target}"
    console().print(table(title, ("kernel", "calls", "about", "chosen", "ops"), rows))
