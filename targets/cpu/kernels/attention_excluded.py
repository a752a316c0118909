"""Results that are NaN because of values at excluded keys, computed again from the allowed keys alone.

The inner loops multiply whole blocks of values with weights, which are 0 where keys are excluded. That costs nothing as long as
the values are finite; but 0 * NaN is NaN. So where a result is NaN, it is computed again, key by key. What allowed keys made NaN
is NaN again.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.attention import AttentionSpec
from targets.codegen.opaque import bind
from targets.codegen.scalar import is_nan
from targets.codegen.vector_math import exp_nonpositive, f32
from targets.cpu.kernels.attention_panel import MINUS_INFINITY, PEAK, STATE_ROWS, PanelBuffers, all_of, fill, reach
from targets.cpu.kernels.lane_blocks import floats, int64


class WithoutExcluded:
    """Emits the second computation for the panels of a task, after the first one has gone over all keys."""

    def __init__(self, spec: AttentionSpec, at: PanelBuffers, key_head: Expr) -> None:
        self.spec, self.at, self.key_head = spec, at, key_head
        self.lanes = at.lanes
        self.exact = floats(self.spec.value_dim * self.lanes)
        self.score, self.kept, self.shift, self.spoilt = (floats(self.lanes) for _ in range(4))

    def emit(self, panel: Expr, query: Expr) -> None:
        """Replace the NaN of a panel, whose first query is `query`, by what the allowed keys give."""
        spec = self.spec
        base = bind(panel * spec.value_dim * self.lanes)
        fill(self.spoilt, 0, 0.0, self.lanes)
        with T.serial(int64(spec.value_dim)) as d, T.vectorized(self.lanes) as v:
            found = is_nan(self.at.out[base + d * self.lanes + v])
            T.buffer_store(self.spoilt, tirx.Select(found, f32(1.0), self.spoilt[v]), [v])
        with T.serial(int64(self.lanes - 1)) as lane:
            T.buffer_store(self.spoilt, tirx.Max(self.spoilt[0], self.spoilt[lane + 1]), [0])
        with T.If(self.spoilt[0] > f32(0.0)), T.Then():
            self._sum(panel, query)
            with T.serial(int64(spec.value_dim)) as d, T.vectorized(self.lanes) as v:
                out = self.at.out[base + d * self.lanes + v]
                exact = tirx.Select(is_nan(out), self.exact[d * self.lanes + v], out)
                T.buffer_store(self.at.out, exact, [base + d * self.lanes + v])

    def _sum(self, panel: Expr, query: Expr) -> None:
        """exact = sum of weights times values, allowed keys only, with the weights of the panel's largest scores."""
        spec = self.spec
        base = bind(panel * (STATE_ROWS * self.lanes) + PEAK * self.lanes)
        with T.vectorized(self.lanes) as v:
            peak = self.at.state[base + v]
            T.buffer_store(self.shift, tirx.Select(peak == f32(MINUS_INFINITY), f32(0.0), peak), [v])
        with T.serial(int64(spec.value_dim)) as d:
            fill(self.exact, d * self.lanes, 0.0, self.lanes)
        with T.serial(bind(reach(spec, query + self.lanes))) as j:
            self._score(panel, query, j)
            with T.vectorized(self.lanes) as v:
                T.buffer_store(self.score, exp_nonpositive(self.score[v] - self.shift[v]), [v])
            with T.serial(int64(spec.value_dim)) as d:
                value = spec.load_v(spec.b, self.key_head, j, d)
                with T.vectorized(self.lanes) as v:
                    at = d * self.lanes + v
                    total = self.exact[at] + self.score[v] * value
                    T.buffer_store(self.exact, tirx.Select(self.kept[v] > f32(0.0), total, self.exact[at]), [at])

    def _score(self, panel: Expr, query: Expr, j: Expr) -> None:
        """The scores of key j with the panel's queries, and which of these may attend it."""
        spec, queries = self.spec, bind(panel * (self.spec.head_dim * self.lanes))
        fill(self.score, 0, 0.0, self.lanes)
        with T.serial(int64(spec.head_dim)) as d:
            key = spec.load_k(spec.b, self.key_head, j, d)
            with T.vectorized(self.lanes) as v:
                T.buffer_store(self.score, self.score[v] + key * self.at.q[queries + d * self.lanes + v], [v])
        if spec.softcap:
            with T.vectorized(self.lanes) as v:
                T.buffer_store(self.score, spec.capped(self.score[v]), [v])
        with T.serial(int64(self.lanes)) as lane:
            row = tirx.Min(query + lane, spec.queries - 1)
            conditions = []
            if spec.bias is not None:
                T.buffer_store(self.score, self.score[lane] + spec.bias(spec.b, spec.h, row, j), [lane])
            place = j - spec.offset - query
            if spec.right is not None:
                conditions.append((place - int64(spec.right) if spec.right else place) <= lane)
            if spec.left is not None:
                conditions.append(place + int64(spec.left) >= lane)
            if spec.mask is not None:
                conditions.append(spec.mask(spec.b, spec.h, row, j))
            T.buffer_store(self.kept, tirx.Select(all_of(conditions), f32(1.0), f32(0.0)), [lane])
