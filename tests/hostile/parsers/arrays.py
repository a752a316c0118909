"""Files of weights: safetensors, and checkpoints of PyTorch in both forms."""

from __future__ import annotations

import io
import pickletools
import struct
import zipfile
from pathlib import Path
from random import Random

import numpy as np

from tests.hostile.mutate import mutate_bytes, mutate_json
from tests.hostile.parser import Parser
from tgraph.formats.safetensors import load_safetensors, tensor_parts
from tgraph.formats.torch_checkpoint import load_torch_checkpoint

SAMPLES = Path(__file__).parents[2] / "formats" / "torch"


def _read_safetensors(path: Path) -> object:
    found = load_safetensors(path)
    return {name: (found[name].shape, found[name].tobytes()) for name in found}


def _safetensors() -> list[bytes]:
    tensors = {"a": np.arange(6, dtype="f").reshape(2, 3), "b": np.zeros((0, 3), "i8"), "c": np.array(True),
               "d": np.zeros(5, "f2")}
    return [b"".join(p.tobytes() for p in tensor_parts("x", found, metadata))
            for found, metadata in (({}, None), (tensors, {"format": "pt"}), ({"a": tensors["a"]}, None))]


def _change_header(data: bytes, random: Random) -> bytes:
    """The header as JSON, its length made right again."""
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if random.random() < 0.3 or not 0 < length <= len(data) - 8:
        return mutate_bytes(data, random)
    header = mutate_json(data[8:8 + length], random)
    return struct.pack("<Q", len(header)) + header + data[8 + length:]


def _read_torch(path: Path) -> object:
    return {name: (array.shape, array.dtype) for name, array in load_torch_checkpoint(path).items()}


def _torch_files() -> list[bytes]:
    return [(SAMPLES / name).read_bytes() for name in ("module.bin", "zip.bin", "legacy.bin")]


def _pickles() -> list[bytes]:
    found = []
    for name in ("module.bin", "zip.bin", "nested.bin", "whole_module.bin"):
        with zipfile.ZipFile(SAMPLES / name) as archive:
            found += [archive.read(n) for n in archive.namelist() if n.endswith("data.pkl")]
    return found


def _write_zip(path: Path, data: bytes) -> None:
    """A checkpoint whose pickle is the input, with twenty storages."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("m/data.pkl", data)
        archive.writestr("m/byteorder", "little")
        for key in range(20):
            archive.writestr(f"m/data/{key}", bytes(range(96)))
    path.write_bytes(file.getvalue())


_NAMES = ("collections\nOrderedDict", "torch._utils\n_rebuild_tensor_v2", "torch._utils\n_rebuild_parameter",
          "torch\nFloatStorage", "torch\nBoolStorage", "builtins\neval", "os\nsystem", "torch\nload", "builtins\ngetattr",
          "numpy\ndtype", "torch.storage\nUntypedStorage", "torch\nfloat32")
_OPS = [op.code.encode("latin-1") for op in pickletools.opcodes]


def _change_pickle(data: bytes, random: Random) -> bytes:
    """Operations of a pickle left out, repeated, exchanged, put in."""
    if random.random() < 0.2:
        return mutate_bytes(data, random)
    try:
        starts = [at for _, _, at in pickletools.genops(data)]
    except Exception:
        return mutate_bytes(data, random)
    parts = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)])]
    for _ in range(random.choice((1, 1, 2, 4))):
        at, other = (random.randrange(len(parts)) for _ in range(2))
        way = random.randrange(6)
        if way == 0 and len(parts) > 1:
            del parts[at]
        elif way == 1:
            parts[at:at] = parts[other:other + random.choice((1, 3, 8))]
        elif way == 2:
            parts[at] = parts[other]
        elif way == 3:
            parts[at:at] = [random.choice(_OPS)]
        elif way == 4:
            parts[at:at] = [b"c" + random.choice(_NAMES).encode() + b"\n"]
        else:
            number = random.choice((0, 1, -1, 2**31 - 1, -2**31))
            parts[at:at] = [random.choice((b"J" + struct.pack("<i", number), b"r" + struct.pack("<I", number & 0xFFFFFFFF),
                                           b"\x8a\x08" + struct.pack("<q", 2**62), b"}", b")", b"(", b"R", b"b", b"s", b"Q", b"t",
                                           b"\x85" * random.choice((1, 3000)), b"K\x01", b"N"))]
    return b"".join(parts)


PARSERS = {
    "safetensors": Parser("x.safetensors", _read_safetensors, _safetensors, _change_header),
    "torch": Parser("x.bin", _read_torch, _torch_files),
    "torch-pickle": Parser("x.bin", _read_torch, _pickles, _change_pickle, _write_zip, accepts=False),
}
