"""Files of ONNX: external data, order and names of nodes, damaged and hostile files."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx_models import F32, I64, encoder, expected, model, node

import tgraph as tg
from tests.counted_calls import calls
from tgraph.formats import import_onnx
from tgraph.ir.errors import FormatError
from tgraph.reference.interpreter import Interpreter

ROOT = Path(__file__).resolve().parents[3]
IDS = {"ids": np.array([[1, 2, 3], [4, 5, 6]]), "mask": np.array([[1, 1, 1], [1, 1, 0]])}
TABLE = np.arange(1200, dtype=np.float32).reshape(300, 4)


def lookup() -> ModelProto:
    return model([node("Gather", "table ids", "y")], {"ids": (I64, ["B"])}, {"y": (F32, ["B", 4])}, {"table": TABLE})


def first_rows(graph: tg.Graph) -> np.ndarray:
    return Interpreter(graph, faithful=True).run({"ids": np.arange(3)})["y"]


def external(location: str, offset: int = 0, length: int | None = None) -> ModelProto:
    """The model with its table in another file."""
    made = lookup()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)),
                       ("length", str(TABLE.nbytes if length is None else length))):
        tensor.external_data.add(key=key, value=value)
    return made


def written(path: Path, made: ModelProto) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


# What comes in

def test_path_bytes_and_message(tmp_path: Path) -> None:
    made = encoder()
    path = written(tmp_path / "m.onnx", made)
    graphs = [import_onnx(path), import_onnx(str(path)), import_onnx(path.read_bytes()), import_onnx(made), tg.read(path)]
    wanted = expected(made, IDS)[0]
    for graph in graphs:
        assert str(graph) == str(graphs[0])
        np.testing.assert_allclose(Interpreter(graph, faithful=True).run(IDS)["x1"], wanted, rtol=1e-5, atol=1e-6)
    assert np.array_equal(graphs[0].weights["q0"], graphs[2].weights["q0"])


def test_weights_are_mapped(tmp_path: Path) -> None:
    graph = import_onnx(written(tmp_path / "m.onnx", lookup()))
    table = graph.weights["table"]
    assert not table.flags.owndata and not table.flags.writeable and np.array_equal(table, TABLE)


def test_nodes_out_of_order() -> None:
    made = encoder()
    wanted = expected(made, IDS)[0]
    shuffled = [made.graph.node[i] for i in np.random.default_rng(0).permutation(len(made.graph.node))]
    copies = [type(n).FromString(n.SerializeToString()) for n in shuffled]
    made.graph.ClearField("node")
    made.graph.node.extend(copies)
    np.testing.assert_allclose(Interpreter(import_onnx(made), faithful=True).run(IDS)["x1"], wanted, rtol=1e-5, atol=1e-6)


def test_unused_inputs_stay() -> None:
    made = model([node("Relu", "x", "y")], {"x": (F32, ["B"]), "token_type_ids": (I64, ["B", "S"])}, {"y": (F32, ["B"])},
                 {"unread": TABLE})
    graph = import_onnx(made)
    assert [i.name for i in graph.inputs] == ["x", "token_type_ids"]
    assert tg.compile(graph, target="numpy")(np.array([-1, 2], np.float32), np.zeros((2, 1), np.int64)).tolist() == [0, 2]


def test_initialisers_that_are_inputs_too() -> None:
    """As files before IR version 4 have them: they are no inputs of the graph."""
    made = lookup()
    made.graph.input.append(helper.make_tensor_value_info("table", F32, [300, 4]))
    assert [i.name for i in import_onnx(made).inputs] == ["ids"]


def test_unnamed_nodes_and_odd_names() -> None:
    made = model([helper.make_node("Relu", ["a/b.c:0"], ["//"]), helper.make_node("Neg", ["//"], ["42"])],
                 {"a/b.c:0": (F32, ["batch size", "?", None])}, {"42": (F32, None)})
    graph = import_onnx(made)
    assert tg.parse(str(graph)) == graph
    given = np.ones((2, 3, 4), np.float32)
    assert np.array_equal(tg.compile(graph, target="numpy")(given), -given)


# External data

def test_external_data_beside_and_beneath(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for location in ("weights.bin", "data/weights.bin", "./data/../weights.bin"):
        (tmp_path / location).write_bytes(b"1234" + TABLE.tobytes())
        graph = import_onnx(written(tmp_path / "m.onnx", external(location, 4)))
        assert np.array_equal(first_rows(graph), TABLE[:3])


def test_external_data_of_the_onnx_package(tmp_path: Path) -> None:
    onnx.save(lookup(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert np.array_equal(first_rows(import_onnx(tmp_path / "m.onnx")), TABLE[:3])


def test_external_data_outside(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(TABLE.tobytes())
    (inside / "link.bin").symlink_to(secret)
    (inside / "folder").symlink_to(tmp_path)
    for location in ("../secret.bin", str(secret), "link.bin", "folder/secret.bin", "..", ""):
        with pytest.raises(FormatError, match=r"table.*outside of the model's folder"):
            import_onnx(written(inside / "m.onnx", external(location)))


@pytest.mark.parametrize(("offset", "length", "words"), [
    (8, None, "bytes 8 to 4808"), (-4, None, "bytes -4"), (0, 4796, "4796 bytes"), (0, 2**40, "which has 4800"),
    (0, -1, "bytes 0 to -1")])
def test_external_data_too_short(tmp_path: Path, offset: int, length: int | None, words: str) -> None:
    (tmp_path / "w.bin").write_bytes(TABLE.tobytes())
    with pytest.raises(FormatError, match=words):
        import_onnx(written(tmp_path / "m.onnx", external("w.bin", offset, length)))


def test_external_data_missing(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"w\.bin"):
        import_onnx(written(tmp_path / "m.onnx", external("w.bin")))
    with pytest.raises(FormatError, match="give the model's path"):
        import_onnx(external("w.bin").SerializeToString())


def test_external_data_of_an_attribute() -> None:
    made = model([node("Constant", "", "c", value=external("w.bin").graph.initializer[0]), node("Gather", "c ids", "y")],
                 {"ids": (I64, ["B"])}, {"y": (F32, ["B", 4])})
    with pytest.raises(FormatError, match="convert_attribute=False"):
        import_onnx(made)


# What is no model

def test_names_that_repeat() -> None:
    made = lookup()
    made.graph.initializer.append(made.graph.initializer[0])
    with pytest.raises(FormatError, match="two initialisers named 'table'"):
        import_onnx(made)
    twice = model([node("Relu", "x", "y"), node("Neg", "x", "y")], {"x": (F32, ["B"])}, {"y": (F32, ["B"])})
    with pytest.raises(FormatError, match="'y', which something else gives"):
        import_onnx(twice)
    over = model([node("Relu", "x", "x")], {"x": (F32, ["B"])}, {"x": (F32, ["B"])})
    with pytest.raises(FormatError, match="'x', which something else gives"):
        import_onnx(over)
    inputs = model([node("Relu", "x", "y")], {"x": (F32, ["B"])}, {"y": (F32, ["B"])})
    inputs.graph.input.append(inputs.graph.input[0])
    with pytest.raises(FormatError, match="two inputs named 'x'"):
        import_onnx(inputs)


def test_names_that_are_no_text() -> None:
    data = model([node("Relu", "x", "y")], {"x": (F32, ["B"])}, {"y": (F32, ["B"])}).SerializeToString()
    with pytest.raises(FormatError, match="UTF-8"):
        import_onnx(data.replace(b"Relu_y", b"Relu\xff\xfe"))


def test_names_that_nothing_gives() -> None:
    with pytest.raises(FormatError, match="reads 'z', which nothing gives"):
        import_onnx(model([node("Relu", "z", "y")], {"x": (F32, ["B"])}, {"y": (F32, ["B"])}))
    with pytest.raises(FormatError, match="'z'"):
        import_onnx(model([node("Relu", "x", "y")], {"x": (F32, ["B"])}, {"z": (F32, ["B"])}))
    with pytest.raises(FormatError, match="reads its own result"):
        import_onnx(model([node("Add", "x b", "a"), node("Relu", "a", "b")], {"x": (F32, ["B"])}, {"b": (F32, ["B"])}))


def test_cut_off_files(tmp_path: Path) -> None:
    whole = encoder().SerializeToString()
    for size in [*range(0, 200, 7), *range(200, len(whole), len(whole) // 60)]:
        path = tmp_path / "cut.onnx"
        path.write_bytes(whole[:size])
        with pytest.raises(tg.TGraphError):
            import_onnx(path)
    with pytest.raises(FormatError, match=r"model\.txt is no ONNX model"):
        (tmp_path / "model.txt").write_text("This is not a model, but a sentence.")
        import_onnx(tmp_path / "model.txt")
    with pytest.raises(FileNotFoundError):
        import_onnx(tmp_path / "none.onnx")


MUTATIONS = """
import random, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
sys.path[:0] = [{tests!r}]
from onnx_models import encoder
from tgraph.formats import import_onnx
from tgraph.ir.errors import TGraphError

def mutated(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data))
        kind = rng.randrange(5)
        if kind == 0: data[at] ^= 1 << rng.randrange(8)
        elif kind == 1: data[at] = rng.choice((0, 1, 0x7f, 0x80, 0xff))
        elif kind == 2: del data[at:at + rng.randrange(1, 9)]
        elif kind == 3: data[at:at] = data[at:at + rng.randrange(1, 40)]
        else: data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 5)))
    return bytes(data)

models = [encoder(1, legacy_mask=legacy).SerializeToString() for legacy in (True, False)]
known, slowest = 0, 0.0
for seed in range({count}):
    rng = random.Random(seed)
    data = mutated(models[seed % 2], rng)
    start = time.perf_counter()
    try:
        import_onnx(data)
        known += 1
    except TGraphError:
        pass
    except BaseException as error:
        raise SystemExit(f"seed {{seed}}: {{type(error).__name__}}: {{error}}") from error
    slowest = max(slowest, time.perf_counter() - start)
# (of this program alone: getrusage counts what the process was before it became this one)
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
print(f"{{known}} imported, slowest {{slowest:.2f}} s, peak {{peak:.0f}} MB")
sys.exit(0 if slowest < 5 and peak < 1500 and 0 < known < {count} else "too slow, too large, or all alike")
"""


def test_mutated_files() -> None:
    """2,000 damaged files: an error or a graph, no crash, no hang, no blow-up of memory."""
    script = MUTATIONS.format(tests=str(ROOT / "tests"), count=2000)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"})
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


# Cost

def test_work_is_linear_in_nodes() -> None:
    def work(layers: int) -> int:
        data = encoder(layers).SerializeToString()
        return calls(lambda: import_onnx(data))

    work(2)
    assert work(100) < 5.5 * work(20)  # five times the nodes


def test_memory_is_that_of_the_weights(tmp_path: Path) -> None:
    """Weights are mapped from the file: reading them costs no second copy."""
    size = 2**26
    made = model([node("Gather", "table ids", "y")], {"ids": (I64, ["B"])}, {"y": (F32, ["B", 1024])},
                 {"table": np.ones((size // 4096, 1024), np.float32)})
    path = written(tmp_path / "m.onnx", made)
    script = textwrap.dedent(f"""
        import onnx
        from tgraph.formats import import_onnx
        import tgraph.formats.onnx.importer

        def peak():  # of this program alone, in kB: getrusage counts what the process was before it became this one
            return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

        before = peak()
        graph = import_onnx({str(path)!r})
        print(peak() - before)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"})
    assert int(done.stdout) * 1024 < 1.3 * size
