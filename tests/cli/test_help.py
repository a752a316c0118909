"""Every --help shows examples, and those that are quick do what they say."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests import rpc_servers
from tests.cli.model_folder import gpt2_folder, llama_folder, mpnet_folder, t5_folder
from tgraph.cli import COMMANDS, main

SLOW = ("demo", "bench", "fuzz")  # have tests of their own


def examples(name: str) -> list[str]:
    """The lines that a command's help shows behind a $."""
    shown = CliRunner().invoke(main, [name, "--help"]).output
    return re.findall(r"^ +\$ (.*)$", shown, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_examples(name: str) -> None:
    lines = examples(name)
    assert any(line.startswith(f"tgraph {name}") for line in lines)
    for line in lines:  # every word of them is known to the parser
        for part in line.split("|"):
            _, command_name, *arguments = shlex.split(part)
            command = main.get_command(click.Context(main), command_name)  # type: ignore[attr-defined]
            assert command is not None
            command.make_context(command_name, arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_targets_says_where_all_kinds_are(name: str) -> None:
    command = main.get_command(click.Context(main), name)  # type: ignore[attr-defined]
    for option in command.params:
        if "--target" in option.opts:
            assert "`tgraph targets`" in option.help, name


def test_a_warning_is_one_line() -> None:
    command = [sys.executable, "-m", "tgraph", "explain", "bert-tiny", "--precision", "f16"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert shown.startswith('warning: precision="f16" is no faster') and shown.count("\n") == 1


def test_group_help_lists_all_commands() -> None:
    shown = CliRunner().invoke(main, ["--help"]).output
    assert all(re.search(rf"^  {name} ", shown, re.MULTILINE) for name in COMMANDS)
    assert "$ tgraph demo" in shown


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one example leaves what the next one reads."""
    path = tmp_path_factory.mktemp("examples")
    np.save(path / "ids.npy", np.arange(14).reshape(2, 7))
    np.save(path / "mask.npy", np.ones((2, 7), bool))
    folders = {"gpt2": gpt2_folder, "llama": llama_folder, "flan-t5": t5_folder, "all-mpnet-base-v2": mpnet_folder}
    for name, make in folders.items():
        make(path / name)
    (path / "sentences.txt").write_text("the cat sat on the mat\na dog ran\n")
    pq.write_table(pa.table({"text": ["the cat sat on the mat", "a dog ran"]}), path / "docs.parquet")
    (path / "docs.jsonl").write_text('{"body": "the cat sat on the mat"}\n{"body": "a dog ran"}\n')
    return path


@contextmanager
def servers(line: str, folder: Path) -> Iterator[None]:
    """The tracker and the server of TVM's RPC that a command line names."""
    named = re.search(r"--rpc 127\.0\.0\.1:(\d+) --key (\w+)", line)
    if named is None:
        yield
        return
    rpc_servers.require_servers()
    with rpc_servers.tracker(folder, int(named[1])) as tracker:
        tracker.serve(named[2])
        yield


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in SLOW])
def test_examples_run(name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                      compiled_once: None) -> None:
    monkeypatch.chdir(folder)
    if name in ("run", "check", "profile") and not Path("tiny.tgc").exists():
        assert CliRunner().invoke(main, ["compile", "bert-tiny", "-o", "tiny.tgc", "--originals"]).exit_code == 0
    for line in examples(name):
        if "--ray" in line and find_spec("ray") is None:  # tests/batch/test_ray.py is about it
            continue
        output: str | None = None
        with servers(line, tmp_path):
            for part in line.split("|"):
                result = CliRunner().invoke(main, shlex.split(part)[1:], input=output)
                assert result.exit_code == 0, (line, result.output)
                output = result.stdout
        for written in re.findall(r"-o (\S+)", line):
            assert Path(written).stat().st_size > 0
