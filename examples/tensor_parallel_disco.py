"""The workers of examples/tensor_parallel.py as processes under Disco, TVM's runtime for several devices.

    python examples/tensor_parallel_disco.py

A Disco session sends each call to all of its workers: threads, processes, or processes of other machines. An all-reduce is
looked up by the name of a library, as `runtime.disco.nccl.allreduce`. TVM's wheel has no library, and on CPUs its name is empty;
so this file registers functions under that name, which talk over sockets. In place of each would come a call of NCCL.
"""

from __future__ import annotations

import os
import sys
import tempfile
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

import numpy as np
import tvm.runtime.disco
import tvm_ffi
from tensor_parallel import BERT, bert_layer, cut, shard
from tvm.exec.disco_worker import main as serve

import tgraph as tg

WORKERS = 2
tvm_ffi.init_ffi_api("runtime.disco", "tvm.runtime.disco._ffi_api")  # again: the wheel loads Disco's library after its names
stages: list[Any] = []  # of this worker: executables, and the values that it knows by name
values: dict[str, np.ndarray] = {}
others: list[Connection] = []  # worker 0: to each of the others; they: to worker 0


def rank() -> int:
    return int(tvm_ffi.get_global_func("runtime.disco.worker_rank")())


@tvm_ffi.register_global_func("runtime.disco..allreduce", override=True)
def all_reduce(part: Any, kind: int, in_group: bool, total: Any) -> None:
    """The sum of what all workers bring: 0 adds up, in the order of the workers, and sends it back."""
    if rank():
        others[0].send(part.numpy())
        whole = others[0].recv()
    else:
        whole = sum((other.recv() for other in others), start=part.numpy())
        for other in others:
            other.send(whole)
    total.copyfrom(whole)


@tvm_ffi.register_global_func("runtime.disco..broadcast_from_worker0", override=True)
def broadcast(sent: Any, in_group: bool, received: Any) -> None:
    """What worker 0 has, to all."""
    if rank() == 0:
        for other in others:
            other.send(sent.numpy())
    received.copyfrom(sent.numpy() if rank() == 0 else others[0].recv())


@tvm_ffi.register_global_func("example.connect", override=True)
def connect(folder: str, workers: int) -> None:
    """Connect the workers, and load this one's bundles."""
    if rank() == 0:
        with Listener(f"{folder}/workers", backlog=workers) as listener:
            (Path(folder) / "open").touch()
            others[:] = [listener.accept() for _ in range(workers - 1)]
    else:
        while not (Path(folder) / "open").exists():
            os.sched_yield()
        others[:] = [Client(f"{folder}/workers")]
    stages[:] = [tg.load(path) for path in sorted(Path(folder).glob(f"{rank()}-*.tgc"))]


@tvm_ffi.register_global_func("example.put", override=True)
def put(name: str, value: Any) -> None:
    """Give a value its name in the graph."""
    values[name] = value.numpy()


@tvm_ffi.register_global_func("example.run", override=True)
def run(stage: int, wanted: str) -> Any:
    """Compute a stage of what is known; return one of its results."""
    exe = stages[stage]
    values.update(exe.run({i.name: values[i.name] for i in exe.graph.inputs}))
    return tvm.runtime.tensor(values[wanted])


def main() -> None:
    whole = bert_layer()
    x, mask = np.random.default_rng(0).standard_normal((2, 7, 64)).astype(np.float32), np.ones((2, 7), bool)
    shards = [cut(shard(whole, BERT, worker, WORKERS)) for worker in range(WORKERS)]
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)  # for the workers
    with tempfile.TemporaryDirectory() as folder:
        for worker, pieces in enumerate(shards):
            for number, stage in enumerate(pieces):
                tg.compile(stage.graph).save(f"{folder}/{worker}-{number}.tgc")
        session = tvm.runtime.disco.ProcessSession(WORKERS, entrypoint="tensor_parallel_disco")
        connecting, putting, running = (session.get_global_func(f"example.{name}") for name in ("connect", "put", "run"))
        connecting(folder, WORKERS)
        for name, array in (("x", x), ("mask", mask)):
            putting(name, session.broadcast(array))
        for number, stage in enumerate(shards[0][:-1]):
            (part, total), = stage.sums.items()
            added = session.empty(x.shape, "float32")
            session.allreduce(running(number, part), added)
            putting(total, added)
        result = running(len(shards[0]) - 1, "output").debug_get_from_remote(WORKERS - 1).numpy()
        del session  # ends the workers
    print(f"{WORKERS} processes: differs by {np.abs(result - tg.compile(whole)(x, mask)).max():.1e} from one")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:  # as a worker, started by the session
        serve()
