"""Every parser on some hostile files, in a process of its own: what they do to a process is a part of the verdict."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.oracle import judge
from tgraph.ir.errors import FormatError
from tgraph.ir.file_formats import _table

ROOT = Path(__file__).parents[2]
# what reads the files of each format that a suffix registers
PARSERS_OF = {".tg": "text", ".json": "json", ".onnx": "onnx", ".safetensors": "safetensors", ".bin": "torch", ".pt": "torch",
              ".pth": "torch"}


def test_every_parser_takes_whatever_comes() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.hostile", "--runs", "60"], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("60 executions, 0 faults") >= 20, done.stdout


def test_every_format_has_a_parser() -> None:
    from tests.hostile.parsers import PARSERS

    readable = {suffix for suffix, found in _table().items() if found.read or found.arrays}
    assert readable == PARSERS_OF.keys() and set(PARSERS_OF.values()) <= PARSERS.keys()


def _forever(path: Path) -> None:
    while True:
        pass


def _refused(path: Path) -> None:
    raise FormatError("no")


@pytest.mark.parametrize(("read", "kind"), [
    (_refused, None), (Path.read_bytes, None), (lambda path: [][0], "error"), (_forever, "hang"),
    (lambda path: Path("/etc/hostname").exists() and Path("/etc/hostname").read_bytes(), "reach"),
    (lambda path: (path.parent.parent / "new").write_bytes(b""), "reach"),
    (lambda path: os.system("true"), "reach"), (lambda path: list(Path("/").iterdir()), "reach"),
    (lambda path: exec(compile("1", "from a file", "exec")), "reach"), (lambda path: bytearray(2**50), "memory"),
])
def test_the_oracle_sees_each_kind_of_fault(read: object, kind: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "x").write_bytes(b"1")
    fault = judge(read, folder / "x", seconds=0.3)  # type: ignore[arg-type]
    assert (fault.kind if fault else None) == kind
