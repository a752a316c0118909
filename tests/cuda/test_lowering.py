"""Every sample of every op on the emulated device: the CUDA kernels give what NumPy says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.ops.sample import Sample
from tests.targets.test_lowering import BATCHES, check


@pytest.mark.parametrize(("name", "samples"), [pytest.param(n, s, id=n) for n, s in BATCHES])
def test_cuda(name: str, samples: Sequence[Sample]) -> None:
    assert check(samples, "cuda") == []
