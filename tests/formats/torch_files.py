"""Writes the files of PyTorch that test_torch_checkpoint.py reads.   python -m tests.formats.torch_files"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch

FOLDER = Path(__file__).parent / "torch"


def main() -> None:
    """A state dict with every element type, views of one storage, a parameter and empty tensors, in both forms of torch.save."""
    FOLDER.mkdir(exist_ok=True)
    numbers = torch.arange(12, dtype=torch.float32)
    state = OrderedDict(
        f32=numbers, rows=numbers.view(3, 4)[1:], turned=numbers.view(3, 4).T, scalar=torch.tensor(2.5), empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(torch.tensor([[1.0, -2.0]])), once=torch.tensor([7.0]).expand(3),
        **{name: torch.tensor([0, 1, 2]).to(dtype) for name, dtype in (
            ("f64", torch.float64), ("f16", torch.float16), ("bf16", torch.bfloat16), ("i64", torch.int64), ("i32", torch.int32),
            ("i16", torch.int16), ("i8", torch.int8), ("u8", torch.uint8), ("bool", torch.bool))})
    torch.save(state, FOLDER / "zip.bin")
    torch.save(state, FOLDER / "legacy.bin", _use_new_zipfile_serialization=False)
    module = torch.nn.Linear(2, 3)  # its state dict has an attribute
    torch.nn.init.constant_(module.weight, 3.0)
    torch.nn.init.constant_(module.bias, 4.0)
    torch.save(module.state_dict(), FOLDER / "module.bin")
    torch.save(module, FOLDER / "whole_module.bin")  # more than tensors
    torch.save({"model": module.state_dict(), "epoch": 3}, FOLDER / "nested.bin")


if __name__ == "__main__":
    main()
