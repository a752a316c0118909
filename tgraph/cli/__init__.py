"""The command line: `tgraph demo`, `dump`, `opt`, ... One file a command; heavy imports wait for the command to run."""

from __future__ import annotations

import importlib
import keyword
import warnings
from pathlib import Path
from typing import Any

import click

from tgraph.ir.errors import TGraphError
from tgraph.version import VERSION

# in the order of the help text; each is a module of this package with a `command`
COMMANDS = ("demo", "dump", "opt", "diff", "reduce", "compile", "run", "check", "profile", "explain", "import", "export",
            "bench", "tune", "ops",
            "passes", "targets", "cache")


class Application(click.Group):
    """Finds commands by module, and turns tgraph's errors into one red line and exit status 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"tgraph.cli.{name}{'_' if keyword.iskeyword(name) else ''}").command
        return found

    def invoke(self, ctx: click.Context) -> Any:
        usual = warnings.formatwarning
        try:
            warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # no line of ours: nobody wrote it
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # `tgraph ops | head`: click ends quietly
        except (TGraphError, ImportError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            from tgraph.cli.console import report_error

            report_error(error)
            ctx.exit(2)
        finally:
            warnings.formatwarning = usual


@click.command(cls=Application, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--plugin", "plugins", multiple=True, metavar="FILE",
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Import a Python file first: the ops, passes, formats and kernels that it registers are then known. "
                   "Repeatable.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(VERSION, prog_name="tgraph", message="%(prog)s %(version)s")
def main(plugins: tuple[Path, ...], debug: bool) -> None:
    """A small language and compiler for attention and Transformer models, on Apache TVM.

    FILE is a graph (.tg, .json, .onnx, - for standard input; FILE:NAME of several) or a compiled bundle (.tgc). MODEL is built in
    (minilm, bert-base, bert-tiny, transformer) or yours: FILE.py:NAME, a traced graph, or a function or module with `specs`.

    \b
    Examples:
      $ tgraph demo
      $ tgraph dump bert-tiny -o bert.svg
      $ tgraph opt layer.tg -p fold-constants,fuse-qkv --timing
    """
    if plugins:
        from tgraph.cli.user_files import import_file

        for path in plugins:
            import_file(path)
