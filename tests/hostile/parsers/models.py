"""ONNX models: their bytes, and the fields of their messages."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import Message

import tgraph as tg
from tests import onnx_models
from tests.hostile.mutate import NUMBERS, TEXTS, mutate_bytes
from tests.hostile.parser import Parser
from tests.hostile.parsers.graphs import programs
from tgraph.formats.onnx.registry import IMPORTERS
from tgraph.ir.errors import TGraphError

LARGEST = 4000  # bytes of a sound model to begin with
_INTS = tuple(n for n in NUMBERS if isinstance(n, int) and -2**63 <= n < 2**63)


@functools.cache
def _models() -> list[bytes]:
    """What tgraph exports of its golden graphs, and small models of ONNX's own suite."""
    found = [onnx_models.encoder().SerializeToString()]
    with tempfile.TemporaryDirectory() as folder:
        for program in programs()[::3]:
            graph = next(iter(program.graphs.values()))
            try:
                tg.export_onnx(graph, Path(folder) / "m.onnx")
            except TGraphError:
                continue
            found.append((Path(folder) / "m.onnx").read_bytes())
    tests = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for file in sorted(tests.rglob("model.onnx"))[::7]:
        found.append(file.read_bytes())
    return [model for model in found if len(model) < LARGEST]


def _read(path: Path) -> object:
    return tg.import_onnx(path).text()


def _change(data: bytes, random: Random) -> bytes:
    """One to three fields of a model changed; bytes now and then."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:
        return mutate_bytes(data, random)
    if random.random() < 0.15:
        return mutate_bytes(data, random)
    for _ in range(random.choice((1, 1, 2, 3))):
        messages = list(_messages(model))
        _change_field(random.choice(messages), messages, random)
    return model.SerializeToString()


def _messages(message: Message) -> Any:
    stack = [message]
    while stack:
        one = stack.pop()
        yield one
        for field, value in one.ListFields():
            if field.message_type is not None:
                stack += list(value) if _repeated(field) else [value]


def _repeated(field: Any) -> bool:
    found = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if found is None else found)


def _change_field(message: Message, others: list[Message], random: Random) -> None:
    """A field of a message: another number, text or name, an element more or less, a part of another message of its kind."""
    fields = [field for field, _ in message.ListFields()]
    if not fields or random.random() < 0.1:
        fields = list(message.DESCRIPTOR.fields)
    field = random.choice(fields)
    if random.random() < 0.1:
        message.ClearField(field.name)
        return
    value = getattr(message, field.name)
    if field.message_type is not None:
        same = [o for o in others if o.DESCRIPTOR is field.message_type]
        if _repeated(field):
            way = random.randrange(3)
            if way == 0 and len(value):
                del value[random.randrange(len(value))]
            elif same:
                value.add().MergeFromString(random.choice(same).SerializeToString())
        elif same:
            value.ParseFromString(random.choice(same).SerializeToString())  # which may be around it, so not CopyFrom
        return
    made = _scalar(field, random, others)
    try:
        if not _repeated(field):
            setattr(message, field.name, made)
        elif len(value) and random.random() < 0.6:
            value[random.randrange(len(value))] = made
        elif len(value) and random.random() < 0.3:
            del value[random.randrange(len(value))]
        else:
            value.extend([made] * random.choice((1, 1, 3)))
    except (TypeError, ValueError):
        return


def _scalar(field: Any, random: Random, others: list[Message]) -> Any:
    kind = field.cpp_type
    if kind in (field.CPPTYPE_INT32, field.CPPTYPE_INT64, field.CPPTYPE_ENUM, field.CPPTYPE_UINT64, field.CPPTYPE_UINT32):
        return random.choice((*_INTS, *range(-3, 24)))
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return random.choice((0.0, 1.0, -1.0, 1e30, float("nan"), float("inf"), 0.5))
    if field.type == field.TYPE_BYTES:
        return random.choice((b"", b"\0" * 8, b"\xff" * 8, random.randbytes(random.choice((4, 8, 2000)))))
    names = [name for node in others if isinstance(node, onnx.NodeProto) for name in (*node.input, *node.output)]
    return random.choice((*TEXTS[:3], "\0", *names, random.choice(list(IMPORTERS))[1], "ai.onnx", "com.microsoft", "B", "x.data",
                          "../x", "location", "offset", "N+1", "2**9", "N//0"))


def _beside(folder: Path) -> None:
    """Data in another file, where a model may say that its elements lie, and data where it may not."""
    np.arange(64, dtype="f").tofile(folder / "x.data")
    (folder.parent / "x").write_bytes(bytes(64))


PARSERS = {"onnx": Parser("x.onnx", _read, _models, _change, prepare=_beside, accepts=False)}
