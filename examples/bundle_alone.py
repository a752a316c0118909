"""Generation from a bundle with TVM's runtime and NumPy alone: nothing of tgraph is imported.

    python examples/bundle_alone.py gpt2.tgc --prompt 11 5 42
    python examples/bundle_alone.py translate.tgc --prompt 0 --source 7 8 9
    python examples/bundle_alone.py both.tgc --prompt 0 --target cpu:x86-64-v3

A bundle is a zip: `0/library.so` has a function for each stage of each graph, `prepared.bin` the weights that they read,
and `manifest.json` says how to call them (docs/extending.md). What tgraph adds is checks: of digests, of feeds, of the CPU.
Of several variants, for different CPUs, tgraph takes the best for this one; here it is the first, or that for --target.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import tempfile
import zipfile

import numpy as np
import tvm


def bytes_of(shape, dtype):
    return int(np.prod(shape, dtype=np.int64)) * tvm.DataType(dtype).itemsize


def zeros(shape, dtype):
    """A tensor of zeros. NumPy does not know all element types, so it begins as bytes."""
    return tvm.runtime.tensor(np.zeros(max(bytes_of(shape, dtype), 1), np.uint8))._create_view(shape, dtype)


def ask_for_tiles():
    """Linux gives a process the tiles (AMX) of an x86-64 when it asks, and stops one that uses them unasked."""
    arch_prctl, req_xcomp_perm, xtiledata = map(ctypes.c_long, (158, 0x1023, 18))
    if ctypes.CDLL(None).syscall(arch_prctl, req_xcomp_perm, xtiledata):
        raise OSError("the bundle is for a CPU with tiles (AMX), which this system does not give to programs")


class Bundle:
    """The graphs of a bundle for a CPU, and the memory of their states."""

    def __init__(self, path, target=None):
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read("manifest.json"))
            targets = [variant["target"] for variant in manifest["variants"]]
            number = targets.index(target or targets[0])
            variant = manifest["variants"][number]
            if "amx-tile" in variant["features"]:
                ask_for_tiles()
            with tempfile.NamedTemporaryFile(suffix=".so") as file:  # the system maps a library from a file
                file.write(archive.read(f"{number}/library.so"))
                file.flush()
                library = tvm.runtime.load_module(file.name)
        self.graphs = {graph["name"]: graph for graph in variant["signatures"]}
        self.machine = tvm.runtime.vm.VirtualMachine(library, tvm.cpu(), memory_cfg="naive")
        start = manifest["entries"]["prepared.bin"]["start"]
        prepared = np.memmap(path, np.uint8, "c")[start:]  # entries and weights begin at multiples of 64 bytes
        self.weights = {}
        for weight in variant["weights"]:
            size = bytes_of(weight["shape"], weight["dtype"])
            raw = tvm.runtime.from_dlpack(prepared[weight["start"]:weight["start"] + size])
            self.weights[weight["name"]] = raw._create_view(weight["shape"], weight["dtype"])
        self.states = {}

    def open(self, **sizes):
        """Make all states zeros whose sizes are known: B rows, room for C tokens."""
        self.states = {}
        for graph in self.graphs.values():
            for tensor in graph["inputs"]:
                if tensor["name"] in graph["states"] and all(d.isdigit() or d in sizes for d in tensor["shape"]):
                    self.states[tensor["name"]] = zeros([int(sizes.get(d, d)) for d in tensor["shape"]], tensor["dtype"])

    def call(self, name, **feeds):
        """Call a graph on NumPy arrays; its states go on from where they are. Returns the other outputs by name."""
        graph = self.graphs[name]
        given = {**self.states, **{feed: tvm.runtime.tensor(np.ascontiguousarray(array)) for feed, array in feeds.items()}}
        sizes = {}
        for tensor in graph["inputs"]:
            sizes.update({d: n for d, n in zip(tensor["shape"], given[tensor["name"]].shape) if d.isidentifier()})

        def size(expression):
            return eval(expression, {"__builtins__": {}}, sizes)  # such as "4*B*T*96"

        # tgraph lets values share memory that are not alive at the same time
        values = [tvm.runtime.empty([size(d) for d in value["shape"]], value["dtype"]) for value in graph["values"]]
        results = {tensor["name"]: given[tensor["name"]] if tensor["name"] in graph["in_place"] else
                   tvm.runtime.empty([size(d) for d in tensor["shape"]], tensor["dtype"]) for tensor in graph["outputs"]}
        status = zeros((1,), "int32")
        for stage in graph["stages"]:
            if stage["calls"]:
                self.machine[stage["name"]](
                    *(given[i] for i in stage["inputs"]), *(self.weights[w] for w in stage["weights"]),
                    *(values[i] for i in stage["places"]), *(results[o] for o in stage["outputs"]),
                    *([status] if stage["status"] else []), *map(size, stage["sizes"]))
            if stage["host"]:
                raise NotImplementedError(f"tgraph's interpreter runs {stage['host']} between two stages of {name}")
        if status.numpy()[0]:
            raise IndexError(f"{name}: an index is outside of its table")
        for copy in graph["copies"]:
            source = {"input": given, "weight": self.weights, "output": results}[copy["of"]][copy["name"]]
            results[copy["output"]].copyfrom(source)
        self.states.update({name: results[name] for name in graph["states"] if name in results})
        return {name: tensor.numpy() for name, tensor in results.items() if name not in graph["states"]}

    def generate(self, prompt, count):
        """The best token each time, so many after a prompt."""
        feed, score = self.graphs["step"]["inputs"][0]["name"], self.graphs["step"]["outputs"][0]["name"]
        found = []
        for _ in range(count):
            scores = self.call("step", **{feed: np.array([found[-1:] or prompt], np.int64)})[score]
            found.append(int(scores.reshape(-1, scores.shape[-1])[-1].argmax()))
        return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="a .tgc with a graph `step`, and perhaps `start`, which reads a source")
    parser.add_argument("--prompt", type=int, nargs="+", required=True, help="the tokens to go on from")
    parser.add_argument("--source", type=int, nargs="+", help="the tokens for `start` to read")
    parser.add_argument("--count", type=int, default=10, help="how many tokens to write (default: 10)")
    parser.add_argument("--target", help="of a bundle for several targets, the one to run (default: the first)")
    options = parser.parse_args()
    bundle = Bundle(options.bundle, options.target)
    bundle.open(B=1, C=len(options.prompt) + options.count)
    if options.source:
        names = [tensor["name"] for tensor in bundle.graphs["start"]["inputs"]]
        arrays = np.array([options.source], np.int64), np.ones((1, len(options.source)), bool)
        bundle.call("start", **dict(zip(names, arrays)))
    print(*bundle.generate(options.prompt, options.count))
