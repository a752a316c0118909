"""The contenders, as a worker sees them: load a model, take feeds, run. Each is used in a process of its own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Job:
    """What every contender is given. `bert` holds config, prefix and head; it is None for a model that only tgraph has."""

    model: str
    folder: str
    threads: int
    level: str
    bert: dict[str, Any] | None
    plugins: tuple[str, ...] = ()
    precision: str = "f32"  # of tgraph alone
    weights: str = "f32"

    def onnx_file(self) -> Path:
        """The model as ONNX, with the same weights; of this worker alone."""
        import onnx

        from tgraph.cli.bench.onnx_bert import bert_onnx

        path = Path(self.folder) / f"{time.monotonic_ns()}.onnx"
        onnx.save(bert_onnx(**self.arguments()), path)
        return path

    def arguments(self) -> dict[str, Any]:
        """What the builders of other runtimes' models take."""
        from tgraph.formats import load_safetensors

        return {**(self.bert or {}), "weights": load_safetensors(Path(self.folder) / "weights.safetensors")}


class Runtime(Protocol):
    """`load` gives a line about version and options, `feed` one about this shape ("" if there is nothing to say)."""

    def load(self, job: Job) -> str: ...

    def feed(self, feeds: Feeds) -> str: ...

    def run(self) -> list[np.ndarray]: ...


class TGraph:
    """This compiler."""

    def load(self, job: Job) -> str:
        import tgraph as tg
        from tgraph.cli.models import load_executable
        from tgraph.cli.user_files import import_file

        for path in job.plugins:
            import_file(Path(path))
        self.exe = load_executable(job.model, level=job.level, threads=job.threads, precision=job.precision,
                                   weights=job.weights)[0]
        return f"{tg.__version__}, {self.exe.target}, level {job.level}, {len(self.exe.kernels.functions)} kernels" + (
            "" if job.precision == job.weights == "f32" else f", products in {job.precision}, weights in {job.weights}")

    def feed(self, feeds: Feeds) -> str:
        self.feeds = [feeds[i.name] for i in self.exe.graph.inputs]
        return ""

    def run(self) -> list[np.ndarray]:
        outputs = self.exe(*self.feeds)
        return list(outputs) if isinstance(outputs, tuple) else [outputs]


class OnnxRuntime:
    """ONNX Runtime at its best: all optimisations, on the graph as exported and as its own BERT optimiser rewrites it.

    The faster of the two is taken for each shape.
    """

    def load(self, job: Job) -> str:
        import onnxruntime

        assert job.bert is not None
        path = job.onnx_file()
        self.sessions = {"exported graph": self._session(path, job.threads)}
        notes = [onnxruntime.__version__]
        try:
            from onnxruntime.transformers import optimizer

            config = job.bert["config"]
            model = optimizer.optimize_model(str(path), model_type="bert", num_heads=config["num_attention_heads"],
                                             hidden_size=config["hidden_size"], opt_level=0)
        except ImportError as error:  # it misses some packages only when it runs
            notes.append(f"its BERT optimiser cannot be used ({error})")
        else:
            fused = Path(job.folder) / f"{path.stem}.fused.onnx"
            model.save_model_to_file(str(fused))
            self.sessions["fused graph"] = self._session(fused, job.threads)
            counts = Counter(n.op_type for n in model.model.graph.node if n.domain == "com.microsoft")
            notes.append("fused " + ", ".join(f"{count} {op}" for op, count in sorted(counts.items())))
        return "; ".join(notes)

    @staticmethod
    def _session(path: Path, threads: int) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def feed(self, feeds: Feeds) -> str:
        self.feeds = {"input_ids": feeds["input_ids"], "attention_mask": feeds["mask"].astype(np.int64)}
        seconds: dict[str, float] = {}
        for name, session in self.sessions.items():
            self.session = session
            self.run()
            seconds[name] = min(_time(self.run) for _ in range(3))
        best = min(seconds, key=lambda name: seconds[name])
        self.session = self.sessions[best]
        return best

    def run(self) -> list[np.ndarray]:
        return list(self.session.run(None, self.feeds))


class Torch:
    """PyTorch, eager."""

    def load(self, job: Job) -> str:
        import torch

        from tgraph.cli.bench.torch_bert import TorchBert

        torch.set_num_threads(job.threads)
        self.model = TorchBert(**job.arguments())
        return f"{torch.__version__}, eager, scaled_dot_product_attention"

    def feed(self, feeds: Feeds) -> str:
        import torch

        self.feeds = [torch.from_numpy(feeds["input_ids"]), torch.from_numpy(feeds["mask"])]
        return ""

    def run(self) -> list[np.ndarray]:
        return [output.numpy() for output in self.model(*self.feeds)]


class OpenVino:
    """OpenVINO, for latency, in f32 as the others."""

    def load(self, job: Job) -> str:
        import openvino

        options = {"INFERENCE_NUM_THREADS": job.threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        self.request = openvino.Core().compile_model(str(job.onnx_file()), "CPU", options).create_infer_request()
        return f"{openvino.__version__}, latency hint, f32"

    def feed(self, feeds: Feeds) -> str:
        self.feeds = {"input_ids": feeds["input_ids"], "attention_mask": feeds["mask"].astype(np.int64)}
        return ""

    def run(self) -> list[np.ndarray]:
        return list(self.request.infer(self.feeds, share_inputs=True, share_outputs=True).to_tuple())


def _time(function: Any) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


RUNTIMES: dict[str, type[Any]] = {"tgraph": TGraph, "onnxruntime": OnnxRuntime, "torch": Torch, "openvino": OpenVino}
