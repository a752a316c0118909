"""Settings of all tests, and where they find what they share (`random_graphs`)."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import settings

# Tests compile, whatever was compiled or tuned on this machine before; those of cache and tuning set folders of their own.
os.environ["TGRAPH_CACHE"] = os.environ["TGRAPH_TUNING"] = "off"
os.environ["TGRAPH_TRITON"] = "off"  # kernels are tgraph's own, but where a test is about those of Triton
sys.path.insert(0, str(Path(__file__).parent))
# A shell's background jobs ignore Ctrl-C, and what they start does: commands that tests interrupt would never notice.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline for a hypothesis example: how long one takes is a property of the machine.
settings.register_profile("tgraph", deadline=None, max_examples=60)
settings.load_profile("tgraph")


# What takes long for what it has caught: `make test-all` runs it, `make test` leaves it out.
THOROUGH = (
    "cuda/", "emulated/",  # kernels of GPUs on an emulated device, each compiled by a C++ compiler
    "targets/cuda/test_resources.py",  # every kernel compiled for sm_90, with the registers that it takes
    "benchmarks/",  # the benchmarks themselves
    "cli/test_help.py", "cli/test_tune_cache.py",  # every example of every --help
    "fuzz/test_programs.py", "formats/onnx/test_export_random.py",  # random programs
    "targets/test_excluded.py",  # what masks exclude, of every kind, for every type, spelled in every way
    # kernels for CPUs and GPUs that this machine is not
    "targets/test_feature_sets.py", "targets/test_recurrent_cpus.py", "targets/test_quantized_kernels.py",
    "targets/cuda/test_attention.py", "targets/cuda/test_gemm.py", "targets/cuda/test_compile.py",
    "targets/test_compile_time.py",  # what grows with nodes, and how
    "conformance/test_onnx_backend", "formats/onnx/test_optimized.py",  # a thousand ONNX models; those that ONNX Runtime wrote
    "formats/onnx/test_import_torch.py", "conformance/test_minilm_torch.py",
    "formats/onnx/test_quantized.py",  # and quantised
    "passes/test_random.py", "cli/test_bench.py",
    # what the machine does to a process: full disks, signals, mappings, allocations; and what it finds when it tunes
    "targets/test_full_disk.py", "targets/test_interrupts.py", "targets/test_mappings.py", "targets/test_allocations.py",
    "targets/test_tuning.py", "targets/test_remote_tuning.py", "faults/", "targets/test_processes.py",
    # every model compiled; beside transformers, where that is installed; and with real weights, where their packages are
    "models/test_pretrained_compiled.py", "cuda/test_published_models.py", "models/test_transformers.py",
    "models/test_reaction_models.py",
)


@pytest.fixture
def compiled_once(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tests of this run compiled is kept for others that compile the same: for tests that are about what comes after.

    Not for those that change the compiler, of which a hit of the cache takes no notice.
    """
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # one for all workers
    monkeypatch.setenv("TGRAPH_CACHE", str(folder / "compiled-once"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    for item in items:
        if item.path.relative_to(root).as_posix().startswith(THOROUGH):
            item.add_marker(pytest.mark.thorough)


def pytest_addoption(parser: object) -> None:
    parser.addoption("--update-golden", action="store_true",  # type: ignore[attr-defined]
                     help="write what the passes give now into the golden files; read the diff before you commit it")
    parser.addoption("--graphs", type=int, default=300,  # type: ignore[attr-defined]
                     help="how many random graphs tests/passes/test_random.py sends through all passes (5000 for a nightly run)")
    parser.addoption("--lacking", metavar="NAMES",  # type: ignore[attr-defined]
                     help="run as on a CPU without these instruction sets, by LLVM's names: avx512f, or avx2 (needs TVM)")


def pytest_configure(config: object) -> None:
    lacking = config.getoption("--lacking")  # type: ignore[attr-defined]
    if lacking:
        from tests.targets.feature_sets import lack

        lack(lacking)
