"""Signals at random moments of the commands: their status, what they say, and what they leave."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.cli.conftest import MODELS
from tests.cli.model_folder import gpt2_folder, mpnet_folder
from tests.faults.processes import ROOT, Place, place

STATUS = {"INT": (130, "interrupted"), "TERM": (143, "terminated")}
# name -> a command that takes a while, and the file that it writes
COMMANDS: dict[str, tuple[str, str | None]] = {
    "compile": ("compile m.py:two -o out.tgc --originals", "out.tgc"),
    "run": ("run bert-tiny --random --dim B=2,S=16 -o out.npz", "out.npz"),
    "check": ("check bert-tiny", None),
    "profile": ("profile bert-tiny --dim B=1,S=16", None),
    "view": ("view m.py:two -o out.html --profile --no-open", "out.html"),
    "bench": ("bench m.py:traced --against none --dim B=2 --rounds 3", None),
    "tune": ("tune m.py:two --shapes 1x16 --trials 2 --time 0.1", "tuning"),
    "generate": ("generate gpt2 'the cat sat on' -n 40", None),
    "embed": ("embed -m mpnet 'the cat sat' 'a dog ran' -o out.npy", "out.npy"),
    "import": ("import model.onnx -o out.tg", "out.tg"),
    "export": ("export m.py:two -o out.onnx", "out.onnx"),
    "reduce": ("reduce m.py:two --no-weights --test true -o small.tg", "small.tg"),
    "opt": ("opt bert-tiny --validate -o opt.tg", "opt.tg"),
    "dump": ("dump bert-tiny --level asm -o out.asm", "out.asm"),
    "compare": ("compare bert-tiny bert-tiny --target cpu --dim B=1,S=8", None),
    "explain": ("explain bert-tiny", None),
    "memory": ("memory bert-tiny --dim B=1,S=16 -o out.svg", "out.svg"),
    "fuzz": ("fuzz --programs 4 --workers 1 --out failures", None),
    "demo": ("demo --save demo.tgc --svg demo.svg", "demo.tgc"),
}
QUICK = ("diff", "ops", "passes", "targets", "cache", "completion")  # commands that are over before one thinks of Ctrl-C
# Python's own start and end are not ours: the signal comes when the command line is there, and ends the process when all is done.
LAUNCH = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
from tgraph.cli import main
progress = int(sys.argv.pop(1))
os.write(progress, b"ready")
try:
    main(prog_name="tgraph")
finally:
    os.write(progress, b"over")
"""


class Command:
    """One command of tgraph in a folder of its own kind, in a group of processes as a shell makes one."""

    def __init__(self, words: Sequence[str], where: Place):
        self.progress, write = os.pipe()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(where.temporary), "TGRAPH_CACHE": str(where.cache),
                       "TGRAPH_TUNING": str(where.root / "tuning"), "NO_COLOR": "1"}
        self.process = subprocess.Popen([sys.executable, "-c", LAUNCH, str(write), *words], cwd=where.root, env=environment,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=[write],
                                        start_new_session=True)
        os.close(write)
        select.select([self.progress], [], [], 300)
        self.begun = time.perf_counter()

    def signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)  # as a terminal does

    def end(self) -> tuple[int, str]:
        """The exit status, and what it said on standard error but for progress. Python's own end is none of the command's."""
        _, said = self.process.communicate(timeout=300)
        over = b"over" in os.read(self.progress, 100)
        os.close(self.progress)
        status = 0 if over and self.process.returncode < 0 else self.process.returncode
        return status, "\n".join(line for line in said.splitlines() if not line.lstrip()[:1].isdigit())


def words_of(line: str) -> list[str]:
    import shlex

    return shlex.split(line)


def prepare(where: Place) -> None:
    """The models that the commands are given."""
    import tgraph as tg

    (where.root / "m.py").write_text(MODELS)
    gpt2_folder(where.root / "gpt2")
    mpnet_folder(where.root / "mpnet")
    tg.trace(tg.nn.EncoderLayer(32, 2, 64), x=tg.f32[tg.dim("B"), tg.dim("S"), 32]).dump(where.root / "model.onnx")


def interrupt_commands(times: int, name: str, chosen: Sequence[str] = (), seed: int = 0,
                       say: Callable[[str], object] = lambda _: None) -> Counter[str]:
    """Send a signal to each command at random moments. Returns how often what happened; raises AssertionError."""
    choose, found = random.Random(seed), Counter[str]()
    status, word = STATUS[name]
    number = getattr(signal, f"SIG{name}")
    with place() as where:
        prepare(where)
        for command in chosen or COMMANDS:
            line, output = COMMANDS[command]
            words = words_of(line)
            written = where.root / output if output else None
            whole_run = Command(words, where)
            assert whole_run.end()[0] == 0, f"tgraph {line}"
            seconds = time.perf_counter() - whole_run.begun
            usual = snapshot(where.root)
            for attempt in range(times):
                for entry in where.cache.glob("*.tgc") if attempt % 2 == 0 else ():
                    entry.unlink()
                whole = written.read_bytes() if written is not None and written.is_file() else None
                running = Command(words, where)
                time.sleep(choose.uniform(0, seconds))
                running.signal(number)
                ended, said = running.end()
                moment = f"tgraph {line}, attempt {attempt}: status {ended}, {said}"
                assert ended in (0, status), moment
                assert said.splitlines()[-1:] == [word] if ended else word not in said, moment
                assert "Traceback" not in said and len(said.splitlines()) <= 1, moment
                found[f"{command}: {'over before' if ended == 0 else word}"] += 1
                assert not where.left(), (moment, where.left())
                assert snapshot(where.root) <= usual, moment
                assert whole is None or written is None or len(written.read_bytes()) >= len(whole) * 0.9, moment
                where.verify()
            assert Command(words, where).end()[0] == 0, f"tgraph {line}, after the signals"
            say(f"{command}: {times} signals")
    return found


def snapshot(root: Path) -> set[str]:
    """The files and folders of a run, but for those of the cache."""
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.parent.name not in ("cache", "__pycache__")}
