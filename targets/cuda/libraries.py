"""Where NVIDIA's libraries, headers and tools are: pip packages, a CUDA toolkit, the system's own folders."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

CUDART = "libcudart.so.13"  # the version that TVM's CUDA runtime is linked to
NVRTC = "libnvrtc.so.13"
DRIVER = "libcuda.so.1"
INSTALL = 'pip install "tgraph-compiler[cuda]"'  # the pip packages of the runtime with its headers, and of NVRTC


@functools.cache
def find_library(name: str) -> ctypes.CDLL | None:
    """A shared library, loaded so that later ones that need it take this one; None if it is nowhere, or cannot be loaded."""
    for path in (name, *_places("lib", "lib64", name=name)):
        try:
            return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
    return None


def find_tool(name: str) -> str | None:
    """The path of a program such as nvcc or nvdisasm; None if there is none."""
    return shutil.which(name) or next((str(p) for p in _places("bin", name=name) if os.access(p, os.X_OK)), None)


def include_folder() -> Path | None:
    """A folder of CUDA's headers; None if there is none."""
    return next((path.parent for path in _places("include", name="cuda_fp16.h")), None)


def _places(*folders: str, name: str) -> Iterator[Path]:
    """The existing files of that name in the given folders of each installation."""
    for root in _roots():
        for folder in folders:
            if (root / folder / name).exists():
                yield root / folder / name


@functools.cache
def _roots() -> tuple[Path, ...]:
    """Installations of CUDA: of pip packages, those named in the environment, that of the nvcc on PATH, the usual ones."""
    roots: list[Path] = []
    package = importlib.util.find_spec("nvidia")
    for folder in (package.submodule_search_locations or ()) if package else ():
        roots.append(Path(folder) / "cu13")
    roots += [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    compiler = shutil.which("nvcc")
    if compiler is not None:
        roots.append(Path(compiler).resolve().parents[1])
    local = Path("/usr/local")
    roots += [local / "cuda", *sorted(local.glob("cuda-*"), reverse=True)]
    return tuple(dict.fromkeys(roots))
