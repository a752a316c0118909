"""The backend interface of ONNX (`onnx.backend.base`): models in the onnx package's own terms, compiled and run by tgraph.

    import tgraph.onnx_backend as backend
    rep = backend.prepare(onnx.load("model.onnx"), device="CPU")
    y, = rep.run([x])

The module is a backend itself, as the standard's test runner (`onnx.backend.test.BackendTest`) takes one; `TGraphBackend` is
the class to derive from. Device "CPU" is the target "cpu", "CUDA" the target "cuda", where there is a GPU;
`prepare(..., target="numpy")` runs the reference interpreter instead.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from .formats import import_onnx
from .formats.onnx.node import NeedsInputsError
from .ir.errors import FormatError, InputError, TargetError
from .ir.graph import Graph

REMEMBERED = 16  # executables of a model that is compiled for the elements of some of its inputs
LARGEST = 64  # numbers that such an input may hold if they are floats: what is larger is data


class TGraphRep(BackendRep):  # type: ignore[misc]
    """A model ready to run. What needs the elements of inputs (axes, shapes, pads) is compiled for each of their values, at run
    time, and kept."""

    def __init__(self, model: onnx.ModelProto, options: Mapping[str, Any]):
        self.model: onnx.ModelProto = model
        self.options: dict[str, Any] = dict(options)
        held = {i.name for i in model.graph.initializer}
        self.inputs: list[str] = [i.name for i in model.graph.input if i.name not in held]
        self.outputs: list[str] = [o.name for o in model.graph.output]
        self.constant: list[str] = []  # the inputs that are constants of the graph
        self._compiled: OrderedDict[Any, Any] = OrderedDict()
        self._needed: NeedsInputsError | None = None  # what the next run has to give
        try:
            self._compile({})
        except NeedsInputsError as error:
            self._needed = error

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs, a named tuple of arrays. inputs: a sequence in the model's order, a mapping by name, or one array.

        Raises InputError for inputs that do not fit, FormatError for a model that cannot be imported.
        """
        feeds = self._named(inputs)
        exe = None
        while exe is None:
            try:
                if self._needed is not None:
                    self._more(self._needed, feeds)
                exe = self._compile({name: feeds[name] for name in self.constant})
            except NeedsInputsError as error:
                self._needed = error
        found = exe.run({i.name: feeds[i.name] for i in exe.graph.inputs})
        results: tuple[Any, ...] = namedtupledict("Outputs", self.outputs)(*(found[name] for name in self.outputs))
        return results

    def _named(self, inputs: Any) -> dict[str, np.ndarray]:
        if isinstance(inputs, Mapping):
            feeds = dict(inputs)
        else:
            given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
            if len(given) != len(self.inputs):
                raise InputError(f"{self.model.graph.name or 'the model'} has {len(self.inputs)} inputs "
                                 f"({', '.join(self.inputs)}), got {len(given)}")
            feeds = dict(zip(self.inputs, given))
        unknown = [name for name in feeds if name not in self.inputs]
        if unknown:
            raise InputError(f"{self.model.graph.name or 'the model'} has no input {', '.join(unknown)}; it has "
                             f"{', '.join(self.inputs)}")
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise InputError(f"{self.model.graph.name or 'the model'} has the inputs {', '.join(missing)}, too")
        return {name: np.asarray(value) for name, value in feeds.items()}

    def _more(self, error: NeedsInputsError, feeds: Mapping[str, np.ndarray]) -> None:
        """Take what the error asks for as constants. Raises the error if that is data, which another run has others of."""
        new = [name for name in error.inputs if name not in self.constant]
        if not new or any(feeds[name].dtype.kind not in "iub" and feeds[name].size > LARGEST for name in new):
            raise FormatError(str(error)) from None
        self.constant += new
        self._needed = None

    def _compile(self, constants: Mapping[str, np.ndarray]) -> Any:
        """The executable for these values."""
        import targets

        key = tuple((name, a.dtype.str, a.shape, a.tobytes()) for name, a in constants.items())
        if key in self._compiled:
            self._compiled.move_to_end(key)
            return self._compiled[key]
        graph: Graph = import_onnx(self.model, inputs=constants)
        exe = self._compiled[key] = targets.compile(graph, **self.options)
        if len(self._compiled) > REMEMBERED:
            self._compiled.popitem(last=False)
        return exe


class TGraphBackend(Backend):  # type: ignore[misc]
    """tgraph as a backend of ONNX models. Subclasses may set another target for the device "CPU", and other options of
    `tg.compile`."""

    target: str = "cpu"
    options: Mapping[str, Any] = {}

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether the model can be imported, perhaps with the elements of inputs that only a run knows."""
        try:
            import_onnx(model)
        except NeedsInputsError:
            return True
        except FormatError:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> TGraphRep:
        """Import and compile a model. kwargs: those of `tg.compile`, target= among them.

        Raises FormatError for a model that is not sound or that cannot be imported, TargetError for a device that is not there.
        """
        options = cls._options(device, kwargs)
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError as error:
            raise FormatError(f"the model is not sound: {error}") from None
        return TGraphRep(model, options)

    @classmethod
    def _options(cls, device: str, given: Mapping[str, Any]) -> dict[str, Any]:
        if not cls.supports_device(device):
            raise TargetError(f"device {device!r} is not there; tgraph runs ONNX models on CPU, and on CUDA where there is a GPU")
        return {"target": "cuda" if _kind(device) == DeviceType.CUDA else cls.target, **cls.options, **given}

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Prepare a model and run it once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None,
                 **kwargs: Any) -> tuple[Any, ...]:
        """Run one node. inputs: arrays in its order, or by name; kwargs: opset_version, and those of `prepare`."""
        version = int(kwargs.pop("opset_version", onnx.defs.onnx_opset_version()))  # type: ignore[call-overload]
        names = [name for name in node.input if name]
        arrays = [inputs[name] for name in names] if isinstance(inputs, Mapping) else _sequence(inputs)
        typed = [onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                 for n, a in zip(names, map(np.asarray, arrays))]
        results = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
        opsets = [onnx.helper.make_opsetid("", version)]
        if node.domain:
            opsets.append(onnx.helper.make_opsetid(node.domain, 1))
        model = onnx.helper.make_model(onnx.helper.make_graph([node], node.op_type, typed, results), opset_imports=opsets)
        return TGraphRep(model, cls._options(device, kwargs)).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether "CPU", or "CUDA" with a GPU that can be used."""
        kind = _kind(device)
        if kind != DeviceType.CUDA:
            return kind == DeviceType.CPU
        from targets.cuda.runtime import host_arch

        return cls.target != "numpy" and bool(host_arch())


def _kind(device: str) -> Any:
    try:
        found = Device(device)
    except (AttributeError, ValueError):
        return None
    return found.type if found.device_id == 0 else None


def _sequence(inputs: Any) -> Sequence[Any]:
    return list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]


is_compatible = TGraphBackend.is_compatible
prepare = TGraphBackend.prepare
run_model = TGraphBackend.run_model
run_node = TGraphBackend.run_node
supports_device = TGraphBackend.supports_device
