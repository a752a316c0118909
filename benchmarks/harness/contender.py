"""A contender, as the harness sees it: a process that stays alive and runs only when it is its turn."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness.job import Job
from tgraph.ir.errors import TGraphError


class ContenderError(TGraphError):
    """A contender could not load or run the model."""


class Contender:
    """Starts the worker of one runtime; `ask` sends a command and waits for the answer.

    runtime: by its name in RUNTIMES, if it is not the contender's own. environment: variables of the process besides ours.
    busy: other programs are running. OpenMP's threads, which wait for each other in a loop, would then wait for whole time
    slices of the system, and PyTorch take a hundred times as long as on a quiet machine; so they are told to sleep.
    """

    def __init__(self, name: str, folder: Path, threads: int, busy: bool = False, runtime: str = "",
                 environment: Mapping[str, str] | None = None):
        self.name, self.note, self.created = name, "", 0.0
        self.log = folder / f"{name}.log"
        variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
                     "TVM_NUM_THREADS": str(threads), "TVM_BIND_THREADS": "0", **(environment or {})}
        if busy:
            variables.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        variables["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)  # the same packages as here
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "benchmarks.harness.worker", runtime or name],
                                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=variables, text=True)

    def ask(self, **command: Any) -> dict[str, Any]:
        """Raises ContenderError with what the worker says, or with the end of its log if it died."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            tail = self.log.read_text(errors="replace").strip().split("\n")[-3:]
            raise ContenderError(f"{self.name} died: {' / '.join(tail)}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ContenderError(f"{self.name}: {reply['error']}")
        return reply

    def load(self, job: Job) -> None:
        """Load the model; `note` then says version and options, `created` the seconds that it took after the imports."""
        self.ask(do="import")
        reply = self.ask(do="load", job=dataclasses.asdict(job))
        self.note, self.created = reply["note"], reply["seconds"]

    def cpu_seconds(self) -> float | None:
        """What `cpu_seconds` says of its process."""
        return cpu_seconds(self._process.pid)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            try:
                self._process.stdin.write('{"do": "quit"}\n')
                self._process.stdin.close()
            except OSError:
                pass  # it is gone already
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def cpu_seconds(process: int) -> float | None:
    """Processor time that all threads of a process have used so far; None where Linux's /proc is not there."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
