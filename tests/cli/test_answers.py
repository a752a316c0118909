"""--json of every command, held to the shape that it documents; exit statuses, colours, completion."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.cli.model_folder import gpt2_folder, mpnet_folder
from tgraph.cli import COMMANDS, main
from tgraph.cli.answers import plain, schema_of, shape_of
from tgraph.cli.exit_status import BAD_INPUT, BROKEN_PIPE, DIFFERS, FINE, INTERNAL, INTERRUPTED, MEANINGS, TERMINATED
from tgraph.cli.page import updated
from tgraph.ir.dims import dim

Command = click.Command
LINES = """
dump m.py:two
dump m.py:two --level tir --node 0
dump m.py:two -o a.svg --fold
opt m.py:two -p fuse-qkv,dce --deltas --validate
opt m.py:two -o b.tg
diff m.py:two m.py:two
reduce m.py:two --no-weights --test true
compile m.py:two -o a.tgc --originals
check a.tgc
compare m.py:two m.py:traced --dim B=2
run m.py:two --random --nodes soft* --find-nonfinite --dump-values folder
run m.py:two --random -o out.npz
profile m.py:two --repeats 1 --no-probe --trace t.json
memory m.py:two --dim B=3 -o plan.svg
check m.py:two --weights i8
explain m.py:two
explain m.py:two --node %0 --kernel linear
view m.py:two -o a.html
export m.py:two -o a.onnx
import a.onnx -o c.tg
ops
ops softmax
ops where
passes
passes cse
targets
targets --cpus
cache
completion zsh
tune m.py:two --trials 1 --time 0.1 --dry-run
embed --model mpnet "one sentence" "another one"
embed --model mpnet lines.txt -o vectors.parquet --save mpnet.tgc --max-length 1 --too-long reject
generate gpt2 "the cat" -n 2 --method beam --beams 2
fuzz --programs 2 --workers 1 --ops relu,add
""".strip().splitlines()
SLOW = {"demo", "bench"}  # take a minute


def command_of(name: str) -> Command:
    found = main.get_command(click.Context(main), name)  # type: ignore[attr-defined]
    assert found is not None
    return found


def strict(schema: Any) -> Any:
    """A schema that allows no fields but those that it names."""
    if isinstance(schema, dict):
        closed = {key: strict(value) for key, value in schema.items()}
        return {"additionalProperties": False, **closed} if schema.get("type") == "object" else closed
    return [strict(part) for part in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("line", LINES)
def test_answers_are_of_their_shape(line: str, run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGRAPH_TUNING", "off")
    name, *arguments = shlex.split(line)
    needed = {"a.tgc": ("compile", "m.py:two", "-o", "a.tgc", "--originals"), "a.onnx": ("export", "m.py:two", "-o", "a.onnx")}
    for file, make in needed.items():
        if file in arguments and name not in ("compile", "export"):
            run(*make)
    for model, make_folder in (("mpnet", mpnet_folder), ("gpt2", gpt2_folder)):
        if model in arguments:
            make_folder(Path(model))
    Path("lines.txt").write_text("the\nthe cat sat\n")
    data = json.loads(run(name, *arguments, "--json").stdout)
    shape = shape_of(command_of(name))
    assert shape is not None
    assert data["command"] == name and set(data) == {"command", *shape}
    jsonschema.validate(data, strict(schema_of(shape, name)))
    published = json.loads(CliRunner().invoke(main, [name, "--json-schema"]).stdout)
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(data, published)


def test_every_command_has_answers() -> None:
    without = {name for name in COMMANDS if shape_of(command_of(name)) is None}
    assert not without
    tried = {line.split()[0] for line in LINES}
    assert set(COMMANDS) - tried == SLOW


@pytest.mark.thorough
def test_the_demonstration_answers() -> None:
    shown = CliRunner().invoke(main, ["demo", "--json"])
    jsonschema.validate(json.loads(shown.stdout), strict(schema_of(shape_of(command_of("demo")) or {}, "demo")))
    assert shown.exit_code == 0


@pytest.mark.thorough
def test_benchmarks_answer() -> None:
    line = ["bench", "bert-tiny", "--against", "none", "--shapes", "1x8", "--rounds", "2", "--json"]
    shown = CliRunner().invoke(main, line)
    jsonschema.validate(json.loads(shown.stdout), strict(schema_of(shape_of(command_of("bench")) or {}, "bench")))


def test_answers_say_what_tables_say(run) -> None:
    checked = json.loads(run("check", "m.py:two", "--dim", "B=3", "--json").stdout)
    assert checked["ok"] is True and checked["graphs"][0]["outputs"][0]["sizes"] == {"B": 3}
    failed = json.loads(run("check", "m.py:two", "--tol", "0", "--json", fails=DIFFERS).stdout)
    assert failed["ok"] is False
    Path("relu.tg").write_text("graph two(%x: f32[B, 8]) -> (y: f32[B, 8]) {\n  %0 = relu(%x)\n  return (y: %0)\n}")
    differs = json.loads(run("diff", "relu.tg", "m.py:double", "--json", fails=DIFFERS).stdout)
    assert differs["equal"] is False and {c["kind"] for c in differs["blocks"][0]["changes"]} <= {"added", "removed", "changed"}
    rules = json.loads(run("opt", "m.py:two", "-p", "fuse-qkv", "--json").stdout)["graphs"][0]
    assert rules["passes"][0]["name"] == "fuse-qkv" and rules["nodes_before"] == 4
    assert [op["name"] for op in json.loads(run("ops", "gelu", "--json").stdout)["ops"]] == ["gelu"]
    assert "--json lists ops" in run("ops", "--markdown", "--json", fails=BAD_INPUT).stderr


def test_plain_values() -> None:
    values = {"a": (1, np.float32(0.5), float("nan"), float("-inf")), "b": dim("B") * 2, "c": Path("x"), "d": np.arange(2)}
    assert plain(values) == {"a": [1, 0.5, "nan", "-inf"], "b": "2*B", "c": "x", "d": [0, 1]}


# Exit statuses

def test_statuses(run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("diff", "m.py:two", "m.py:traced")
    run("diff", "m.py:two", "m.py:double", fails=DIFFERS)
    run("check", "m.py:two", "--tol", "0", fails=DIFFERS)
    run("dump", "m.py:nothing", fails=BAD_INPUT)
    run("dump", "m.py:two", "--level", "nonsense", fails=BAD_INPUT)
    run("nonsense", fails=BAD_INPUT)
    run("dump", "no-such-file.tg", fails=BAD_INPUT)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tgraph.cli.models.load_graph", stop)
    assert "interrupted" in run("diff", "m.py:two", "m.py:two", fails=INTERRUPTED).stderr


def test_a_crash_is_no_failed_check(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any) -> None:
        raise ZeroDivisionError("of our own")

    monkeypatch.setattr("tgraph.cli.models.load_graph", crash)
    shown: Result = run("diff", "m.py:two", "m.py:two", fails=INTERNAL)
    assert "Traceback" in shown.stderr and "ZeroDivisionError: of our own" in shown.stderr and "please report it" in shown.stderr
    assert shown.stdout == ""
    result = CliRunner().invoke(main, ["--debug", "diff", "m.py:two", "m.py:two"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_the_help_lists_the_statuses() -> None:
    shown = " ".join(CliRunner().invoke(main, ["--help"]).output.split())
    assert set(MEANINGS) == {FINE, DIFFERS, BAD_INPUT, INTERNAL, INTERRUPTED, BROKEN_PIPE, TERMINATED}
    assert all(f"{status}: " in shown for status in MEANINGS)


# Terminals

def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a command prints on a terminal of 80 columns."""
    main_end, child_end = pty.openpty()
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    done = subprocess.Popen([sys.executable, "-m", "tgraph", *arguments], stdout=child_end, stderr=child_end, stdin=child_end,
                            env={**inherited, "TERM": "xterm-256color", **environment})
    os.close(child_end)
    parts = []
    while True:
        try:
            part = os.read(main_end, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    done.wait()
    os.close(main_end)
    return b"".join(parts).decode()


COLOUR = "\x1b[3"  # a foreground colour; bold and dim are none


def test_colours_on_a_terminal() -> None:
    assert COLOUR in on_a_terminal("ops", "gelu")
    assert COLOUR not in on_a_terminal("ops", "gelu", NO_COLOR="1")
    assert COLOUR in on_a_terminal("dump", "no-such-file.tg")
    assert COLOUR not in on_a_terminal("dump", "no-such-file.tg", NO_COLOR="1")


def test_json_on_a_terminal_is_json() -> None:
    assert json.loads(on_a_terminal("ops", "gelu", "--json"))["command"] == "ops"


def test_no_colours_elsewhere() -> None:
    for arguments in (["ops", "gelu"], ["dump", "no-such-file.tg"]):
        shown = subprocess.run([sys.executable, "-m", "tgraph", *arguments], capture_output=True, text=True)
        assert "\x1b" not in shown.stdout + shown.stderr


# Completion

@pytest.mark.parametrize(("words", "expected"), [
    ("tgraph com", {"plain,compare", "plain,compile", "plain,completion"}),
    ("tgraph dump bert", {"plain,bert-base", "plain,bert-tiny", "file,bert"}),
    ("tgraph dump m.tg --level o", {"plain,optimized"}),
    ("tgraph check m.tg --dim=1 --weights b", {"plain,bf16"}),
])
def test_completion(words: str, expected: set[str]) -> None:
    shown = subprocess.run([sys.executable, "-m", "tgraph"], capture_output=True, text=True, env={
        **os.environ, "_TGRAPH_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)})
    assert set(shown.stdout.split()) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_of_shells(shell: str, run) -> None:
    script = run("completion", shell).stdout
    assert "_TGRAPH_COMPLETE" in script and "tgraph" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_page_is_current() -> None:
    path = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
    text = path.read_text(encoding="utf-8")
    assert updated(text) == text, "run: python -m tgraph.cli.page docs/cli.md"
    for status, meaning in MEANINGS.items():
        assert re.search(rf"^\| {status} \| {re.escape(meaning)}", text, re.MULTILINE)
