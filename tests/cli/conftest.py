"""A folder with small models of a user's, and a way to run the command line in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tgraph.cli import main

MODELS = '''
"""Models of a user's."""
import tgraph as tg
from tgraph import nn

B = tg.dim("B")
specs = {"x": tg.f32[B, 8]}


class Two(nn.Module):
    def __init__(self):
        self.first, self.second = nn.Linear(8, 16), nn.Linear(8, 16)

    def __call__(self, x):
        return {"y": tg.softmax(self.first(x) + self.second(x))}


class Sized(nn.Module):
    def __init__(self, size):
        self.layer = nn.Linear(8, size)

    def __call__(self, x):
        return self.layer(x)


def double(x):
    return x + x


def pair(x, y):
    return x * y


pair.specs = (tg.f32[B, 4], tg.f32[B, 4])
two = Two()
traced = tg.trace(two, **specs)
number = 3
'''

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("dump", "m.py:two")` in a folder with the models above as m.py; `fails=` is the exit status to expect."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # what is printed is as wide as in a pipe, wherever the tests run
    Path("m.py").write_text(MODELS)

    def invoke(*arguments: str, fails: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(main, arguments, input=stdin)
        assert result.exit_code == fails, (arguments, result.output, result.exception)
        return result

    return invoke
