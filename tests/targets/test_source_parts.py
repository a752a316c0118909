"""What a scope or a node of a model is at each level: parts of graphs, and the functions of its kernels."""

from __future__ import annotations

import re

import pytest

import tgraph as tg
from targets.base.listing import FORMS, excerpt, functions_in
from tgraph import nn
from tgraph.ir.errors import GraphError, TargetError

SCOPE = "layer.0"
KERNELS = ("kernel_linear_add", "kernel_layer_norm")  # of that scope; kernel_linear is another's


class Block(nn.Module):
    def __init__(self) -> None:
        self.dense, self.norm = nn.Linear(16, 16), nn.LayerNorm(16)

    def __call__(self, x):  # type: ignore[no-untyped-def]
        return self.norm(x + self.dense(x))


class Model(nn.Module):
    def __init__(self) -> None:
        self.layer, self.head = [Block(), Block()], nn.Linear(16, 8)

    def __call__(self, x):  # type: ignore[no-untyped-def]
        for block in self.layer:
            x = block(x)
        return self.head(x)


def model() -> tg.Graph:
    return tg.trace(Model(), x=tg.f32[tg.dim("B"), 16])


@pytest.fixture(scope="module")
def exe() -> tg.Executable:
    return tg.compile(model())


@pytest.fixture(scope="module")
def gpu() -> tg.Executable:
    from targets.cuda import compilers

    try:
        compilers.compiler()
    except tg.TGraphError as error:
        pytest.skip(str(error))
    return tg.compile(model(), "cuda:sm_90")


def kernels_in(text: str) -> set[str]:
    names = re.findall(r"\bkernel_\w+", text.replace("__tvm_ffi_", ""))
    return {re.sub(r"(_compute_|_kernel(_\d+)?(_param_\d+)?)$", "", name) for name in names}


def test_graphs(exe: tg.Executable) -> None:
    for level, count in (("traced", 3), ("optimized", 3), ("kernels", 2), ("prepare", 1)):
        part = tg.parse_program(exe.source(level, scope=SCOPE))
        (graph,) = part.graphs.values()
        assert len(graph) == count, level
    assert set(tg.parse_program(exe.source("kernels", scope=SCOPE)).functions) == {"linear_add", "layer_norm"}


def test_relax_has_the_calls_of_the_scope(exe: tg.Executable) -> None:
    shown = exe.source("relax", scope=SCOPE).splitlines()
    assert shown[0] == "# of run_model: calls 0, 1 of 5"
    assert [line.split('"')[1] for line in shown[1:]] == list(KERNELS)
    assert all(line in exe.source("relax") for line in shown[1:])


@pytest.mark.parametrize("level", ["tir", "llvm", "asm"])
def test_code_of_the_scope_alone(exe: tg.Executable, level: str) -> None:
    whole, shown = exe.source(level), exe.source(level, scope=SCOPE)
    assert kernels_in(shown) == set(KERNELS) < kernels_in(whole)
    assert len(shown) < len(whole)
    if level != "tir":
        assert all(text in whole for text in functions_in(shown, FORMS[level]).values())
        lambdas = [name for name in functions_in(shown, FORMS[level]) if "parallel_lambda" in name]
        assert lambdas, "what runs in parallel belongs to the kernel"


@pytest.mark.parametrize("level", ["tir", "cuda", "ptx"])
def test_code_for_gpus(gpu: tg.Executable, level: str) -> None:
    whole, shown = gpu.source(level), gpu.source(level, scope=SCOPE)
    assert kernels_in(shown) == set(KERNELS) < kernels_in(whole)
    if level != "tir":
        assert all(text in whole for text in functions_in(shown, FORMS[level]).values())


def test_machine_code_of_gpus_is_taken_apart() -> None:
    listing = ('\t.section\t.text.kernel_a_kernel_1,"ax",@progbits\n  /*0000*/ LDC R1 ;\n'
               '\t.section\t.text.kernel_a_b_kernel,"ax",@progbits\n'
               '        .size           kernel_a_b_kernel,(.L_1)\n  /*0000*/ EXIT ;\n'
               '\t.section\t.nv.info,"",@"SHT_CUDA_INFO"\n  .word 1\n')
    functions = functions_in(listing, FORMS["sass"])
    assert list(functions) == ["kernel_a_kernel_1", "kernel_a_b_kernel"]
    assert functions["kernel_a_b_kernel"].endswith("EXIT ;")
    assert excerpt(functions, {"kernel_a"}) == functions["kernel_a_kernel_1"]


def test_one_node(exe: tg.Executable) -> None:
    assert "layer_norm(" in exe.source("traced", node="%2") and exe.source("traced", node=2).count(" = ") == 1
    for level in ("kernels", "relax", "tir", "asm"):
        text = exe.source(level, node=2)
        assert "linear_add" in text and "layer_norm" not in text and "linear(" not in text.replace(" linear(", ""), level


def test_what_is_not_there(exe: tg.Executable) -> None:
    for level in ("traced", "kernels", "relax", "asm"):
        with pytest.raises(GraphError, match=r"in the scope 'layer\.7'; there are layer\.\d"):
            exe.source(level, scope="layer.7")
        with pytest.raises(GraphError, match="has no node '99'"):
            exe.source(level, node=99)
    with pytest.raises(TargetError, match="no source 'cuda'"):
        exe.source("cuda", scope=SCOPE)
    with pytest.raises(TargetError, match="has no source 'tir'"):
        tg.compile(model(), "numpy").source("tir", scope=SCOPE)


def test_a_program_takes_a_scope() -> None:
    text = "".join(f"graph {name}(%x: f32[B]) -> (y: f32[B]) {{\n  %0 = {op}(%x) : f32[B]  in {name}.a\n  return (y: %0)\n}}\n"
                   for name, op in (("main", "relu"), ("step", "exp")))
    exe = tg.compile(tg.parse_program(text))
    assert "relu" not in exe.source("kernels", scope="step") and "exp" in exe.source("tir", scope="step.a")
    assert "# of run_step: calls 0 of 1" in exe.source("relax", scope="step")
