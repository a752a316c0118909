"""Timing of kernels on another machine, over TVM's RPC: libraries and arguments are sent there, times and results come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from targets.base.linker import link
from targets.base.memory import aligned_empty
from targets.base.rpc import RpcSession
from targets.base.target import Target
from targets.base.tvm_api import IRBuilder, PrimFunc, T, int64, tvm
from targets.cpu.instruction_sets import changes_from
from targets.cpu.machine import cache_sizes, cpu_target
from targets.cpu.trials import KERNEL, Kernel, Machine, Problem, Trial, build_library
from targets.runtime.tensors import share
from tgraph.ir.errors import TargetError

TURNS = "turns"  # the function of a library that calls the kernel


class RemoteMachine(Machine):
    """A machine whose server of TVM's RPC runs kernels.

    own: its CPU as a target; None if the server has TVM's runtime alone, and cannot tell.
    """

    def __init__(self, session: RpcSession):
        self.session = session
        self.own = cpu_of(session)
        self._tensors: dict[int, tuple[np.ndarray, Any]] = {}

    def target(self, detail: str) -> Target:
        """The target "cpu:detail"; with no name of a CPU, the machine's own, with changes. Raises TargetError."""
        if detail and detail[0] not in "+-":
            return cpu_target(detail)
        if self.own is None:
            raise TargetError(f"{self.session.name} cannot tell its CPU: it has TVM's runtime without LLVM; name it with "
                              "--target cpu:NAME")
        return _with_caches(cpu_target(f"{self.own.name},{detail}"), self.own) if detail else self.own

    def require(self, target: Target) -> None:
        missing = sorted(target.features - self.own.features) if self.own is not None else []
        if missing:
            shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
            raise TargetError(f"target {target} does not run on {self.session.name} ({self.own}), which lacks some of its "
                              f"instructions: {shown}")

    def use_threads(self, count: int) -> None:
        """Let so many workers take part from now on. Raises TargetError if the server has fewer."""
        self._call("runtime.config_threadpool", 1, count)
        if self.threads != count:
            raise TargetError(f"{self.session.name} has a pool of {self.threads} threads, not of {count}; the environment "
                              "variable TVM_NUM_THREADS says how many when a server is started")

    @property
    def threads(self) -> int:
        """The number of workers that take part."""
        return int(self._call("runtime.NumThreads"))

    def build(self, function: Any, target: Target, problem: Problem) -> Kernel:
        library = self.session.load(link(build_library(function, target, in_turns(problem))))
        return RemoteKernel(self.session, library)

    def bring(self, problem: Problem) -> Trial:
        return _TrialThere(self, problem)

    def tensor(self, array: np.ndarray) -> Any:
        """A tensor over there with an array's content; the same one for the same array."""
        if id(array) not in self._tensors:
            self._tensors[id(array)] = array, self.session.tensor(share(array))
        return self._tensors[id(array)][1]

    def _call(self, name: str, *arguments: Any) -> Any:
        function = self.session.function(name)
        if function is None:
            raise TargetError(f"{self.session.name} has no function {name}; it takes a server of TVM's own")
        return function(*arguments)


def cpu_of(session: RpcSession) -> Target | None:
    """The CPU of a server's machine; None if the server has nothing of LLVM that could tell.

    Tiles (AMX) count as absent: Linux gives them to processes that ask, and servers do not.
    """
    model, read, write = (session.function(name) for name in (
        "target.llvm_get_system_cpu", "tvm.codegen.llvm.GetHostCPUFeatures", "ffi.ToJSONGraphString"))
    if model is None or read is None or write is None:
        return None
    mcpu, found = model(), tvm.ir.load_json(write(read(), None))
    features = {str(name): bool(present) and not name.startswith("amx") for name, present in found.items()}
    l1, l2, l3 = cache_sizes(session.read_file)
    cpu = cpu_target(",".join([mcpu, *changes_from(mcpu, features)]))
    return replace(cpu, l1_bytes=l1, l2_bytes=l2, l3_bytes=l3)


def _with_caches(cpu: Target, like: Target) -> Target:
    return replace(cpu, l1_bytes=like.l1_bytes, l2_bytes=like.l2_bytes, l3_bytes=like.l3_bytes)


class RemoteKernel:
    """A kernel in a library over there."""

    def __init__(self, session: RpcSession, library: Any):
        self.session, self.library = session, library
        self.function = session.call(library.get_function, KERNEL)
        self.timers: dict[int, Callable[..., float]] = {}

    def __call__(self, *arguments: Any) -> None:
        self.session.call(self.function, *arguments)

    def seconds(self, calls: int, *arguments: Any) -> float:
        """The mean time of so many calls of the function TURNS."""
        if calls not in self.timers:
            self.timers[calls] = self.session.timer(self.library, TURNS, calls)
        return self.timers[calls](*arguments)


class _TrialThere(Trial):
    def __init__(self, machine: RemoteMachine, problem: Problem):
        self.session, self.problem = machine.session, problem
        self.weights = [{i: machine.tensor(array) for i, array in chosen.items()} for chosen in problem.weights]
        self.arguments = [a if isinstance(a, int) or i in self.weights[0] else self.session.tensor(share(a))
                          for i, a in enumerate(problem.arguments)]
        varying = self.weights[0]
        self.all = [self.session.tensor(share(np.zeros(1, np.int64))),
                    *[a for i, a in enumerate(self.arguments) if i not in varying],
                    *[chosen[i] for chosen in self.weights for i in sorted(varying)]]

    def outputs(self, kernel: Kernel) -> list[np.ndarray]:
        self.session.doing = f"while it ran kernel {self.problem.name}"
        arguments = [self.weights[0].get(i, a) for i, a in enumerate(self.arguments)]
        for place, array in self.problem.unwritten.items():
            self.session.copy(share(array), arguments[place])
        kernel(*arguments)
        results = {place: aligned_empty(array.shape, array.dtype) for place, array in self.problem.unwritten.items()}
        for place, array in results.items():
            self.session.copy(arguments[place], share(array))
        return list(results.values())

    def seconds(self, kernel: Kernel, calls: int) -> float:
        self.session.doing = f"while it timed kernel {self.problem.name}"
        return kernel.seconds(calls, *self.all)


def in_turns(problem: Problem) -> PrimFunc:
    """A function that calls the kernel of its library, each time with the weights of the model's next call.

    TVM's timer calls a function again and again with the same arguments, so that weights would come from the caches. These
    are: the number of the last call, the kernel's arguments that are no weights, and the weights of each call.
    """
    varying = sorted(problem.weights[0])
    with IRBuilder() as ir, T.prim_func():
        T.func_name(TURNS)
        T.func_attr({"tirx.is_scheduled": True, "global_symbol": TURNS})
        turn = T.arg("turn", T.buffer((1,), "int64"))
        fixed = {i: T.arg(f"a{i}", T.int64() if isinstance(a, int) else T.handle())
                 for i, a in enumerate(problem.arguments) if i not in varying}
        sets = [{i: T.arg(f"w{number}_{i}", T.handle()) for i in varying} for number in range(len(problem.weights))]
        T.buffer_store(turn, (turn[0] + int64(1)) % int64(len(sets)), [int64(0)])
        for number, chosen in enumerate(sets):
            with T.If(turn[0] == int64(number)), T.Then():
                arguments = [{**fixed, **chosen}[i] for i in range(len(problem.arguments))]
                T.evaluate(T.call_cpacked(KERNEL, *arguments))
    return ir.get()
