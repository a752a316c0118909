"""`tg.import_torch` where torch is not installed, or cannot be imported."""

from __future__ import annotations

import sys

import pytest

import tgraph as tg
from tgraph.formats.onnx.torch_metadata import is_model_code, scope_of_stack


@pytest.mark.parametrize(("absent", "told"), [(["torch", "onnxscript"], "torch onnxscript"), (["onnxscript"], "onnxscript")])
def test_what_to_install(absent: list[str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if absent == ["onnxscript"]:
        pytest.importorskip("torch")
    for package in absent:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"tg.import_torch needs PyTorch .*: pip install {told}$"):
        tg.import_torch(None, ())  # type: ignore[arg-type]


def test_scopes() -> None:
    assert scope_of_stack(["", "encoder", "encoder.layers.0@1"]) == "encoder.layers.0"
    assert scope_of_stack([""]) == scope_of_stack(["_empty_nn_module_stack_from_metadata_hook"]) == scope_of_stack([]) == ""


def test_lines_of_models() -> None:
    assert is_model_code(__file__)
    assert not any(map(is_model_code, (tg.__file__, "torch/fx/passes/runtime_assert.py", "<string>")))
