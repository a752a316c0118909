"""What FILE and MODEL on the command line mean: built-in models, a user's Python file, graphs and bundles in files, folders."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tgraph.cli.options import Numbers, set_threads
from tgraph.cli.progress import Steps, compiling
from tgraph.cli.user_files import import_file
from tgraph.ir.errors import TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.levels import DEFAULT_LEVEL
from tgraph.ir.program import Program, only_graph

if TYPE_CHECKING:
    from targets import Executable, ProgramExecutable
    from tgraph.models.sentence import SentenceEncoder

TOKENS = 30522  # BERT's vocabulary


def minilm(model: SentenceEncoder | None = None) -> Graph:
    """all-MiniLM-L6-v2 with its weights: token numbers and mask to unit sentence vectors."""
    import tgraph as tg
    from tgraph.models.sentence import load_minilm

    batch, length = tg.dim("B"), tg.dim("S", max=512)
    return tg.trace(model or load_minilm()[0], input_ids=tg.i64[batch, length].range(0, TOKENS), mask=tg.bool_[batch, length])


BERTS: dict[str, dict[str, Any]] = {  # what differs from BERT-base
    "bert-base": {},
    "bert-tiny": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512},
}


def bert(name: str) -> Graph:
    """A BERT with pooler, random weights."""
    import tgraph as tg
    from tgraph.models.bert import Bert, BertConfig

    batch, length = tg.dim("B"), tg.dim("S", max=512)
    model = Bert(BertConfig(**BERTS[name]))
    return tg.trace(model, input_ids=tg.i64[batch, length].range(0, TOKENS), mask=tg.bool_[batch, length])


def transformer() -> Graph:
    """The base Transformer of arXiv:1706.03762 over 8000 tokens, random weights."""
    import tgraph as tg
    from tgraph.models.transformer import Transformer

    batch, source, target = tg.dim("B"), tg.dim("S", max=512), tg.dim("T", max=512)
    return tg.trace(Transformer(8000, 8000), source=tg.i64[batch, source].range(0, 8000),
                    target=tg.i64[batch, target].range(0, 8000), source_mask=tg.bool_[batch, source])


BUILT_IN: dict[str, Callable[[], Graph]] = {
    "minilm": minilm, "bert-base": lambda: bert("bert-base"), "bert-tiny": lambda: bert("bert-tiny"), "transformer": transformer,
}


def load_graph(text: str) -> Graph:
    """The graph that FILE or MODEL names. Raises TGraphError or OSError that says what is known."""
    return only_graph(load_model(text), TGraphError, f"{'FILE.tg' if text == '-' else text}:{{name}}", quoted=False)


def load_model(text: str) -> Graph | Program:
    """The graph or program that FILE or MODEL names. Raises TGraphError or OSError that says what is known."""
    if text in BUILT_IN:
        return BUILT_IN[text]()
    if ".py:" in text:
        file, _, names = text.partition(".py:")
        name, _, graph = names.partition(":")
        return _of_user(Path(f"{file}.py"), name, graph)
    import tgraph as tg

    if Path(text).is_dir():
        model = tg.models.from_pretrained(text)
        return tg.trace(model, **model.specs)
    if text == "-":
        return _graph_or_program(tg.parse_program(sys.stdin.read(), file="<stdin>"))
    file, name = _apart(text)
    if is_bundle(file):
        exe = tg.load(file)
        return _chosen(exe.graph if isinstance(exe, tg.Executable) else exe.program, file, name)
    if not name and not Path(text).suffix and not Path(text).exists():
        near = difflib.get_close_matches(text, BUILT_IN, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"built in are {', '.join(BUILT_IN)}"
        raise TGraphError(f"no file and no model is called {text!r}; {hint} A model of yours is FILE.py:NAME")
    return _chosen(tg.read(file), file, name)


def _apart(text: str) -> tuple[str, str]:
    """`program.tg:encode` is the graph `encode` in program.tg; a file whose own name has a colon is taken as it is."""
    file, colon, name = text.rpartition(":")
    return (file, name) if colon and Path(file).suffix and not Path(text).exists() else (text, "")


def load_executable(text: str, *, target: str = "cpu", level: str = DEFAULT_LEVEL, pipeline: str | None = None,
                    threads: int | None = None, numbers: Numbers | None = None,
                    one: bool = False) -> tuple[Executable | ProgramExecutable, Steps | None]:
    """FILE or MODEL compiled for a target (with the times of its steps), or a bundle as it was saved.

    numbers: as `precision_options` gives them. one: a program of several graphs is an error, before it is compiled.
    """
    set_threads(threads)
    if is_bundle(text):
        _no_options_for_bundle(text)
        return load_bundle(text, target if _on_command_line("target") else None), None
    return compile_model(load_graph(text) if one else load_model(text), target, level=level, pipeline=pipeline, numbers=numbers)


def compile_model(model: Graph | Program, target: str, *, level: str, pipeline: str | None,
                  numbers: Numbers | None) -> tuple[Executable | ProgramExecutable, Steps]:
    """A graph or program compiled for a target, with the times of its steps."""
    import tgraph as tg

    with compiling(f"compiling {model.name if isinstance(model, Graph) else ', '.join(model)}") as steps:
        return tg.compile(model, target, level=level, passes=pipeline, progress=steps, **numbers or {}), steps


def load_bundle(text: str, target: str | None = None) -> Executable | ProgramExecutable:
    """The executable in a bundle, or that of a graph in it (program.tgc:encode), for this machine or for a target.

    Of several variants, standard error has the one that was taken.
    """
    import tgraph as tg
    from tgraph.cli.console import console

    file, name = _apart(text)
    exe = tg.load(file, target=target)
    if len(exe.variants) > 1:
        console(stderr=True).print(f"{file}: the variant for {exe.target}, of those for {', '.join(exe.variants)}", markup=False,
                                   soft_wrap=True)
    if isinstance(exe, tg.Executable):
        _chosen(exe.graph, file, name)
        return exe
    return exe[name] if name else exe


def graphs_of(exe: Executable | ProgramExecutable) -> dict[str, Executable]:
    """The executable of each graph, by name."""
    import tgraph as tg

    return {exe.graph.name: exe} if isinstance(exe, tg.Executable) else exe.graphs


def only_executable(exe: Executable | ProgramExecutable, text: str) -> Executable:
    """That of the only graph. Raises TGraphError for a program of several, which says how to name one."""
    found = graphs_of(exe)
    if len(found) > 1:
        raise TGraphError(f"{text} has the graphs {', '.join(found)}, and this takes one: write {text}:{next(iter(found))}")
    return next(iter(found.values()))


def _no_options_for_bundle(text: str) -> None:
    """Raises UsageError if the command line says how to compile what is compiled already."""
    for name, option in (("level", "--level"), ("pipeline", "--passes"), ("precision", "--precision"), ("weights", "--weights")):
        if _on_command_line(name):
            raise click.UsageError(f"{option} says how to compile, and {text} is compiled already")


def _on_command_line(name: str) -> bool:
    """Whether an option was given in the command that runs."""
    context = click.get_current_context(silent=True)
    return context is not None and context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def is_bundle(text: str) -> bool:
    """Whether the name is that of a compiled bundle, or of a graph in it (program.tgc:encode)."""
    return _apart(text)[0].lower().endswith(".tgc")


def _chosen(found: Any, text: str, name: str = "") -> Graph | Program:
    """What a file holds; if a name is given, the graph of that name in it."""
    if not isinstance(found, (Graph, Program)):
        raise TGraphError(f"{text} holds {type(found).__name__}, not a graph")
    if name and isinstance(found, Program):
        return found[name]
    if name and isinstance(found, Graph) and name != found.name:
        raise TGraphError(f"{text} holds the graph {found.name}, not {name}")
    return found


def _graph_or_program(program: Program) -> Graph | Program:
    """A program of one graph as that graph."""
    return next(iter(program.graphs.values())) if len(program) == 1 else program


def _of_user(path: Path, name: str, graph: str = "") -> Graph | Program:
    """A graph or program by name from a Python file (of a program, if that is not empty, its graph `graph`).

    A function or module is traced with its `specs`, or the file's.
    """
    import tgraph as tg

    module = import_file(path)
    if not hasattr(module, name):
        names = [n for n, v in vars(module).items() if (not n.startswith("_") and getattr(v, "__module__", "") == module.__name__)
                 or isinstance(v, (Graph, Program))]
        raise TGraphError(f"{path} defines no {name!r}; it defines {', '.join(names) or 'nothing'}")
    found = getattr(module, name)
    if isinstance(found, (Graph, Program)):
        return _chosen(found, f"{path}:{name}", graph)
    specs = getattr(found, "specs", None) or getattr(module, "specs", None)
    if inspect.isclass(found) and issubclass(found, tg.Module):
        try:
            found = found()
        except TypeError as error:
            raise TGraphError(f"{path}:{name} is a class that needs arguments ({error}); name an instance of it") from None
    if not callable(found):
        raise TGraphError(f"{path}:{name} is {type(found).__name__}; expected a traced graph, a function or a module")
    if not specs:
        raise TGraphError(f"{path}:{name} has no specs, so its inputs are not known; write specs = {{\"x\": tg.f32[B, 768]}} in "
                          f"the file, or {name}.specs = ...")
    return tg.trace(found, **specs) if isinstance(specs, Mapping) else tg.trace(found, *specs)
