"""The contenders, as a worker sees them: load a model, take feeds, run. Each is used in a process of its own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.harness.job import EncoderModel, Feeds, Job
from benchmarks.harness.onnx_int8 import compress_weights
from tgraph.ir.errors import TGraphError

Run = Callable[[Any], list[np.ndarray]]


class UnsupportedError(TGraphError):
    """A runtime does not do what a job asks for."""


class Runtime(Protocol):
    """`module` is imported before `load` is timed. `load` gives a line about version and options.

    `variants`: ways to run the model, of which the fastest counts; they take what `take` makes of the feeds. `created`: the
    seconds that the runtime itself needed to make the model ready, without building it for this comparison.
    """

    module: str
    variants: Mapping[str, Run]
    created: float

    def load(self, job: Job) -> str: ...

    def take(self, feeds: Feeds) -> Any: ...


class TGraph:
    """This compiler."""

    module = "targets.base.tvm_api"

    def load(self, job: Job) -> str:
        import tgraph as tg
        from tgraph.cli.models import is_bundle, load_bundle, load_graph, only_executable
        from tgraph.cli.options import set_threads
        from tgraph.cli.user_files import import_file

        for path in job.plugins:
            import_file(Path(path))
        set_threads(job.threads)
        graph = None if is_bundle(job.model) else load_graph(job.model)
        with timing(self):
            self.exe = only_executable(load_bundle(job.model), job.model) if graph is None else tg.compile(
                graph, level=job.level, passes=job.passes, precision=job.precision, weights=job.weights,
                tolerance=job.tolerance)
        self.variants = {"": self._run}
        how = f"level {job.level}" if job.passes is None else job.passes
        return f"{tg.__version__}, {self.exe.target}, {how}, {len(self.exe.kernels.functions)} kernels" + (
            f", {self.exe.choice}" if self.exe.choice else
            "" if job.precision == job.weights == "f32" else f", products in {job.precision}, weights in {job.weights}")

    def take(self, feeds: Feeds) -> list[np.ndarray]:
        return [feeds[i.name] for i in self.exe.graph.inputs]

    def _run(self, feeds: list[np.ndarray]) -> list[np.ndarray]:
        outputs = self.exe(*feeds)
        return list(outputs) if isinstance(outputs, tuple) else [outputs]


class OnnxRuntime:
    """ONNX Runtime with all optimisations, on the graph as exported and as its own optimiser of Transformers rewrites it.

    i8: its dynamic quantisation of both.
    """

    module = "onnxruntime"

    def load(self, job: Job) -> str:
        import onnxruntime

        if job.precision not in ("f32", "i8"):
            raise UnsupportedError(f"ONNX Runtime has no {job.precision} on CPUs")
        model = job.peer_model()
        files = {name: save_onnx(made, job) for name, made in model.onnx().items()}
        notes = [onnxruntime.__version__]
        if model.optimizer is not None:
            try:
                files["fused graph"], counts = _fused(next(iter(files.values())), model.optimizer)
            except ImportError as error:  # it misses some packages only when it runs
                notes.append(f"its optimiser of Transformers cannot be used ({error})")
            else:
                notes.append(counts)
        if job.precision == "i8":
            files = {name: _quantized(file) for name, file in files.items()}
            notes.append("dynamic quantisation to 8 bits")
        self.model, self.created = model, float("inf")
        self.variants = {name: self._session(file, job.threads) for name, file in files.items()}
        return "; ".join(notes)

    def _session(self, path: Path, threads: int) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        start = time.perf_counter()
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.created = min(self.created, time.perf_counter() - start)
        return lambda feeds: list(session.run(None, feeds))

    def take(self, feeds: Feeds) -> dict[str, np.ndarray]:
        return self.model.onnx_feeds(feeds)


class OpenVino:
    """OpenVINO for latency; in f32, which it has to be asked for, in bf16, or with weights of 8 bits."""

    module = "openvino"

    def load(self, job: Job) -> str:
        import openvino

        core = openvino.Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if job.precision not in ("f32", "i8") and job.precision.upper() not in able:
            raise UnsupportedError(f"OpenVINO has no {job.precision} on this CPU; it has {', '.join(able)}")
        self.model = job.peer_model()
        made = self.model.openvino()
        if made is None or job.precision == "i8":
            standard = next(iter(self.model.onnx().values()))
            made = str(save_onnx(compress_weights(standard) if job.precision == "i8" else standard, job))
        options = {"INFERENCE_NUM_THREADS": job.threads, "PERFORMANCE_HINT": "LATENCY",
                   "INFERENCE_PRECISION_HINT": "f32" if job.precision == "i8" else job.precision}
        with timing(self):
            request = core.compile_model(made, "CPU", options).create_infer_request()
        self.variants = {"": lambda feeds: list(request.infer(feeds, share_inputs=True, share_outputs=True).to_tuple())}
        return f"{openvino.__version__}, latency hint, {job.precision}"

    def take(self, feeds: Feeds) -> dict[str, np.ndarray]:
        return self.model.onnx_feeds(feeds)


class Torch:
    """PyTorch, eager, in inference mode."""

    module = "torch"
    mode = "eager"

    def load(self, job: Job) -> str:
        import torch

        torch.set_num_threads(job.threads)
        self.model = job.peer_model()
        with timing(self):
            function = self.compiled(self.model.torch(job.precision))

        def run(feeds: list[Any]) -> list[np.ndarray]:
            with torch.inference_mode():
                return [output.numpy() for output in function(*feeds)]

        self.variants = {"": run}
        return f"{torch.__version__}, {self.mode}, {job.precision}"

    def compiled(self, function: Any) -> Any:
        """What is called in the place of the model's function."""
        return function

    def take(self, feeds: Feeds) -> list[Any]:
        import torch

        return [torch.from_numpy(array) for array in self.model.torch_feeds(feeds)]


class TorchCompile(Torch):
    """torch.compile as it comes, which compiles anew for the second shape, for all that follow.

    Its mode max-autotune with frozen weights was tried on BERT: 32 ms for 30 at (1, 128) in 2 layers, 1,140 for 610 at
    (8, 128) in 6, on a Zen 3; `torch.max-autotune` is there to try it elsewhere.
    """

    module = "torch._dynamo"
    mode = "torch.compile"
    options: dict[str, Any] = {}

    def compiled(self, function: Any) -> Any:
        import torch

        return torch.compile(function, **self.options)


class TorchMaxAutotune(TorchCompile):
    """torch.compile with measured templates of products; the weights are frozen, without which it has none on CPUs."""

    mode = "torch.compile, max-autotune, freezing"
    options = {"mode": "max-autotune"}

    def compiled(self, function: Any) -> Any:
        import torch._inductor.config

        torch._inductor.config.freezing = True
        return super().compiled(function)


class CTranslate2:
    """CTranslate2's encoder, which computes no padding: it takes each row's real tokens. i8: weights and products in 8 bits."""

    module = "ctranslate2"

    def load(self, job: Job) -> str:
        import ctranslate2

        if job.precision not in ("f32", "i8"):
            raise UnsupportedError(f"CTranslate2 is compared in f32 and i8, not in {job.precision}")
        model = job.peer_model()
        if not isinstance(model, EncoderModel):
            raise UnsupportedError("CTranslate2 has no such model")
        source, kind = Path(job.folder) / f"ctranslate2-{job.precision}", {"f32": "float32", "i8": "int8"}[job.precision]
        place = source / "converted"
        model.transformers(source)
        ctranslate2.converters.TransformersConverter(str(source)).convert(str(place), quantization=kind)
        with timing(self):
            encoder = ctranslate2.Encoder(str(place), compute_type=kind, intra_threads=job.threads, inter_threads=1)

        def run(rows: list[list[int]]) -> list[np.ndarray]:
            found = encoder.forward_batch(rows)
            return model.outputs(np.array(found.last_hidden_state), np.array(found.pooler_output), rows)

        self.model, self.variants = model, {"": run}
        return f"{ctranslate2.__version__}, encoder, {encoder.compute_type}"

    def take(self, feeds: Feeds) -> list[list[int]]:
        return self.model.rows(feeds)


@contextmanager
def timing(runtime: Any) -> Iterator[None]:
    """Notes how long the body takes as `created`."""
    start = time.perf_counter()
    yield
    runtime.created = time.perf_counter() - start


def save_onnx(model: Any, job: Job) -> Path:
    """A file of this worker alone."""
    import onnx

    path = Path(job.folder) / f"{time.monotonic_ns()}.onnx"
    onnx.save(model, path)
    return path


def _fused(path: Path, options: Mapping[str, Any]) -> tuple[Path, str]:
    """What ONNX Runtime's optimiser makes of a file, and which of its ops it then holds."""
    from onnxruntime.transformers import optimizer

    model = optimizer.optimize_model(str(path), opt_level=0, **options)
    fused = path.with_suffix(".fused.onnx")
    model.save_model_to_file(str(fused))
    counts = Counter(n.op_type for n in model.model.graph.node if n.domain == "com.microsoft")
    return fused, "fused " + ", ".join(f"{count} {op}" for op, count in sorted(counts.items()))


def _quantized(path: Path) -> Path:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    made = path.with_suffix(".i8.onnx")
    quantize_dynamic(path, made, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    return made


RUNTIMES: dict[str, type[Any]] = {"tgraph": TGraph, "onnxruntime": OnnxRuntime, "openvino": OpenVino, "torch": Torch,
                                  "torch.compile": TorchCompile, "torch.max-autotune": TorchMaxAutotune,
                                  "ctranslate2": CTranslate2}
