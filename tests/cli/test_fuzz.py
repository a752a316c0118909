"""`tgraph fuzz`: an op with a fault is found, made smaller and written down; Ctrl-C shows what was done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tgraph.cli.exit_status import BAD_INPUT, DIFFERS, INTERRUPTED

PLUGIN = """
import tgraph as tg
@tg.op(elementwise=True)
def faulty_abs(x):
    return x
@faulty_abs.reference
def _(x):
    return abs(x)
@faulty_abs.decomposition
def _(b, x):
    return b.maximum(x, 0)
"""


def fuzz(*arguments: str, folder: Path, plugin: bool = True) -> subprocess.CompletedProcess[str]:
    (folder / "plugin.py").write_text(PLUGIN)
    plugins = ["--plugin", "plugin.py"] if plugin else []
    command = [sys.executable, "-m", "tgraph", *plugins, "fuzz", "--workers", "1", *arguments]
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(root)})


def test_a_fault_is_found_made_smaller_and_written(tmp_path: Path) -> None:
    found = fuzz("--programs", "4", "--ops", "faulty_abs,add,exp", "--out", "failures", "--json", "--shrink", "1",
                 "--shrink-seconds", "20", folder=tmp_path)
    assert found.returncode == DIFFERS, found.stderr
    data = json.loads(found.stdout)
    assert data["programs"] == 4 and data["failed"] >= 1 and data["counts"]["faulty_abs"]
    smallest = min(data["failures"], key=lambda f: f["nodes"] or 99)
    assert smallest["kind"] == "wrong" and smallest["nodes"] == 1 and "faulty_abs(" in smallest["text"]
    rows = json.loads((tmp_path / "failures" / "failures.json").read_text())
    assert all((tmp_path / "failures" / row["file"]).exists() for row in rows)
    first = min(rows, key=lambda r: r["nodes"] or 99)
    again = fuzz("--seed", str(first["seed"]), f"failures/{first['file']}", "--shrink", "0", folder=tmp_path)
    assert again.returncode == DIFFERS and "1 of 1 programs fail" in again.stdout


def test_an_unknown_op_is_bad_input(tmp_path: Path) -> None:
    found = fuzz("--ops", "nothing", folder=tmp_path, plugin=False)
    assert found.returncode == BAD_INPUT and "nothing" in found.stderr and "Traceback" not in found.stderr


def test_ctrl_c_shows_what_was_done(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tgraph", "fuzz", "--workers", "1", "--minutes", "60", "--ops", "relu,add", "--table"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(root)}, start_new_session=True,
                               # which a shell's background jobs ignore
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert process.stderr is not None
    line = process.stderr.readline()  # the first programs are done
    assert "done, 0 fail" in line
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED, err
    assert " programs fail" in out and "relu" in out and "Traceback" not in err
