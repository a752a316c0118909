"""What g++ makes of C++ and CUDA sources here, kept in a folder by content."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import threading
import time
from pathlib import Path

import platformdirs

HERE = Path(__file__).parent
HOST, DEVICE = HERE / "host", HERE / "device"
WEEK = 7 * 24 * 3600

# Types are punned freely in generated code. Uninitialised variables hold a pattern that is NaN or huge. No contraction, so that
# results do not depend on how g++ splits expressions; the half-precision conversions of the CPU are used where it has them.
# What the sanitizers find goes to functions of the driver, not to g++'s library.
KERNEL_FLAGS = ["-std=c++17", "-O1", "-w", "-fPIC", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing",
                "-fvisibility=hidden", "-ftrivial-auto-var-init=pattern", "-fno-math-errno", "-fno-asynchronous-unwind-tables",
                "-fsanitize=alignment,bounds", "-fno-sanitize-recover=all", f"-I{DEVICE}"]
HOST_FLAGS = ["-std=c++17", "-O2", "-ftree-vectorize", "-march=native", "-ffp-contract=off", "-Wall", "-fPIC", "-shared"]


def cache_folder() -> Path:
    """Where compiled things are kept: $TGRAPH_EMULATOR_CACHE, or a folder of the user's cache."""
    return Path(os.environ.get("TGRAPH_EMULATOR_CACHE") or platformdirs.user_cache_path("tgraph") / "emulator")


def cuda_headers() -> Path | None:
    """The include folder of a CUDA toolkit."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    if nvcc := shutil.which("nvcc"):
        homes.append(str(Path(nvcc).resolve().parent.parent))
    folders = [Path(home) / "include" for home in homes if home]
    return next((folder for folder in folders if (folder / "cuda.h").exists()), None)


def missing() -> str | None:
    """What this machine lacks for the emulator; None if nothing."""
    if not shutil.which("g++"):
        return "g++"
    if cuda_headers() is None:
        return "the headers of a CUDA toolkit"
    return None


def _contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def _sources(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.cpp"))]


def _machine() -> str:
    version = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
    cpu = Path("/proc/cpuinfo")
    flags = next((line for line in cpu.read_text().splitlines() if line.startswith("flags")), "") if cpu.exists() else ""
    return version + platform.machine() + flags


class Builder:
    """Compiles by content: the same sources, flags and compiler give the same file, made once."""

    def __init__(self) -> None:
        self.folder = cache_folder()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.machine = _machine()

    def get(self, name: str, sources: bytes, command: list[str], text: str = "") -> Path:
        """The file that `command + ["-o", path]` writes.

        `sources`: the contents of the files that it reads; `text`: its standard input. Raises RuntimeError with g++'s words.
        """
        digest = hashlib.sha256(sources + "\0".join([self.machine, *command, text]).encode()).hexdigest()[:24]
        path = self.folder / digest / name
        if path.exists():
            os.utime(path.parent)
            return path
        path.parent.mkdir(exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")  # others may be at it too
        result = subprocess.run([*command, "-o", str(new)], input=text, capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(f"{command[0]}: {result.stderr[:4000]}")
        return new.replace(path)

    def libraries(self) -> tuple[Path, Path]:
        """Stand-ins for libcuda.so.1 and libcudart.so.13."""
        contents = _contents(HOST) + _contents(DEVICE)
        flags = ["g++", *HOST_FLAGS, "-isystem", str(cuda_headers())]
        driver = self.get("libcuda.so.1", contents, [*flags, "-Wl,-soname,libcuda.so.1", *_sources(HOST)])
        runtime = self.get("libcudart.so.13", contents, [
            *flags, "-Wl,-soname,libcudart.so.13", f"-Wl,--version-script={HOST / 'cudart' / 'libcudart.map'}",
            *_sources(HOST / "cudart"), str(driver)])
        return driver, runtime

    def cublaslt(self) -> Path:
        """A stand-in for libcublasLt.so.13."""
        folder, driver = HOST / "cublas", self.libraries()[0]
        return self.get("libcublasLt.so.13", _contents(HOST) + _contents(DEVICE), [
            "g++", *HOST_FLAGS, "-isystem", str(cuda_headers()), "-Wl,-soname,libcublasLt.so.13",
            f"-Wl,--version-script={folder / 'libcublasLt.map'}", *_sources(folder), str(driver)])

    def kernels(self, source: str) -> Path:
        """A shared object of C++ text that sees the device headers, which g++ reads in compiled form."""
        contents = _contents(DEVICE) + (HOST / "emulator.h").read_bytes()
        header = DEVICE / "emulated.h"
        compiled = self.get("emulated.h.gch", contents, ["g++", *KERNEL_FLAGS, "-x", "c++-header", str(header)])
        return self.get("kernels.so", contents, [
            "g++", f"-I{compiled.parent}", *KERNEL_FLAGS, "-include", "emulated.h", "-x", "c++", "-", "-shared", "-nodefaultlibs",
            "-lm", "-lc"], source)

    def prune(self) -> None:
        """Forgets what was not used for a week."""
        for entry in self.folder.iterdir():
            if entry.stat().st_mtime < time.time() - WEEK:
                shutil.rmtree(entry, ignore_errors=True)
