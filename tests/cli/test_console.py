"""What is printed: tables."""

from __future__ import annotations

import pytest

from tgraph.cli.console import console, table


def test_a_title_is_wider_than_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    title = "two on cpu:rocketlake,+amx-bf16,+amx-int8,+avx512bf16,+avx512fp16,+avxvnni"
    console().print(table(title, ("kernel", ">us"), [("linear", "3")]))
    assert title in capsys.readouterr().out
