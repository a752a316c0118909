"""Every block of code of the documentation runs, and every command line in it is one."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from pages import PAGES, ROOT, Block, blocks_of, run_page

from tgraph.cli import COMMANDS, main

TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
KINDS = {"python", "text", "sh", "console", "diff", "tg", "tg free", "ebnf", "tokens", "error", "makefile"}
REGISTERS = re.compile(r"@tg\.op|@register_pass|@importer|register_backend")
COURSE = ("docs/course.md", "docs/course.zh.md")  # tests/test_course.py runs them
SLOW = {"demo", "bench", "tune"}


def with_code() -> list[str]:
    return [name for name, text in TEXTS.items() if name not in COURSE and any(b.runs for b in blocks_of(text))]


@pytest.mark.parametrize("name", with_code())
def test_the_blocks_of_a_page_print_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What registers something has a process of its own, since that would stay."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TGRAPH_CACHE", "off")  # and so what a page sets it to is not there for other tests
    if REGISTERS.search(TEXTS[name]):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(ROOT / "tests" / "pages.py"), str(ROOT / name)]
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert ran.returncode == 0, ran.stderr
    else:
        assert run_page(ROOT / name) >= 1


@pytest.mark.parametrize("name", TEXTS)
def test_every_block_says_what_it_is(name: str) -> None:
    blocks = blocks_of(TEXTS[name])
    assert TEXTS[name].count("```") == 2 * len(blocks) + 2 * TEXTS[name].count("````")
    for block in blocks:
        assert block.kind in KINDS, f"{name}, line {block.line}: ```{block.kind} is none of {', '.join(sorted(KINDS))}"
        by = block.remarks.get("run by")
        assert by is None or Path(name).name in (ROOT / by).read_text(encoding="utf-8"), f"{by} does not run {name}"
        assert block.remarks.get("not run:") != "", "say why"


# Command lines

def lines_of(block: Block) -> Iterator[str]:
    """The command lines of a block: of a session those behind a $."""
    for line in block.text.splitlines():
        if block.kind == "sh" or line.startswith("$ "):
            yield line.removeprefix("$ ")


def mentioned(name: str) -> Iterator[tuple[str, bool]]:
    """The command lines of a page, and whether each is whole: a mention in the text may leave arguments out."""
    text = TEXTS[name]
    for block in blocks_of(text):
        if block.kind in ("sh", "console"):
            yield from ((line, True) for line in lines_of(block))
    for found in re.findall(r"`([^`]+)`", re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        if re.match(r"(tgraph|make|python|pytest) ", found):
            yield " ".join(found.split()), False


def parts(line: str) -> list[list[str]]:
    """The commands of a line, as words; `tgraph run | check` names two."""
    found: list[list[str]] = [[]]
    for word in shlex.split(line, comments=True):
        if word == "|":
            found.append([])
        elif found[-1] or not re.fullmatch(r"[A-Z_]+=.*", word):  # the environment of a command
            found[-1].append(word)
    found = [words[:words.index(">")] if ">" in words else words for words in found]
    found = [words for words in found if words]
    return [["tgraph", *words] if number and words[0] in COMMANDS else words for number, words in enumerate(found)]


def parse(words: list[str], whole: bool) -> None:
    """Raises UsageError for a command or option that there is not, and, if the line is whole, for a wrong argument."""
    if words in (["--help"], ["--version"], ["COMMAND", "--help"]):
        return
    context = main.make_context("tgraph", list(words))
    rest = [*context._protected_args, *context.args]
    if not rest:
        return
    command = main.get_command(context, rest[0])  # type: ignore[attr-defined]
    if command is None:
        raise click.UsageError(f"no command {rest[0]}")
    if whole:
        command.make_context(rest[0], rest[1:], parent=context)
    else:
        with contextlib.suppress(click.BadOptionUsage):  # the option is one, and its value is left out
            command.make_parser(click.Context(command)).parse_args(rest[1:])


def targets_of_make() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_line_is_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line, whole in mentioned(name):
        for command, *words in parts(line):
            for word in words:  # a file that an option wants to exist
                if re.fullmatch(r"\w+\.\w+|FILE", word):
                    Path(word).touch()
            try:
                if command == "tgraph":
                    parse(words, whole)
                elif command == "make":
                    assert {w for w in words if "=" not in w} <= targets_of_make()
                elif command in ("python", "pytest"):
                    exists(words, TEXTS[name])
            except (click.UsageError, AssertionError) as error:
                pytest.fail(f"{name}: {line}\n{error}")


def exists(words: list[str], page: str) -> None:
    """Modules and files of the project that are run are there, or come with a diff of the page; modules know their options."""
    module = words[words.index("-m") + 1].replace(".", "/") if "-m" in words else ""
    for word in [w for w in words if w.endswith(".py") or w.startswith("tests/")]:
        assert (ROOT / word).exists() or f"+++ b/{word}" in page, f"there is no {word}"
    if module.partition("/")[0] in ("benchmarks", "tests"):
        found = ROOT / f"{module}.py" if (ROOT / f"{module}.py").exists() else ROOT / module
        assert found.exists(), f"there is no {module}"
        text = "".join(p.read_text(encoding="utf-8") for p in ([found] if found.is_file() else found.rglob("*.py")))
        for option in (w for w in words if w.startswith("--")):
            assert re.search(rf'"{option}["/]', text), f"{module} has no {option}"  # or a pair, "--coverage/--random"


def with_commands() -> list[str]:
    """Of CONTRIBUTING, test_contributing.py runs the commands, each after the diffs above it."""
    return [name for name, text in TEXTS.items() if "```diff" not in text and ("```sh" in text or "```console" in text)]


@pytest.mark.parametrize("name", with_commands())
def test_command_lines_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those about bert-tiny, about no model, or about files that earlier lines of the page have made."""
    monkeypatch.chdir(tmp_path)
    for line, whole in mentioned(name):
        for command, *words in parts(line) if whole else ():
            output = words[words.index("-o") + 1] if "-o" in words else None
            inputs = [w for w in words if w != output and re.search(r"\.(tg|tgc|onnx|py|npy|npz|jsonl?|txt|parquet)\b|^\./", w)]
            other = {"minilm", "bert-base", "transformer"} & set(words) or (words[:1] == ["embed"] and "--model" not in words)
            slow = SLOW & {*words[:1]} or "--minutes" in words  # of fuzz, which lasts as long as it is told to
            if command != "tgraph" or other or slow or not all(Path(w.partition(":")[0]).exists() for w in inputs):
                continue
            result = CliRunner().invoke(main, words)
            assert result.exit_code == 0, (line, result.output)


@pytest.mark.parametrize(("line", "whole", "message"), [
    ("tgraph dmup x.tg", True, "no command dmup"), ("tgraph dump x.tg --levl kernels", False, "No such option"),
    ("tgraph dump", True, "Missing argument"), ("tgraph dump x.tg --level kernel", True, "is not one of"),
])
def test_a_wrong_command_line_is_found(line: str, whole: bool, message: str) -> None:
    with pytest.raises(click.UsageError) as raised:
        parse(parts(line)[0][1:], whole)
    assert message in raised.value.format_message()
