"""The command line: `tgraph demo`, `dump`, `opt`, ... One file a command; heavy imports wait for the command to run."""

from __future__ import annotations

import importlib
import keyword
import traceback
import warnings
from pathlib import Path
from typing import Any

import click

from tgraph.cli.endings import endings, process_endings
from tgraph.cli.exit_status import BAD_INPUT, INTERNAL
from tgraph.ir.errors import TGraphError
from tgraph.version import VERSION

# in the order of the help text; each is a module of this package with a `command`
COMMANDS = ("demo", "dump", "opt", "diff", "reduce", "fuzz", "compile", "run", "check", "compare", "profile", "memory", "explain",
            "view", "import", "export", "generate", "embed", "bench", "tune", "ops",
            "passes", "targets", "cache", "completion")


class Application(click.Group):
    """Finds commands by module, and turns errors into exit statuses: tgraph's own, with one red line, into 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"tgraph.cli.{name}{'_' if keyword.iskeyword(name) else ''}").command
        return found

    def main(self, *arguments: Any, **options: Any) -> Any:
        with process_endings():
            return super().main(*arguments, **options)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with endings():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with endings():
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        usual = warnings.formatwarning
        try:
            warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # no line of ours: nobody wrote it
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (TGraphError, ImportError, OSError, MemoryError) as error:
            if ctx.params.get("debug"):
                raise
            from tgraph.cli.console import report_error

            report_error(error)
            ctx.exit(BAD_INPUT)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # Python's own status would be 1, which says that a check failed
            if ctx.params.get("debug"):
                raise
            traceback.print_exception(error)
            click.echo("this is an error of tgraph's own; please report it with the command and the lines above", err=True)
            ctx.exit(INTERNAL)
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
    (minilm, bert-base, bert-tiny, transformer) or yours: FILE.py:NAME, a traced graph, or a function or module with `specs`; or a
    folder with a config.json and weights, as Hugging Face's transformers saves a model.

    Exit status 0: fine. 1: the answer is no (a check failed, graphs differ). 2: bad usage or input. 3: an error of tgraph's own.
    130: interrupted. 141: the reader of the output has gone. 143: terminated. Every command takes --json for an answer that
    programs can read. NO_COLOR=1 turns colours off.

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
