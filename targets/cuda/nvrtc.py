"""NVIDIA's compiler as a library: no host compiler, no process of its own."""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from pathlib import Path

from targets.base.cores import default_threads

# What TVM's source asks of NVIDIA's C++ library. Reading that itself takes NVRTC 2 s, and a package of headers.
HEADERS = {"cuda/std/cstdint": """
namespace cuda { namespace std {
using int8_t = signed char; using int16_t = short; using int32_t = int; using int64_t = long;
using uint8_t = unsigned char; using uint16_t = unsigned short; using uint32_t = unsigned; using uint64_t = unsigned long;
} }
""", "cuda/std/type_traits": """
namespace cuda { namespace std {
template <class T, class U> struct is_same { static constexpr bool value = false; };
template <class T> struct is_same<T, T> { static constexpr bool value = true; };
template <class T, class U> constexpr bool is_same_v = is_same<T, U>::value;
template <bool, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { using type = T; };
template <bool, class T, class U> struct conditional { using type = T; };
template <class T, class U> struct conditional<false, T, U> { using type = U; };
template <class T> struct is_integral;
template <class T> struct is_signed;
template <class T> struct is_unsigned;
template <class T> struct is_floating_point;
} }
"""}


class Rejected(Exception):
    """A compiler's messages about source that it did not compile."""


class Nvrtc:
    """NVRTC. `library`: loaded; `include`: the folder of CUDA's headers."""

    def __init__(self, library: ctypes.CDLL, include: Path):
        self.library = library
        major, minor = ctypes.c_int(), ctypes.c_int()
        library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.name = f"NVRTC {major.value}.{minor.value}"
        self.options = ["--std=c++17", "-w", "--ptxas-options=-v", f"--split-compile={default_threads()}",
                        f"-I{include}"]

    def cubin(self, source: str, arch: str) -> tuple[bytes, str]:
        return self._run(source, arch, "CUBIN")

    def ptx(self, source: str, arch: str) -> str:
        return self._run(source, arch, "PTX")[0].rstrip(b"\0").decode()

    def _run(self, source: str, arch: str, form: str) -> tuple[bytes, str]:
        library, program = self.library, ctypes.c_void_p()
        options = [f"--gpu-architecture={arch}", *self.options]
        headers, names = (_strings(words) for words in (HEADERS.values(), HEADERS))
        error = library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", len(HEADERS), headers, names)
        try:
            error = error or library.nvrtcCompileProgram(program, len(options), _strings(options))
            log = self._read(program, "ProgramLog").rstrip(b"\0").decode()
            if error:
                library.nvrtcGetErrorString.restype = ctypes.c_char_p
                raise Rejected(log or library.nvrtcGetErrorString(error).decode())
            return self._read(program, form), log
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        content = ctypes.create_string_buffer(size.value)
        getattr(self.library, f"nvrtcGet{what}")(program, content)
        return content.raw


def _strings(words: Collection[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * len(words))(*(word.encode() for word in words))
