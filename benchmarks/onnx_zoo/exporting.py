"""Exporting the zoo with PyTorch: a model, the arrays that go in and what PyTorch computes of them, for each case."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tgraph.formats.onnx.from_torch import reason

from .models import ENTRIES, Entry
from .others import OTHERS

EXPORTERS = [("legacy", 14), ("legacy", 17), ("dynamo", 18), ("dynamo", 20), ("dynamo", 23)]
SIZES = ((2, 7), (3, 12))  # batch and length: as exported, and others


@dataclass(frozen=True)
class Case:
    """One way to export a model."""

    entry: Entry
    exporter: str
    opset: int
    attention: str

    @property
    def name(self) -> str:
        return f"{self.entry.name}-{self.exporter}{self.opset}-{self.attention}"


def cases() -> Iterator[Case]:
    for entry in (*ENTRIES, *OTHERS):
        for exporter, opset in EXPORTERS:
            for attention in entry.implementations:
                yield Case(entry, exporter, opset, attention)


def export(case: Case, folder: Path) -> str:
    """Write a case's files, NAME.onnx and NAME.npz. The reason if the exporter refuses, else an empty text."""
    torch.set_num_threads(1)
    module = case.entry.module(case.attention)
    feeds = [case.entry.feeds(*size) for size in SIZES]
    path = folder / f"{case.name}.onnx"
    try:
        with torch.no_grad(), warnings.catch_warnings(), _silent():
            warnings.simplefilter("ignore")
            results = [_tensors(module(*given.values())) for given in feeds]
            _export(case, module, feeds[0], path)
        refused = _refused(path, feeds)
    except Exception as error:  # of the exporter, for whatever it cannot do
        refused = reason(error)
    if refused:
        path.unlink(missing_ok=True)
        return refused[:200]
    arrays = {f"{i}.in.{name}": t.numpy() for i, given in enumerate(feeds) for name, t in given.items()}
    arrays.update({f"most.{name}": np.asarray(n) for name, n in case.entry.most.items()})
    arrays.update({f"{i}.out.{j}": t.numpy() for i, found in enumerate(results) for j, t in enumerate(found)})
    np.savez(folder / f"{case.name}.npz", **arrays)
    return ""


def _export(case: Case, module: torch.nn.Module, feeds: dict[str, torch.Tensor], path: Path) -> None:
    names, dynamic = list(feeds), case.entry.dynamic
    if case.exporter == "legacy":
        torch.onnx.export(module, tuple(feeds.values()), str(path), dynamo=False, opset_version=case.opset, input_names=names,
                          dynamic_axes={name: dict(axes) for name, axes in dynamic.items()})
        return
    known: dict[str, Any] = {}
    shapes = tuple({axis: known.setdefault(size, torch.export.Dim(size)) if size != "total" else torch.export.Dim.DYNAMIC
                    for axis, size in dynamic[name].items()} for name in names)
    torch.onnx.export(module, tuple(feeds.values()), str(path), dynamo=True, opset_version=case.opset, input_names=names,
                      dynamic_shapes=(shapes,), external_data=False, verbose=False)


def _refused(path: Path, feeds: list[dict[str, torch.Tensor]]) -> str:
    """Why ONNX Runtime does not run what an exporter wrote, where it is installed: PyTorch's older one errs at times."""
    try:
        import onnxruntime
    except ImportError:
        return ""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for given in feeds:
            session.run(None, {i.name: given[i.name].numpy() for i in session.get_inputs()})
    except Exception as error:  # of the package's own classes
        return f"the model is wrong, as ONNX Runtime says: {str(error).splitlines()[0]}"
    return ""


def _tensors(found: Any) -> list[torch.Tensor]:
    return [found] if isinstance(found, torch.Tensor) else list(found)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
