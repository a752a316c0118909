"""Tuning over TVM's RPC: a tracker and servers on loopback, each pinned to one core, play other machines."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

import tgraph as tg
from targets.base import rpc, tracker
from targets.base.rpc import LostMachineError, RpcSession
from targets.base.target import Target
from targets.cpu.remote import RemoteMachine, cpu_of
from targets.cpu.trials import ThisMachine, find_problems
from targets.cpu.tuning import Tuned, tune
from targets.lowering.lower import emit_kernel
from tests import rpc_servers
from tests.rpc_servers import Tracker
from tests.targets.feature_sets import foreign_cpu
from tgraph import nn
from tgraph.cli import main
from tgraph.cli.answers import schema_of, shape_of
from tgraph.cli.tune import command as tune_command
from tgraph.reference.inputs import generate_inputs

B, S = tg.dims("B S")
SIZES = [{"B": 1, "S": 5}, {"B": 3, "S": 40}]
TUNE = ("tune", "bert-tiny", "--shapes", "1x16", "--trials", "1")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracker]:
    """A tracker, and a server with the key "other"."""
    rpc_servers.require_servers()
    with rpc_servers.tracker(tmp_path_factory.mktemp("rpc")) as found:
        found.serve("other")
        yield found


def graph() -> tg.Graph:
    return tg.trace(nn.EncoderLayer(64, heads=4, hidden=128), x=tg.f32[B, S, 64], mask=tg.bool_[B, S])


def cli(*arguments: str, fails: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == fails, (arguments, result.output, result.exception)
    return result


def test_the_same_search_and_the_same_bits(there: Tracker) -> None:
    target, model = Target.parse("cpu"), graph()
    exe = tg.compile(model, target)
    with RpcSession(there.address, "other") as session:
        machine = RemoteMachine(session)
        found, here = (tune(model, target, SIZES, machine=m, trials=1) for m in (machine, None))
        assert {(t.kernel, t.key, t.calls, t.trials) for t in found} == {(t.kernel, t.key, t.calls, t.trials) for t in here}
        assert all(0 < t.best <= t.default and not t.rejected for t in found) and len(found) > 2
        for name, problem in find_problems(model, exe._engine, generate_inputs(model, SIZES[1])).items():  # type: ignore[arg-type]
            tir = emit_kernel(exe.kernels.functions[name], target)
            there_, here_ = ([a.tobytes() for a in m.bring(problem).outputs(m.build(tir, target, problem))]
                             for m in (machine, ThisMachine()))
            assert there_ == here_


def test_the_cpu_over_there(there: Tracker) -> None:
    own = Target.parse("cpu")
    with RpcSession(there.address, "other") as session:
        machine = RemoteMachine(session)
        assert machine.own is not None and machine.threads == 1
        assert machine.own.features == {name for name in own.features if not name.startswith("amx")}
        assert (machine.own.l1_bytes, machine.own.l2_bytes, machine.own.l3_bytes) == (own.l1_bytes, own.l2_bytes, own.l3_bytes)
        assert machine.target("") == machine.own
        less = machine.target("-fma")
        assert not less.has("fma") and less.l2_bytes == own.l2_bytes
        assert machine.target("x86-64-v3").name == "x86-64-v3"
        machine.require(less)
        with pytest.raises(tg.TargetError, match=r"does not run on server 'other' at 127.0.0.1:\d+ .* lacks some of its instr"):
            tune(graph(), Target.parse(foreign_cpu()), SIZES, machine=machine)


def test_threads(there: Tracker) -> None:
    there.serve("two", TVM_NUM_THREADS="2")
    with RpcSession(there.address, "two") as session:
        machine = RemoteMachine(session)
        assert machine.threads == 2
        machine.use_threads(1)
        assert machine.threads == 1
        with pytest.raises(tg.TargetError, match="has a pool of 2 threads, not of 3; the environment variable TVM_NUM_THREADS"):
            machine.use_threads(3)


def test_a_server_without_llvm(there: Tracker) -> None:
    there.serve("runtime", TVM_USE_RUNTIME_LIB="1")
    with RpcSession(there.address, "runtime") as session:
        assert cpu_of(session) is None
        assert len(tune(graph(), Target.parse("cpu"), SIZES[:1], machine=RemoteMachine(session), seconds=1e-9)) > 2
    shown = cli(*TUNE, "--rpc", there.address, "--key", "runtime", fails=2).output
    assert "cannot tell its CPU" in shown and "--target cpu:NAME" in shown


def test_the_command(there: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGRAPH_TUNING", str(tmp_path))
    answer = json.loads(cli(*TUNE, "--rpc", there.address, "--key", "other", "--json").stdout)
    jsonschema.validate(answer, schema_of(shape_of(tune_command), "tune"))  # type: ignore[arg-type]
    assert re.fullmatch(r"server 'other' at 127.0.0.1:\d+", answer["machine"]) and answer["threads"] == 1
    assert answer["saved"] == str(tmp_path / f"{answer['target'].removeprefix('cpu:')}.json")
    rows = json.loads(Path(answer["saved"]).read_text())["kernels"].values()
    assert {row["kernel"] for row in rows} == {k["kernel"] for k in answer["kernels"] if k["trials"]} and rows
    shown = cli(*TUNE, "--rpc", there.address, "--key", "other", "--target", "cpu:x86-64-v2", "--dry-run", "--time", "0.1").output
    assert "on cpu:x86-64-v2 at 1x16, on server 'other'" in shown and "not saved (--dry-run)" in shown


@pytest.mark.parametrize(("options", "message"), [
    (["--key", "nobody"], "knows no server with the key 'nobody'; it knows other"),
    (["--key", "other", "--target", "cuda:sm_90"], "tunes for CPUs, not for cuda:sm_90"),
    (["--key", "other", "--threads", "64"], "has a pool of 1 threads, not of 64"),
    ([], "give both"),
])
def test_what_cannot_be(there: Tracker, options: list[str], message: str) -> None:
    assert message in " ".join(cli(*TUNE, "--rpc", there.address, *options, fails=2).output.split())


@pytest.mark.parametrize("address", ["nowhere", ":1", "a:b", "127.0.0.1:70000"])
def test_no_address(address: str) -> None:
    assert "the address of a tracker is HOST:PORT" in cli(*TUNE, "--rpc", address, "--key", "x", fails=2).output


@pytest.mark.parametrize(("says", "message"), [
    (None, "there is no tracker of TVM's at"), (b"", "does not answer"), (b"SSH-2.0-OpenSSH\r\n", "another program"),
    (b"\x71\xf2\x02\x00\x04\x00\x00\x00null", "there is no tracker of TVM's at"),
    (b"\x71\xf2\x02\x00\x04\x00\x00\x00[0]]", "there is no tracker of TVM's at"),
])
def test_something_else_at_the_address(says: bytes | None, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "ANSWER", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        if says is None:
            other.close()
        else:
            def talk() -> None:
                link, _ = other.accept()
                link.sendall(says)
                time.sleep(2)

            threading.Thread(target=talk, daemon=True).start()
        with pytest.raises(tg.TargetError, match=message):
            tracker.servers_of(address)


def test_a_server_that_others_use(there: Tracker) -> None:
    with (RpcSession(there.address, "other"), pytest.raises(tg.TargetError, match=r"served others for 0\.5 seconds")):
        tracker.request(there.address, "other", free=0.5)


def test_a_server_that_hangs(there: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "ANSWER", 2.0)
    server = there.serve("hangs")
    session = RpcSession(there.address, "hangs")
    session.doing = "while it slept"
    server.signal(signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(LostMachineError, match="did not answer for 2 s while it slept"):
        RemoteMachine(session)
    with pytest.raises(LostMachineError):  # at once: the connection is closed
        session.tensor(tg.targets.aligned_empty((4,), np.dtype("float32")))
    session.close()
    assert time.monotonic() - start < 30
    with pytest.raises(tg.TargetError, match=r"cannot be reached|served others"):
        monkeypatch.setattr(tracker, "FREE", 1.0)
        RpcSession(there.address, "hangs")


def test_a_server_that_is_killed(there: Tracker) -> None:
    server, kept = there.serve("dies"), []

    def keep(found: Tuned) -> None:
        kept.append(found)
        server.signal(signal.SIGKILL)

    session = RpcSession(there.address, "dies")
    with session, pytest.raises(LostMachineError, match=r"server 'dies' at .* broke the connection while it (ran|timed) kernel"):
        tune(graph(), Target.parse("cpu"), SIZES[:1], machine=RemoteMachine(session), trials=1, keep=keep)
    assert len(kept) == 1
    assert "knows no server with the key 'dies'" in cli(*TUNE, "--rpc", there.address, "--key", "dies", fails=2).output


@pytest.mark.parametrize(("kill", "status", "message"), [
    (False, 130, "interrupted"), (True, 2, "broke the connection"),
])
def test_what_was_found_is_saved(there: Tracker, tmp_path: Path, kill: bool, status: int, message: str) -> None:
    """If Ctrl-C ends the search, or the server dies."""
    key = f"ends-{status}"
    server = there.serve(key)
    words = ("tune", "bert-tiny", "--shapes", "1x16", "--rpc", there.address, "--key", key)
    environment = {**os.environ, "TGRAPH_TUNING": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-m", "tgraph", *words], env=environment, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    while not (files := list(tmp_path.glob("*.json"))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    if kill:
        server.signal(signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == status, said
    assert message in said and f"is saved in {files[0]}" in said and "Traceback" not in said
    assert json.loads(files[0].read_text())["kernels"]
    if not kill:
        RpcSession(there.address, key).close()  # it serves the next one
