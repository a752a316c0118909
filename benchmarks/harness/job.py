"""What a contender is given to do, in a form that goes through JSON to its process."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tgraph.ir.levels import DEFAULT_LEVEL

WEIGHTS = "model.safetensors"

Feeds = Mapping[str, np.ndarray]


class PeerModel(Protocol):
    """One computation as each of the other runtimes takes it, with the weights and inputs of tgraph's graph.

    `optimizer`: what ONNX Runtime's own optimiser of Transformers is told ("model_type", "num_heads", "hidden_size"); None
    if it knows no such model.
    """

    optimizer: Mapping[str, Any] | None

    def onnx(self) -> dict[str, Any]:
        """An onnx.ModelProto by the name of its variant; ONNX Runtime takes the fastest, OpenVINO the first."""

    def onnx_feeds(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """tgraph's inputs as those of the ONNX model."""

    def openvino(self) -> Any:
        """An openvino.Model where that is better than the first ONNX model; else None."""

    def torch(self, precision: str) -> Any:
        """A function of tensors, in the order of `torch_feeds`, that returns a tuple of tensors."""

    def torch_feeds(self, feeds: Feeds) -> list[np.ndarray]:
        """tgraph's inputs as the arguments of that function."""


@runtime_checkable
class EncoderModel(PeerModel, Protocol):
    """A PeerModel that is an encoder of tokens, which Hugging Face's transformers has, too."""

    def transformers(self, folder: Path) -> None:
        """Write it into a new folder, as `save_pretrained` does."""

    def rows(self, feeds: Feeds) -> list[list[int]]:
        """tgraph's inputs as the real tokens of each row."""

    def outputs(self, hidden: np.ndarray, pooled: np.ndarray, rows: list[list[int]]) -> list[np.ndarray]:
        """tgraph's outputs, of the last layer's states [B, S, H] and the pooled first ones."""


@dataclass(frozen=True)
class Job:
    """model: what tgraph compiles, FILE or MODEL. folder: for files of this comparison; the peers' weights lie there.

    peer: class ("package.module:Class") and arguments of the PeerModel; None for a model that only tgraph has. precision,
    weights and tolerance: as `tg.compile` takes them; the peers do what comes nearest to `precision`, or refuse.
    """

    model: str
    folder: str
    threads: int
    level: str = DEFAULT_LEVEL
    peer: dict[str, Any] | None = None
    plugins: tuple[str, ...] = ()
    passes: str | None = None
    precision: str = "f32"
    weights: str = "f32"
    tolerance: float | None = None

    def peer_model(self) -> PeerModel:
        """The computation, for another runtime."""
        from tgraph.formats import load_safetensors

        assert self.peer is not None
        module, _, name = self.peer["class"].partition(":")
        weights = load_safetensors(Path(self.folder) / WEIGHTS)
        made: PeerModel = getattr(importlib.import_module(module), name)(weights=weights, **self.peer["arguments"])
        return made
