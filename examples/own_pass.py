"""A pass of one's own in a pipeline, without a change of tgraph.

    tgraph --plugin examples/own_pass.py opt bert-tiny -p scale-before-relu,dce --validate
    python examples/own_pass.py
"""

from dataclasses import dataclass

import tgraph as tg
from passes import register_pass
from passes.patterns import rule, scalar
from passes.rewriting import RewritePass

POSITIVE = scalar(lambda c: c > 0)


@register_pass
@dataclass(frozen=True)
class ScaleBeforeRelu(RewritePass):
    """relu(x) c = relu(x c) for c > 0."""

    effect = "rounds"
    rules = (rule("relu(x) c = relu(x c)", lambda x, c=POSITIVE: tg.relu(x) * c, lambda x, c: tg.relu(x * c)),)


if __name__ == "__main__":
    graph = tg.trace(lambda x: tg.relu(x) * 0.5 + 1.0, x=tg.f32[tg.dim("B"), 8])
    print(tg.optimize(graph, "scale-before-relu,dce", instruments=[tg.passes.ValidateEach()]))
