"""The node cases of ONNX's own test runner that tgraph passes, compiled for the CPU; and with symbolic sizes.

Every second one: TGRAPH_ONNX_CASES=all for all of them.
"""

from __future__ import annotations

import os
import re

import pytest

import tgraph as tg
from tests.conformance.onnx_node_cases import Cpu, cases, excluded, of_kind, part, require, run_symbolic

PARTS = 24


@pytest.mark.parametrize("number", range(PARTS))
def test_cpu(number: int) -> None:
    names = sorted(name for name in of_kind("node") if excluded(name) is None)
    names = names if os.environ.get("TGRAPH_ONNX_CASES") == "all" else names[1::2]
    require(part(names, number, PARTS), Cpu)


NEEDS_SIZES = "test_(resize|upsample|gru|lstm|rnn|simple_rnn)_"  # what resamples needs all, and what recurs the hidden size


def test_symbolic_sizes() -> None:
    """What is imported gives the same; some cases need sizes (a kernel, the elements of a head), or check them at the call."""
    names = [name for name in cases() if excluded(name) is None]
    refused, wrong = [], []
    for name in names:
        try:
            run_symbolic(name)
        except (tg.FormatError, tg.InputError):
            refused.append(name)
        except Exception as error:  # whatever it is, it is one too many
            wrong.append(f"{name}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)
    counted = [name for name in of_kind("node") if excluded(name) is None and not re.match(NEEDS_SIZES, name)]
    assert len(set(refused) & set(counted)) <= 0.15 * len(counted)
