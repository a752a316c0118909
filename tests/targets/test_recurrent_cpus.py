"""Recurrent layers for every kind of CPU: the code uses what that one has and nothing else, and computes what the graph says."""

from __future__ import annotations

import tgraph as tg
from targets.base.target import Target
from tests.targets.feature_sets import FEATURE_SETS, each_feature_set, registers, run_only_here, widest
from tgraph import nn

B, T = tg.dims("B T")


@each_feature_set
def test_every_kind_of_cpu(cpu: str) -> None:
    layer = nn.LSTM(24, 40)
    exe = tg.compile(tg.trace(lambda x: layer(x)[0], x=tg.f32[B, T, 24]), cpu, cache=False)
    target = Target.parse(cpu)
    if len(FEATURE_SETS) > 1:
        found = registers(exe.source("asm"))
        assert widest(target) in found and "zmm" not in found - {widest(target)}
    run_only_here(cpu)
    report = tg.check(exe)
    assert report, str(report)
