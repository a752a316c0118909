"""A session with another machine over TVM's RPC: functions, libraries and arrays on a server. No call waits for ever.

TVM's client knows no limits of time, and frees what lies over there from destructors, where errors and interrupts get lost. So
the limits are those of its socket, whatever was made over there is kept until the session ends, and the connection goes first.

Whoever reaches a server can run any code on it, and nothing is encrypted: both ends have to be in one trusted network.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tvm import rpc
from tvm.error import RPCError, RPCSessionTimeoutError

from targets.base.interrupts import hold_interrupts
from targets.base.threads import Thread
from targets.base.tracker import Server, request
from targets.base.tvm_api import tvm
from tgraph.ir.errors import TargetError, first_line

ANSWER = 60.0  # seconds within which a server says something


class LostMachineError(TargetError):
    """A machine that was at work has gone, or does not answer any more."""


class RpcSession:
    """A session with a server that a tracker knows by a key.

    doing: what the server is at, for errors. Raises TargetError if there is no such server, and LostMachineError if it goes.
    """

    def __init__(self, tracker: str, key: str):
        server = request(tracker, key)
        self.name = f"server {key!r} at {server.host}:{server.port}"
        self.doing = ""
        self._kept: list[Any] = []
        self._functions: dict[str, Any] = {}
        self._libraries = 0
        self._remote, self._socket = _connect(server, self.name)

    def __enter__(self) -> RpcSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session; what was made on the server goes with it."""
        with hold_interrupts():
            self._hang_up()
            self._remote = None
            self._functions.clear()
            self._kept.clear()
            self._socket.close()

    def function(self, name: str) -> Callable[..., Any] | None:
        """A function that the server has registered; None if it has none of that name."""
        if name not in self._functions:
            try:
                self._functions[name] = self.call(self._remote.get_function, name)
            except AttributeError:
                self._functions[name] = None
        found = self._functions[name]
        return found and (lambda *arguments: self.call(found, *arguments))

    def read_file(self, path: str) -> str:
        """The text of one of the server's files. Raises OSError."""
        try:
            return str(bytes(self.call(self._remote.download, path)).rstrip(b"\0"), "utf-8", "replace")
        except RPCError as error:
            raise OSError(f"{self.name} cannot read {path}") from error

    def load(self, image: np.ndarray) -> Any:
        """The module of a shared library with these bytes."""
        self._libraries += 1
        name = f"tgraph-{self._libraries}.so"  # the system takes one that it has loaded for the same
        self.call(self._remote.upload, bytearray(image), name)
        module = self.call(self._remote.load_module, name)
        self.call(self._remote.remove, name)
        return module

    def timer(self, module: Any, name: str, calls: int) -> Callable[..., float]:
        """A function that makes one call of a module's function, then so many, and gives the mean seconds of these."""
        evaluator = self.call(module.time_evaluator, name, self._remote.cpu(), calls)
        return lambda *arguments: float(self.call(lambda: evaluator(*arguments).mean))

    def tensor(self, like: Any) -> Any:
        """A tensor of the server's with the content of one of this process's."""
        made = self.call(tvm.runtime.empty, like.shape, like.dtype, self._remote.cpu())
        self.copy(like, made)
        return made

    def copy(self, source: Any, target: Any) -> None:
        """Copy the content of a tensor from this process to the server, or from there."""
        if math.prod(source.shape):
            self.call(source.copyto, target)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of TVM's gives that asks the server; RuntimeError is the server's answer. Ctrl-C ends the session."""
        start = time.monotonic()
        with hold_interrupts(self._hang_up):
            try:
                result = function(*arguments)
            except AttributeError:  # of a function that the server does not have
                raise
            except Exception as error:
                if isinstance(error, RPCError) and not isinstance(error, RPCSessionTimeoutError):
                    raise
                self._hang_up()
                raise self._lost(time.monotonic() - start) from error
            if not isinstance(result, (str, bytes, bytearray, int, float)):
                self._kept.append(result)
            return result

    def _lost(self, seconds: float) -> LostMachineError:
        what = f" {self.doing}" if self.doing else ""
        if seconds >= ANSWER:
            return LostMachineError(f"{self.name} did not answer for {seconds:.0f} s{what}")
        return LostMachineError(f"{self.name} broke the connection{what}; it may have been stopped, or code made it crash: what "
                                "it printed says more")

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):  # it may be down already
            self._socket.shutdown(socket.SHUT_RDWR)


def _connect(server: Server, name: str) -> tuple[Any, socket.socket]:
    """TVM's session with a server, and the socket under it, with limits of time. Raises TargetError."""
    try:
        address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)[0][4][:2]
    except OSError as error:
        raise TargetError(f"{name}: {error}") from None
    connecting = Thread(lambda: rpc.connect(address[0], address[1], server.session_key))  # TVM may wait for ever
    connecting.start()
    try:
        session = connecting.result(ANSWER)
    except Exception as error:  # TVM's own errors have many classes
        why = f"no answer for {ANSWER:g} s" if isinstance(error, TimeoutError) else first_line(error)
        raise TargetError(f"{name}, its address by what its tracker says, cannot be reached: {why}; a server may name another "
                          "address with --custom-addr") from None
    under = _socket_to(address)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        under.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(ANSWER), 0))
    under.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return session, under


def _socket_to(address: Any) -> socket.socket:
    """Another handle of the socket that TVM has connected with an address; it shows none of its own."""
    for number in sorted((int(file.name) for file in Path("/dev/fd").iterdir()), reverse=True):
        with contextlib.suppress(OSError):  # what is no socket, or has no peer
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                found = socket.socket(fileno=os.dup(number))
                if found.getpeername()[:2] == address:
                    return found
                found.close()
    raise TargetError(f"the connection with {address[0]}:{address[1]} was broken as soon as it was made")
