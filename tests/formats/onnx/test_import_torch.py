"""`tg.import_torch`: modules of PyTorch through its exporter, in memory. Skipped where torch is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
nn = torch.nn
B, S = tg.dims("B S")


class Mlp(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.drop = nn.Linear(32, 64), nn.Linear(64, 32), nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        return self.down(self.drop(nn.functional.gelu(self.up(x))))


class Tied(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(50, 32), nn.Linear(32, 50, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("shift", torch.randn(32, 32), persistent=False)  # no checkpoint has it

    def forward(self, ids: Any) -> Any:
        return {"logits": self.head(self.embed(ids) @ self.shift), "pair": (ids + 1, ids.float())}


class Branch(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x if x.sum() > 0 else -x  # a branch on data


class Spectrum(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return torch.fft.fft(x).real  # an op of ONNX that is not imported


class Decomposition(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return torch.linalg.svd(x)[0]  # no op of ONNX


class Short(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x + 1 if x.shape[0] <= 64 else x


class Outer(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Identity(), inner])

    def forward(self, x: Any) -> Any:
        return self.blocks[1](self.blocks[0](x))


def line_of(marker: str) -> str:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return f"{__file__}:{next(i for i, line in enumerate(lines, 1) if line.endswith(f'# {marker}'))}"


def same(graph: tg.Graph, module: Any, *sizes: tuple[Any, ...]) -> None:
    """The graph, optimised and in the reference, computes what torch does."""
    run = tg.compile(graph, target="numpy")
    for arguments in sizes:
        with torch.no_grad():
            expected = module.eval()(*arguments)
        found = run(*(a.numpy() for a in arguments))
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)


def test_mlp() -> None:
    module = Mlp()
    graph = tg.import_torch(module, torch.randn(3, 32), dynamic_shapes=({0: B},))
    assert module.training and module.up.training  # as it was
    assert (graph.name, str(graph.inputs[0].type), [n for n, _ in graph.outputs]) == ("mlp", "f32[B, 32]", ["output"])
    assert list(graph.parameters) == list(dict(module.named_parameters()))
    assert {node.provenance.scope for node in graph.nodes} == {"up", "down", ""}
    assert {loc.file for node in graph.nodes for loc in node.provenance.locations} == {__file__}
    same(graph, module, (torch.randn(1, 32),), (torch.randn(5, 32),))


def test_weights_are_those_of_the_module() -> None:
    module = Mlp()
    graph = tg.import_torch(module, torch.randn(3, 32), dynamic_shapes=({0: B},))
    assert np.shares_memory(graph.weights["up.weight"], module.up.weight.detach().numpy())
    run, other = tg.compile(graph, target="numpy"), Mlp()
    run.load_weights(other.state_dict())
    x = torch.randn(4, 32)
    with torch.no_grad():
        np.testing.assert_allclose(run(x), other.eval()(x).numpy(), rtol=0, atol=1e-5)


def test_transformer_encoder() -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
    module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    graph = tg.import_torch(module, torch.randn(2, 7, 32), dynamic_shapes={"src": {0: B, 1: S}})
    assert str(graph.inputs[0].type) == "f32[B, S, 32]"
    ops = [node.op.name for node in tg.optimize(graph, "O2").nodes]
    assert (ops.count("attention"), ops.count("layer_norm"), ops.count("softmax")) == (2, 4, 0)
    same(graph, module, (torch.randn(1, 5, 32),), (torch.randn(3, 9, 32),))


def test_bert_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                                     vocab_size=99, max_position_embeddings=40)
    module = transformers.BertModel(config).eval()
    ids, mask = torch.randint(3, 99, (2, 7)), torch.ones(2, 7, dtype=torch.long)
    axes = {0: "batch", 1: S}
    graph = tg.import_torch(module, (ids,), {"attention_mask": mask}, {"input_ids": axes, "attention_mask": axes}, {"batch": B})
    assert [str(i.type) for i in graph.inputs] == ["i64[B, S]", "i64[B, S]"]
    assert [name for name, _ in graph.outputs] == ["last_hidden_state", "pooler_output"]
    assert set(graph.parameters) <= set(module.state_dict())
    optimized = tg.optimize(graph, "O2")
    attentions = [node.provenance.scope for node in optimized.nodes if node.op.name == "attention"]
    assert attentions == [f"encoder.layer.{i}.attention.self" for i in range(2)]
    run = tg.compile(graph, target="numpy")
    for batch, length in ((1, 3), (3, 11)):
        ids, mask = torch.randint(3, 99, (batch, length)), torch.ones(batch, length, dtype=torch.long)
        mask[-1, 2:] = 0
        with torch.no_grad():
            expected = module(ids, attention_mask=mask)
        found = run(ids.numpy(), mask.numpy())
        np.testing.assert_allclose(found.last_hidden_state, expected.last_hidden_state.numpy(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.pooler_output, expected.pooler_output.numpy(), rtol=0, atol=1e-5)


def test_shared_parameters_and_nested_outputs() -> None:
    module = Tied()
    graph = tg.import_torch(module, torch.randint(0, 50, (2, 3)), dynamic_shapes=({0: "N"},))
    assert [name for name, _ in graph.outputs] == ["logits", "pair.0", "pair.1"]
    assert len(graph.parameters) == 1
    graph.load_weights(Tied().state_dict())  # under both names


def test_an_exported_program() -> None:
    module = Mlp().eval()
    program = torch.export.export(module, (torch.randn(3, 32),), dynamic_shapes=({0: torch.export.Dim("rows")},))
    graph = tg.import_torch(program)
    assert list(graph.parameters) == list(dict(module.named_parameters()))
    same(graph, module, (torch.randn(1, 32),), (torch.randn(5, 32),))


def test_bounds_of_what_was_exported() -> None:
    x = torch.randn(6, 4)
    assert "where 3 <= N <= 64" in str(tg.import_torch(Short(), x, dynamic_shapes=({0: tg.dim("N", min=3)},)))
    assert "where rows <= 64" in str(tg.import_torch(Short(), x, dynamic_shapes=({0: "rows"},)))
    assert str(tg.import_torch(Short(), x, dynamic_shapes=({0: B},), dims={"B": 10}).inputs[0].type) == "f32[10, 4]"
    for shapes, dims in (({0: B}, {"B": 100}), ({0: tg.dim("N", min=65)}, None)):
        with pytest.raises(tg.TraceError, match=r"what torch exported of Short holds for 0 <= . <= 64, and"):
            tg.import_torch(Short(), x, dynamic_shapes=(shapes,), dims=dims)


@pytest.mark.parametrize(("inner", "error", "message", "marker"), [
    (Branch(), tg.TraceError, "torch's exporter cannot export Outer: Could not guard on data-dependent", "a branch on data"),
    (Decomposition(), tg.TraceError, "cannot export Outer: ONNX has no op for aten._linalg_svd", "no op of ONNX"),
    (Spectrum(), tg.FormatError, "DFT of opset .* a Fourier transform", "an op of ONNX that is not imported"),
])
def test_errors_name_the_module_and_the_line(inner: Any, error: type[Exception], message: str, marker: str) -> None:
    with pytest.raises(error, match=message) as caught:
        tg.import_torch(Outer(inner), torch.randn(6, 6), dynamic_shapes=({0: B},))
    assert f"in blocks.1 at {line_of(marker)}" in str(caught.value)


def test_wrong_arguments() -> None:
    with pytest.raises(tg.TraceError, match=r"takes a torch.nn.Module or a torch.export.ExportedProgram, not function"):
        tg.import_torch(lambda x: x, torch.randn(2))
    with pytest.raises(tg.TraceError, match=r"dynamic_shapes has 2\*B; a size is one dim, or a number"):
        tg.import_torch(Mlp(), torch.randn(3, 32), dynamic_shapes=({0: 2 * B},))
    with pytest.raises(tg.TraceError, match="cannot export Mlp: TypeError: missing a required argument"):
        tg.import_torch(Mlp(), ())
    with torch.device("meta"):
        module = Mlp()
    with pytest.raises(tg.TraceError, match=r"Mlp has no data for 'up.weight'.*load its weights before"):
        tg.import_torch(module, torch.randn(3, 32, device="meta"))


def test_torch_is_imported_when_it_is_needed() -> None:
    code = "import sys, tgraph as tg; tg.import_torch; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
