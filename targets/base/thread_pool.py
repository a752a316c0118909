"""TVM's pool of workers, which belongs to the thread that calls kernels, and what a fork makes of it.

A forked child has the memory of its thread's pool and none of the workers. When the child ends, taking the pool down would wait
for ever: for workers that slept at the fork, and for new threads that came to lie where old ones did. So workers are woken just
before, after which they look out for work for a while (0.1 s where nothing else runs; TVM_THREAD_POOL_SPIN_COUNT), and the
child's pool gets new ones at once.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

from targets.base.tvm_api import tvm


def use_threads(count: int) -> None:
    """Let so many workers of this thread's pool take part from now on, the thread itself being one."""
    tvm.get_global_func("runtime.config_threadpool")(1, count)


def wake(count: int) -> None:
    """Wake all workers of this thread's pool, which has `count`."""
    use_threads(count)
    nothing = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p)  # a function that takes no notice of its arguments
    _runtime().TVMBackendParallelLaunch(nothing, None, 0)


def renew() -> None:
    """Give this thread's pool new workers. In a forked child nobody waits for the old ones."""
    _runtime()._ZN3tvm7runtime9threading15ResetThreadPoolEv()


@functools.cache
def _runtime() -> Any:
    """TVM's runtime library: it has no function of Python's for these. Other threads wait meanwhile."""
    return ctypes.PyDLL(str(Path(tvm.__file__).parent / "lib" / "libtvm_runtime.so"))
