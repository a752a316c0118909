"""Asking a tracker of TVM's for one of the servers that it knows. No question waits for ever."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm.rpc import base

from tgraph.ir.errors import TargetError

ANSWER = 10.0  # seconds within which a tracker answers
FREE = 60.0  # seconds to wait for a server that others use


@dataclass(frozen=True)
class Server:
    """A server's address, and the key for one session with it."""

    host: str
    port: int
    session_key: str


def address_of(text: str) -> tuple[str, int]:
    """Host and port of "host:port", an IPv6 host in brackets. Raises TargetError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise TargetError(f"the address of a tracker is HOST:PORT, as in 127.0.0.1:9190; got {text!r}")
    return host.strip("[]"), int(port)


def servers_of(tracker: str) -> list[str]:
    """The keys of all servers that a tracker knows, one for each. Raises TargetError if it is not there."""
    with _talk(tracker) as link:
        return _keys(link)


def request(tracker: str, key: str, free: float = FREE) -> Server:
    """A server with a key, for one session. Raises TargetError if the tracker is not there, or if none is free in time."""
    with _talk(tracker) as link:
        count = (known := _keys(link)).count(key)
        if not count:
            raise TargetError(f"the tracker {tracker} knows no server with the key {key!r}; it knows "
                              f"{', '.join(sorted(set(known))) or 'none at all'}")
        link.settimeout(free)
        try:
            return Server(*_ask(link, base.TrackerCode.REQUEST, key, "", 1))
        except TimeoutError:
            which = "the server" if count == 1 else f"all {count} servers"
            raise TargetError(f"{which} with the key {key!r} served others for {free:g} seconds") from None


@contextmanager
def _talk(tracker: str) -> Iterator[socket.socket]:
    """A connection with a tracker. Raises TargetError for what goes wrong while it is in use."""
    try:
        with socket.create_connection(address_of(tracker), timeout=ANSWER) as link:
            link.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
            if struct.unpack("<i", base.recvall(link, 4))[0] != base.RPC_TRACKER_MAGIC:
                raise ValueError("what listens there is another program")
            yield link
    except TimeoutError:
        raise TargetError(f"the tracker {tracker} does not answer") from None
    except (OSError, ValueError, LookupError, TypeError) as error:  # all but the first: what it says is no tracker's
        raise TargetError(f"there is no tracker of TVM's at {tracker}: {error}; `python -m tvm.exec.rpc_tracker` starts "
                          "one") from None


def _keys(link: socket.socket) -> list[str]:
    return [str(server["key"]).removeprefix("server:") for server in _ask(link, base.TrackerCode.SUMMARY)["server_info"]]


def _ask(link: socket.socket, *question: Any) -> Any:
    base.sendjson(link, list(question))
    code, *answer = base.recvjson(link)
    if code != base.TrackerCode.SUCCESS or len(answer) != 1:
        raise ValueError(f"it answered {code}")
    return answer[0]
