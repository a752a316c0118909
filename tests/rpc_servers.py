"""A tracker and servers of TVM's RPC on loopback, in processes pinned to one core: they play another machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

WAIT = 120.0  # seconds within which a process is there, however busy the machine


def require_servers() -> None:
    """Ends a test as skipped where TVM's tracker and server cannot be started."""
    for name in ("tornado", "psutil", "cloudpickle"):
        pytest.importorskip(name, reason='needs what TVM\'s tracker and server need: pip install "apache-tvm[rpc]"')


# Runs a module on one core. Its group of processes ends soon after the process of the tests, however that one ends.
LAUNCH = """
import os, runpy, sys, threading, time
parent, core = os.getppid(), int(sys.argv.pop(1))
def end_with_parent():
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, 9)
threading.Thread(target=end_with_parent, daemon=True).start()
os.sched_setaffinity(0, {core})
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


class Server:
    """A process group of its own."""

    def __init__(self, log: Path, *words: str, **environment: str):
        core = max(os.sched_getaffinity(0))
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, str(core), *words],
                env={**os.environ, "TVM_NUM_THREADS": "1", "TVM_BIND_THREADS": "0", **environment},
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")


class Tracker(Server):
    """A tracker; servers are started with `serve`."""

    def __init__(self, folder: Path, port: int | None = None):
        self.folder, self.port = folder, port or free_port()
        self.servers: list[Server] = []
        super().__init__(folder / "tracker.txt", "tvm.exec.rpc_tracker", "--host", "127.0.0.1", "--port", str(self.port),
                         "--port-end", str(self.port + 1))
        self.address = f"127.0.0.1:{self.port}"
        _until(lambda: _listens(self.port), self)

    def serve(self, key: str, **environment: str) -> Server:
        """A server with this key, when the tracker knows it."""
        from targets.base.tracker import servers_of

        port = free_port()
        server = Server(self.folder / f"{key}.txt", "tvm.exec.rpc_server", "--host", "127.0.0.1", "--port", str(port),
                        "--port-end", str(port + 1), "--tracker", self.address, "--key", key, **environment)
        self.servers.append(server)
        _until(lambda: key in servers_of(self.address), server)
        return server


@contextlib.contextmanager
def tracker(folder: Path, port: int | None = None) -> Iterator[Tracker]:
    found = Tracker(folder, port)
    try:
        yield found
    finally:
        for process in (*found.servers, found):
            process.end()


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _until(holds, process: Server) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end and process.process.poll() is None, process.said
        time.sleep(0.1)
