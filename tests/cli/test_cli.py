"""Each command on a small graph: what it prints, the files that it writes, its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import tgraph as tg
from passes import LEVELS, PASSES
from targets.cpu.probe_dots import dots_of
from tgraph.cli.run import complete_feeds

HEADER = "graph two(%x: f32[B, 8]) -> (y: f32[B, 16]) {"


def test_starting_imports_no_compiler() -> None:
    code = ("import sys; from tgraph.cli import main; main(['--help'], standalone_mode=False); "
            "print([m for m in ('tvm', 'targets', 'passes', 'networkx', 'onnx', 'torch') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_module_and_version() -> None:
    done = subprocess.run([sys.executable, "-m", "tgraph", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tgraph {tg.__version__}\n"


# dump

def test_dump_prints_text_that_parses_back(run) -> None:
    text = run("dump", "m.py:two").stdout
    assert text.startswith(HEADER)
    assert tg.parse(text) == tg.parse(run("dump", "m.py:traced").stdout)
    assert "  in first" not in text and "  in first" in run("dump", "m.py:two", "--scopes").stdout
    assert " at m.py:1" in run("dump", "m.py:two", "--locations").stdout


def test_dump_writes_by_suffix(run) -> None:
    text = run("dump", "m.py:two").stdout
    for name in ("a.tg", "a.json", "a.dot", "a.svg", "a.mmd", "a.model-explorer.json"):
        assert f"wrote out/{name}" in run("dump", "m.py:two", "-o", f"out/{name}").stderr
    assert run("dump", "out/a.tg").stdout == run("dump", "out/a.json").stdout == text
    assert Path("out/a.svg").read_text().lstrip().startswith("<") and "digraph" in Path("out/a.dot").read_text()
    assert Path("out/a.safetensors").exists()
    run("dump", "m.py:two", "-o", "bare.tg", "--no-weights")
    assert not Path("bare.safetensors").exists()
    assert ".svg has no option 'scopes'" in run("dump", "m.py:two", "-o", "a.svg", "--scopes", fails=2).stderr
    assert "cannot write 'a.xyz'" in run("dump", "m.py:two", "-o", "a.xyz", fails=2).stderr


def test_dump_levels(run) -> None:
    assert "split(" in run("dump", "m.py:two", "--level", "optimized", "-p", "fuse-qkv").stdout
    assert "call $" not in run("dump", "m.py:two", "--level", "optimized", "-p", "O0").stdout
    assert "call $" in run("dump", "m.py:two", "--level", "kernels").stdout
    assert "pack_panels(" in run("dump", "m.py:two", "--level", "prepare").stdout
    assert "call $" not in run("dump", "m.py:two", "--level", "kernels", "--target", "numpy").stdout
    run("dump", "m.py:double", "--level", "asm", "-o", "double.s")
    assert ".text" in Path("double.s").read_text()
    assert "has no source 'tir'" in run("dump", "m.py:double", "--level", "tir", "--target", "numpy", fails=2).stderr


def test_dump_folds(run) -> None:
    shown = run("dump", "bert-base", "--fold").stdout
    assert shown.startswith("# folded view") and "0 .. 11  x 12" in shown and len(shown.splitlines()) < 50
    assert "encoder.layer: 240 nodes" in run("dump", "bert-base", "--fold=0").stdout
    run("dump", "bert-base", "-o", "b.svg", "--fold=2")
    assert "\u00d7 12" in Path("b.svg").read_text(encoding="utf-8")
    assert "levels of scopes to open, like --fold=2" in run("dump", "bert-base", "--fold=all", fails=2).stderr
    assert ".tg has no option 'fold'" in run("dump", "m.py:two", "-o", "a.tg", "--fold", fails=2).stderr
    assert "the level tir is text" in run("dump", "m.py:two", "--level", "tir", "--fold", fails=2).stderr


def test_dump_takes_a_part(run) -> None:
    assert run("dump", "m.py:two", "--scope", "second").stdout.count(" = ") == 1
    assert "softmax" in run("dump", "m.py:two", "--node", "%3").stdout
    assert run("dump", "m.py:two", "--level", "kernels", "-p", "O0", "--scope", "second").stdout.count("call $") == 1
    assert "kernel_linear" in run("dump", "m.py:two", "--level", "relax", "--scope", "first").stdout
    assert "there are first, second" in run("dump", "m.py:two", "--scope", "third", fails=2).stderr
    assert "not both" in run("dump", "m.py:two", "--scope", "first", "--node", "1", fails=2).stderr
    assert '"title": "A graph or program of tgraph"' in run("dump", "--schema").stdout


def test_one_graph_of_several_is_named(run) -> None:
    text = "".join(f"graph {n}(%x: f32[B]) -> (y: f32[B]) {{\n  %0 = {op}(%x)\n  return (y: %0)\n}}\n"
                   for n, op in (("main", "relu"), ("step", "neg")))
    Path("two.tg").write_text(text)
    Path("two.py").write_text("import tgraph as tg\nprogram = tg.read('two.tg')\n")
    sources = {"two.tg": None, "-": text, "two.py:program": None}
    for arguments in (("run", "--random"), ("tune",), ("reduce", "--test", "true")):
        for source, stdin in sources.items():
            result = run(arguments[0], source, *arguments[1:], stdin=stdin, fails=2)
            expected = f"this takes one: write {source.replace('-', 'FILE.tg')}:main"
            assert expected in " ".join(result.stderr.split()), arguments
    for source in ("two.tg", "two.py:program"):
        assert "neg(%x)" in run("dump", f"{source}:step").stdout
        assert "relu(%x)" in run("opt", f"{source}:main").stdout
        assert "has no graph 'other', but main, step" in run("dump", f"{source}:other", fails=2).stderr
    run("check", "two.tg:step")


def test_programs_are_taken_whole(run) -> None:
    text = "".join(f"graph {n}(%x: f32[{d}]) -> (y: f32[{d}]) {{\n  %0 = {op}(%x) : f32[{d}]\n  return (y: %0)\n}}\n"
                   for n, op, d in (("main", "relu", "B"), ("step", "neg", "T")))
    Path("two.tg").write_text(text)
    for command in (["dump"], ["opt"], ["opt", "--target", "cpu", "--validate", "--timing", "--dim", "T=3"],
                    ["dump", "--level", "kernels"], ["dump", "--level", "tir"]):
        shown = run(command[0], "two.tg", *command[1:]).stdout
        assert ("relu" in shown and "neg" in shown) or ("T.max" in shown and "T.float32(-1)" in shown), (command, shown)
    assert run("opt", "-", stdin=text).stdout == run("opt", "two.tg").stdout
    assert run("opt", "two.tg", "--dump-dir", "after").exit_code == 0 and len(list(Path("after").iterdir())) > 4
    for source in ("two.tg", "two.tgc"):
        checked = run("check", source, "--dim", "B=4", "--dim", "T=5").stdout
        assert "main: ok" in checked and "step: ok" in checked and "B=4" in checked and "T=5" in checked
        assert "no dim 'Q'; its dims: B, T" in run("check", source, "--dim", "Q=4", fails=2).stderr
        assert run("profile", source, "--dim", "T=5", "--repeats", "1").stdout.count("calls") >= 2
        if source == "two.tg":
            shown = run("compile", "two.tg", "-o", "two.tgc", "--originals").stdout
            assert "main: 1 nodes" in shown and "step: 1 nodes" in shown
    assert "step" in run("run", "two.tgc:step", "--random").stdout
    assert "write two.tgc:main" in run("run", "two.tgc", "--random", fails=2).stderr
    assert run("dump", "two.tgc").stdout == f"{tg.parse_program(text)}\n" and "neg(%x)" in run("dump", "two.tgc:step").stdout
    assert "relu" in run("explain", "two.tg").stdout


# opt

def test_opt_is_optimize(run) -> None:
    text = run("dump", "m.py:two").stdout
    assert run("opt", "m.py:two", "-p", "fuse-qkv,dce").stdout == f"{tg.optimize(tg.parse(text), 'fuse-qkv,dce')}\n"
    assert run("opt", "-", "--level", "O1", stdin=text).stdout == f"{tg.optimize(tg.parse(text), 'O1')}\n"
    assert run("opt", "m.py:two").stdout == f"{tg.optimize(tg.parse(text))}\n"


def test_opt_shows_passes(run) -> None:
    result = run("opt", "m.py:two", "-p", "cse,fuse-qkv{at_least=2},dce", "--print-after-all", "--verify-each", "--timing")
    assert result.stdout.count("graph two(") == 1
    assert result.stderr.count("graph two(") == 3
    assert "# after cse (no change)" in result.stderr and "# after fuse-qkv\n" in result.stderr
    assert "3 passes in" in result.stderr
    once = run("opt", "m.py:two", "-p", "cse,fuse-qkv", "--print-after", "fuse-qkv", "-o", "out.json")
    assert once.stderr.count("graph two(") == 1 and once.stdout == ""
    assert "split(" in run("dump", "out.json").stdout


def test_opt_refuses(run) -> None:
    assert "unknown pass 'fuse-qvk'; did you mean fuse-qkv" in run("opt", "m.py:two", "-p", "fuse-qvk", fails=2).stderr
    assert "not both" in run("opt", "m.py:two", "-p", "cse", "--level", "O1", fails=2).stderr
    assert "no such pass in this pipeline; it has cse" in run("opt", "m.py:two", "-p", "cse", "--print-after", "dce",
                                                              fails=2).stderr
    assert "<stdin>:1:1" in run("opt", "-", stdin="nonsense", fails=2).stderr


# compile, run, check

def test_bundle_runs_and_checks(run) -> None:
    result = run("compile", "m.py:two", "-o", "two.tgc", "--originals")
    assert "two: 4 nodes to" in result.stdout and "wrote two.tgc" in result.stdout
    assert zipfile.is_zipfile("two.tgc")
    x = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    np.save("x.npy", x)
    shown = run("run", "two.tgc", "--input", "x=x.npy", "-o", "y.npz").stdout
    assert "float32[5, 16]" in shown
    run("run", "m.py:two", "--input", "x=x.npy", "-o", "r.npz", "--target", "numpy")
    assert np.abs(np.load("y.npz")["y"] - np.load("r.npz")["y"]).max() < 1e-6
    report = run("check", "two.tgc", "--dim", "B=1", "--dim", "B=33").stdout
    assert "two: ok" in report and "B=33" in report and "B=1 " in report
    assert run("dump", "two.tgc").stdout.startswith(HEADER)
    assert "is compiled already" in run("run", "two.tgc", "--random", "--level", "O1", fails=2).stderr
    assert "is compiled already" in run("compile", "two.tgc", "-o", "b.tgc", fails=2).stderr


def test_a_bundle_for_several_targets(run) -> None:
    lost = min(tg.targets.Target.parse("cpu").features & {"sse4.2", "crc"})
    answer = json.loads(run("compile", "m.py:two", "-o", "both.tgc", "--target", f"cpu:-{lost}", "--target", "cpu",
                            "--json").stdout)
    less, here = [variant["target"] for variant in answer["variants"]]
    assert answer["target"] == less != here == str(tg.targets.Target.parse("cpu"))
    shown = run("run", "both.tgc", "--random")
    assert f"both.tgc: the variant for {here}, of those for {less}, {here}" in shown.stderr.replace("\n", " ")
    assert f"the variant for {less}" in run("run", "both.tgc", "--random", "--target", less).stderr.replace("\n", " ")
    assert "has no variant for numpy; it has" in run("run", "both.tgc", "--random", "--target", "numpy", fails=2).stderr
    assert "two variants of two are for cpu" in run("compile", "m.py:two", "-o", "x.tgc", "--target", "cpu", "--target", "cpu",
                                                    fails=2).stderr


def test_bundle_without_originals_cannot_be_checked(run) -> None:
    run("compile", "m.py:two", "-o", "two.tgc")
    assert "write it with tgraph compile --originals" in run("check", "two.tgc", fails=2).stderr


def test_compile_refuses(run) -> None:
    assert "ends in .tgc" in run("compile", "m.py:two", "-o", "two.bin", fails=2).stderr
    assert "unknown target 'gpu'" in run("compile", "m.py:two", "-o", "a.tgc", "--target", "gpu", fails=2).stderr
    run("dump", "m.py:two", "-o", "bare.tg", "--no-weights")
    assert "no data for parameter first.weight" in run("compile", "bare.tg", "-o", "a.tgc", fails=2).stderr
    assert not Path("a.tgc").exists()


def test_run_random_is_seeded(run) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        run("run", "m.py:pair", "--random", "--dim", "B=3", "--seed", seed, "-o", f"{name}.npz", "--target", "numpy")
    a, b, c = (np.load(f"{name}.npz")["output"] for name in "abc")
    assert a.shape == (3, 4) and np.array_equal(a, b) and not np.array_equal(a, c)


def test_given_inputs_decide_the_sizes_of_generated_ones(run) -> None:
    graph = tg.parse(run("dump", "m.py:pair").stdout)
    x = np.zeros((6, 4), np.float32)
    feeds = complete_feeds(graph, {"x": x}, True, ({"B": 2},), 0)
    assert feeds["x"] is x and feeds["y"].shape == (6, 4)


def test_run_refuses(run) -> None:
    numpy = ("--target", "numpy")
    assert "no array for input x; give --input x=FILE.npy" in run("run", "m.py:two", *numpy, fails=2).stderr
    np.save("x.npy", np.zeros((5, 8)))
    assert "x" in run("run", "m.py:two", "--input", "x=x.npy", *numpy, fails=2).stderr
    assert "expected NAME=FILE.npy" in run("run", "m.py:two", "--input", "x.npy", *numpy, fails=2).stderr
    Path("bad.npy").write_text("nothing")
    assert "bad.npy is no array of NumPy" in run("run", "m.py:two", "--input", "x=bad.npy", *numpy, fails=2).stderr
    assert "absent.npy: No such file" in run("run", "m.py:two", "--input", "x=absent.npy", *numpy, fails=2).stderr
    assert "expected NAME=SIZE like B=2" in run("run", "m.py:two", "--random", "--dim", "B:2", fails=2).stderr
    assert "no dim 'Q'; its dims: B" in run("run", "m.py:two", "--random", "--dim", "Q=2", *numpy, fails=2).stderr


WRONG_PASS = '''
from dataclasses import dataclass
from passes import Pass, register_pass
from tgraph.ir.builder import Builder

@register_pass
@dataclass(frozen=True)
class AddToSub(Pass):
    """x + y = x - y, which is wrong."""
    effect = "exact"

    def apply(self, graph):
        for node in graph.nodes:
            if node.op.name == "add":
                b = Builder(graph, node.provenance)
                graph.replace(node.result, b.sub(*node.inputs))
                graph.erase(node)
'''


def test_check_fails_on_a_wrong_pass(run) -> None:
    Path("wrong.py").write_text(WRONG_PASS)
    options = ("m.py:two", "--target", "numpy", "-p")
    assert "two: ok" in run("check", *options, "O1").stdout
    result = run("--plugin", "wrong.py", "check", *options, "add-to-sub", fails=1)
    assert "two: FAILED" in result.stdout and "too large" in result.stdout


# profile

def test_profile_of_a_model(run) -> None:
    shown = run("profile", "m.py:two", "--dim", "B=3", "--repeats", "2", "--no-probe").stdout
    assert "two at B=3:" in shown and "(the call)" in shown and "(rest)" in shown and "of peak" not in shown
    assert "has no kernels to profile" in run("profile", "m.py:two", "--target", "numpy", fails=2).stderr


def test_profile_writes_files(run) -> None:
    shown = run("profile", "m.py:two", "--repeats", "1", "--no-probe", "--json", "--trace", "out/t.json", "--flame", "f.svg")
    answer = json.loads(shown.stdout)
    assert answer["graphs"][0]["graph"] == "two" and [w["file"] for w in answer["wrote"]] == ["out/t.json", "f.svg"]
    assert json.loads(Path("out/t.json").read_text())["traceEvents"] and "<svg" in Path("f.svg").read_text()
    assert "give one of them" in run("profile", "m.py:two", "--no-probe", "--roofline", "r.png", fails=2).stderr


# memory, values, compare

def test_memory(run) -> None:
    shown = run("memory", "m.py:two", "--dim", "B=3", "-o", "out/plan.svg", "--all").stdout
    assert "memory of two at B=3" in shown and "lower bound" in shown and "wrote out/plan.svg" in shown
    assert "<svg" in Path("out/plan.svg").read_text()
    assert json.loads(run("memory", "m.py:two", "--json").stdout)["graphs"][0]["name"] == "two"
    assert "no dim 'T'" in run("memory", "m.py:two", "--dim", "T=3", fails=2).stderr


def test_values_of_nodes(run) -> None:
    shown = run("run", "m.py:two", "--random", "--nodes", "soft*", "--dump-values", "out").stdout
    assert "1 values of two" in shown and "softmax  float32" in shown and "wrote out/values.npz" in shown
    with np.load("out/values.npz") as written:
        assert list(written) == ["softmax"] and np.allclose(written["softmax"].sum(axis=-1), 1)
    assert "float64" in run("run", "m.py:two", "--random", "--nodes", "*linear*", "--reference").stdout
    assert "no node of graph two is 'conv'" in run("run", "m.py:two", "--random", "--nodes", "conv", fails=2).stderr
    assert "--reference goes with" in run("run", "m.py:two", "--random", "--reference", fails=2).stderr


def test_find_nonfinite(run) -> None:
    text = "import tgraph as tg\nspecs = {'x': tg.f32[tg.dim('B')]}\ndef log(x):\n    return tg.log(x - 100.0)\n"
    Path("w.py").write_text(text)
    shown = run("run", "w.py:log", "--random", "--find-nonfinite", fails=1).stdout
    assert "log: not finite" in shown and "first made by" in shown and "w.py:4" in shown
    assert "all finite" in run("run", "m.py:two", "--random", "--find-nonfinite").stdout


def test_compare(run) -> None:
    assert "two and two agree at B=4" in run("compare", "m.py:two", "m.py:traced", "--dim", "B=4").stdout
    assert run("compare", "m.py:two", "m.py:two", "--target", "cpu", "-q").stdout == ""
    Path("n.py").write_text(Path("m.py").read_text().replace("self.second(x))}", "2 * self.second(x))}"))
    shown = run("compare", "m.py:two", "n.py:two", fails=1).stdout
    assert "two and two DIFFER" in shown and "they part at" in shown
    assert "cannot be compared" in run("compare", "m.py:two", "m.py:pair", fails=2).stderr


# ops, passes, targets

def test_ops_table_and_each_op(run) -> None:
    import tgraph.ops  # noqa: F401
    from tgraph.cli.ops import decomposed
    from tgraph.ir.registry import OPS

    table = run("ops").stdout
    for op in OPS.values():
        if op.infer.__module__.startswith("tgraph.ops"):
            assert f"{op.name}(" in table
            if op.composite:
                graph = decomposed(op)
                assert graph is not None, op.name
                tg.verify(graph)
                assert op.name not in {n.op.name for n in graph.nodes}
    shown = run("ops", "softmax").stdout
    assert "softmax(x, *, axis=-1)" in shown and "reduce_max(%x" in shown
    assert "did you mean softmax" in run("ops", "sotfmax", fails=2).stderr


def test_passes_and_levels(run) -> None:
    table = run("passes").stdout
    assert "select-kernels" in PASSES
    for name in PASSES:
        assert name in table
        assert PASSES[name].effect in run("passes", name).stdout
    for level, pipeline in LEVELS.items():
        assert level in table and pipeline in table
    assert "options: at_least=2" in run("passes", "fuse-qkv").stdout
    assert "unknown pass 'fuse'" in run("passes", "fuse", fails=2).stderr


def test_targets(run) -> None:
    host = tg.targets.Target.parse("cpu")
    shown = run("targets").stdout
    assert str(host) in shown and f"{host.vector_bits} bits" in shown and "numpy" in shown
    assert f"cpu:{host.mcpu}" in run("targets", "--cpus").stdout.split()


def test_targets_measures_the_rates_of_products(run) -> None:
    host = tg.targets.Target.parse("cpu")
    rates = json.loads(run("targets", "--json").stdout)["machine"]["rates"]
    assert list(rates) == ["f32", *dots_of(host)] and all(rate > 1e8 for rate in rates.values())
    assert "GFLOP/s at most, measured now" in run("targets").stdout.replace("\n", " ")


def test_precision_auto(run) -> None:
    """The fastest within an error that has to be stated, by every command that compiles."""
    shown = run("compile", "bert-tiny", "-o", "t.tgc", "--precision", "auto", "--tolerance", "0.1").stdout.replace("\n", " ")
    assert '--precision auto took precision="f32", weights="i8", error' in shown
    answer = json.loads(run("compile", "m.py:two", "-o", "t.tgc", "--precision", "auto", "--tolerance", "1e-9", "--json").stdout)
    assert answer["choice"].startswith('precision="f32", weights="f32"') and answer["variants"][0]["choice"] == answer["choice"]
    assert "ok" in run("check", "m.py:two", "--precision", "auto", "--tolerance", "0.1").stdout
    for options in (["--precision", "auto"], ["--tolerance", "0.1"], ["--precision", "f16", "--tolerance", "0.1"]):
        assert "--precision auto needs the error" in run("check", "m.py:two", *options, fails=2).stderr.replace("\n", " ")
    assert "leave out weights" in run("check", "m.py:two", "--precision", "auto", "--tolerance", "1", "--weights", "i8",
                                      fails=2).stderr


# models and files

@pytest.mark.parametrize("name, message", [
    ("m.py:none", "m.py defines no 'none'; it defines Two, Sized, double, pair, two, traced"),
    ("m.py:number", "is int; expected a traced graph"),
    ("m.py:Sized", "is a class that needs arguments"),
    ("absent.py:f", "absent.py: No such file"),
    ("absent.tg", "absent.tg: No such file"),
    ("minlm", "did you mean minilm"),
    ("qqq", "built in are minilm, bert-base"),
    ("m.py", "cannot read 'm.py'"),
])
def test_models_that_are_not_there(run, name: str, message: str) -> None:
    assert message in run("dump", name, fails=2).stderr


def test_models_of_a_user(run) -> None:
    assert run("dump", "m.py:Two").stdout.startswith(HEADER)
    assert "(%x: f32[B, 4], %y: f32[B, 4])" in run("dump", "m.py:pair").stdout
    Path("bare.py").write_text("def f(x):\n    return x\n")
    assert "has no specs" in run("dump", "bare.py:f", fails=2).stderr
    Path("broken.py").write_text("import math\n\nmath.sqrt('a')\n")
    assert "broken.py:3: TypeError" in run("dump", "broken.py:f", fails=2).stderr


def test_built_in_models(run) -> None:
    assert run("dump", "bert-tiny").stdout.startswith("graph bert(%input_ids: i64[B, S].range(0, 30522), %mask: bool[B, S])")
    assert "%target: i64[B, T]" in run("dump", "transformer").stdout


PLUGIN = '''
import tgraph as tg
from tgraph.formats import format

@tg.op(elementwise=True)
def cube(x: tg.TensorType) -> tg.TensorType:
    """Third power: x x x."""
    return x

@cube.reference
def _(x):
    return x * x * x

@cube.decomposition
def _(b, x):
    return b.mul(x, b.mul(x, x))

@format(".count")
class Count:
    """The number of nodes."""

    @staticmethod
    def write(obj, path):
        path.write_text(str(len(obj)))

def f(x):
    return tg.cube(x)

f.specs = [tg.f32[3]]
'''


def test_plugin(run) -> None:
    Path("p.py").write_text(PLUGIN)
    assert "Third power" in run("--plugin", "p.py", "ops", "cube").stdout
    run("--plugin", "p.py", "dump", "p.py:f", "-o", "n.count")
    assert Path("n.count").read_text() == "1"
    assert "f: ok" in run("--plugin", "p.py", "check", "p.py:f", "--target", "numpy").stdout
    Path("bad.py").write_text("1 / 0\n")
    assert "bad.py:1: ZeroDivisionError" in run("--plugin", "bad.py", "ops", fails=2).stderr


def test_errors_are_one_line_and_debug_shows_all(run) -> None:
    result: Result = run("dump", "absent.tg", fails=2)
    assert result.stderr == "error: absent.tg: No such file or directory\n" and result.stdout == ""
    debug = run("--debug", "dump", "absent.tg", fails=1)
    assert isinstance(debug.exception, FileNotFoundError)


def test_reduced_precision(run) -> None:
    shown = run("check", "m.py:two", "--weights", "i8", "--target", "numpy").stdout
    assert "two: ok" in shown and "two against f32" in shown and "cosine" in shown
    run("compile", "m.py:two", "--weights", "bf16", "-o", "half.tgc", "--originals")
    assert "two against f32" in run("check", "half.tgc").stdout
    assert "--precision says how to compile" in run("run", "half.tgc", "--random", "--precision", "bf16", fails=2).stderr
