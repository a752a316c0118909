"""What ends a command from outside: Ctrl-C, SIGTERM, and a reader that has gone (`tgraph dump ... | head`)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import click

from tgraph.cli.exit_status import BROKEN_PIPE, INTERRUPTED, TERMINATED


class Terminated(BaseException):
    """SIGTERM came. What a command has begun is undone on the way out, as after Ctrl-C."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


@contextlib.contextmanager
def endings() -> Iterator[None]:
    """Context in which Ctrl-C and a reader that has gone end the command with a status of their own."""
    try:
        yield
    except BrokenPipeError:
        _drop_output()
        raise click.exceptions.Exit(BROKEN_PIPE) from None
    except KeyboardInterrupt:
        _end_at_once(signal.SIGINT)
        click.echo("interrupted", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None


@contextlib.contextmanager
def process_endings() -> Iterator[None]:
    """Context of a whole run of the program: SIGTERM comes out as status 143, and all output is written when it is over."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
    if before.get(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(BROKEN_PIPE)
    except Terminated:
        _end_at_once(signal.SIGTERM)
        click.echo("terminated", err=True)
        sys.exit(TERMINATED)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_at_once(number: int) -> None:
    """Let a second signal of the kind end the process: nothing is left to be undone."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, signal.SIG_DFL)


def _drop_output() -> None:
    """Send what is still to be written to nowhere, if nobody reads it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
