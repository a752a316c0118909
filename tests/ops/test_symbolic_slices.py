"""Slices of axes whose size is known at run time only: clipped where that can be told, otherwise a check at run time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph.formats.json import from_json, to_json
from tgraph.ir.dims import evaluate
from tgraph.ir.inequalities import canonical, lower_bound

B, S, T = tg.dims("B S T")

ROWS: list[tuple[Callable[[Any], Any], str, str]] = [  # the slice of f32[B, S], its type, what the header says
    (lambda x: x[:, :5], "f32[B, 5]", "S >= 5"), (lambda x: x[:, 5:], "f32[B, S-5]", "S >= 5"),
    (lambda x: x[:, -5:], "f32[B, 5]", "S >= 5"), (lambda x: x[:, :-1], "f32[B, S-1]", "S >= 1"),
    (lambda x: x[:, 2:-3], "f32[B, S-5]", "S >= 5"), (lambda x: x[:, S - 1], "f32[B]", "S >= 1"),
    (lambda x: x[:, S - 4:S - 2], "f32[B, 2]", "S >= 4"), (lambda x: x[:, 8:3:-1], "f32[B, 5]", "S >= 9"),
    (lambda x: x[:, :8][:, :5] + x[:, 3:8], "f32[B, 5]", "S >= 8"), (lambda x: x[:, :B], "f32[B, B]", "S >= B"),
    (lambda x: x[:, B:], "f32[B, S-B]", "S >= B"), (lambda x: x[:, -1 - B:], "f32[B, B+1]", "S >= B+1"),
    (lambda x: x[:, 1:B], "f32[B, B-1]", "B >= 1, S >= B"), (lambda x: x[:, B:2 * B], "f32[B, B]", "S >= 2*B"),
    (lambda x: x[:3, :3], "f32[3, 3]", "B >= 3, S >= 3"), (lambda x: x[:, :S // 2 + 1], "f32[B, S//2+1]", "S >= S//2+1"),
    # known to be right, or clipped
    (lambda x: x[:, S // 2:], "f32[B, S-S//2]", ""), (lambda x: x[:, :(S + 1) // 2], "f32[B, (S+1)//2]", ""),
    (lambda x: x[:, :S + 3], "f32[B, S]", ""), (lambda x: x[:, :2 * S], "f32[B, S]", ""),
    (lambda x: x[:, 2 * S:], "f32[B, 0]", ""),
    (lambda x: x[:, ::-1], "f32[B, S]", ""), (lambda x: x[:, ::-2], "f32[B, (S+1)//2]", ""),
    (lambda x: x[:, 3:2], "f32[B, 0]", ""),
    (lambda x: x[:, :0], "f32[B, 0]", ""), (lambda x: x[:, ::3], "f32[B, (S+2)//3]", ""),
]


@pytest.mark.parametrize(("build", "type", "where"), ROWS)
def test_what_a_slice_asks_for(build: Callable[[Any], Any], type: str, where: str) -> None:
    graph = tg.trace(lambda x: build(x), x=tg.f32[B, S])
    tg.verify(graph)
    assert str(graph.outputs[0][1].type) == type
    header = str(graph).splitlines()[0]
    assert header.endswith(f" where {where} {{" if where else ") {") and header.count(" where ") == bool(where)
    assert str(tg.parse(str(graph))) == str(graph) and from_json(to_json(graph)) == graph
    sizes = tg.reference.inputs.choose_sizes(graph)
    for size in sorted({sizes["S"], 9, 12}):
        given = {"B": min(sizes["B"], 4), "S": size}
        if any(evaluate(left, given) < evaluate(right, given) for left, right in graph.inequalities):
            continue
        x = np.arange(given["B"] * size, dtype=np.float32).reshape(given["B"], size)
        scope = {"B": given["B"], "S": size}
        (found,) = tg.reference.run(graph, {"x": x}).values()
        expected = eval(compile("f(x)", "", "eval"), {"f": _with_sizes(build, scope), "x": x})
        assert np.array_equal(found, expected)


def _with_sizes(build: Callable[[Any], Any], sizes: dict[str, int]) -> Callable[[Any], Any]:
    """The function with numbers for the dims of its globals."""
    return type(build)(build.__code__, {**globals(), **sizes})  # type: ignore[no-any-return]


@pytest.mark.parametrize("target", ["numpy", "cpu"])
def test_an_inequality_is_checked_at_every_call(target: str, tmp_path: Path) -> None:
    graph = tg.trace(lambda x, y: x[:, :T] + y, x=tg.f32[B, S], y=tg.f32[B, T])
    exe = tg.compile(graph, target, cache=False)
    x, y = np.ones((2, 6), np.float32), np.ones((2, 5), np.float32)
    if target == "cpu":
        exe.save(tmp_path / "slice.tgc")
    for run in (exe, *([tg.load(tmp_path / "slice.tgc")] if target == "cpu" else [])):
        assert np.array_equal(run(x, y), np.full((2, 5), 2))
        with pytest.raises(tg.InputError, match=r"^S of x is 4, T of y is 5, but the graph needs S >= T$"):
            run(x[:, :4], y)
    assert tg.check(exe)


@pytest.mark.parametrize("level", ["O0", "O1", "O2", "O3"])
def test_passes_keep_inequalities(level: str) -> None:
    graph = tg.trace(lambda x: tg.exp(x[:, 2:-3]) * 2.0, x=tg.f32[B, S])
    optimized = tg.optimize(graph, level)
    tg.verify(optimized)
    assert "where S >= 5 {" in str(optimized)
    assert "where" not in str(tg.optimize(graph, "specialize-shapes{S=7}"))
    with pytest.raises(tg.PassError, match=r"main needs S >= 5, which 4 >= 5 is not"):
        tg.optimize(graph, "specialize-shapes{S=4}")


def test_an_inequality_that_is_missing_is_found() -> None:
    graph = tg.trace(lambda x: x[:, :5] * 2.0, x=tg.f32[B, S])
    graph.inequalities.clear()
    with pytest.raises(tg.VerifyError, match="needs S >= 5, which the graph neither knows nor checks"):
        tg.verify(graph)
    graph.inequalities.append((T, 5))
    with pytest.raises(tg.VerifyError, match="requires T >= 5, but no input or node has a dim T"):
        tg.verify(graph)


@pytest.mark.parametrize(("text", "rule"), [("S >= S+1", "S >= S+1 can never hold"), ("S > 5", "expected '=='|unexpected"),
                                            ("S >= ", "expected")])
def test_an_inequality_that_cannot_be_read(text: str, rule: str) -> None:
    with pytest.raises(tg.ParseError, match=rule.replace("+", r"\+")):
        tg.parse(f"graph g(%x: f32[S]) -> (y: f32[S]) where {text} {{\n  return (y: %x)\n}}")


def test_one_spelling() -> None:
    text = "graph g(%x: f32[S], %y: f32[T]) -> (y: f32[S]) where 2*S-4 >= 2*T, S >= 0, 3 >= T {{\n  return (y: %x)\n}}"
    assert "where 3 >= T, S >= T+2 {" in str(tg.parse(text.replace("{{", "{").replace("}}", "}")))
    assert canonical(S - 5, 0) == (S, 5) and canonical(3 * S, 7) == (S, 3) and canonical(0, T - 4) == (4, T)


def test_the_sign_of_quotients() -> None:
    assert lower_bound(S - S // 2) == 0 and lower_bound(2 * S - (S + 1) // 2) == 0 and lower_bound(S - (S + 1) // 2) == 0
    assert lower_bound((S + 3) // 4 * 4 - S) == 0 and lower_bound(S // 4 * 4 - S) == -3
    assert lower_bound(S - T) is None


def test_a_data_dependent_size_cannot_be_checked_before_a_call() -> None:
    with pytest.raises(tg.OpError, match="cannot tell whether N >= 5: no input has the dim N"):
        tg.trace(lambda x, m: tg.gather(x, tg.unpack(m)[0])[:5], x=tg.f32[S], m=tg.bool_[B, S])


@pytest.mark.parametrize("level", ["O0", "O3"])
def test_all_of_them_compiled(level: str) -> None:
    graph = tg.trace(lambda x: [tg.exp(build(x)) for build, _, _ in ROWS], x=tg.f32[B, S])
    exe = tg.compile(graph, "cpu", level=level, cache=False)
    assert str(tg.parse(str(exe.kernels))) == str(exe.kernels)
    report = tg.check(exe)
    assert report, str(report)


def test_an_element_of_a_symbolic_axis_is_one_gather() -> None:
    """Of a number, so that kernels read no index from memory; axes that other indices name are counted without it."""
    n, m = tg.dim("N"), tg.dim("M")
    graph = tg.trace(lambda x: x[:, 0], x=tg.f32[n, m, 8])
    assert "gather(%x, i64(0), axis=1) : f32[N, 8]" in str(graph)
    x = np.arange(4 * 5 * 6 * 8, dtype=np.float32).reshape(4, 5, 6, 8)
    for index in ((slice(None), 0, -1), (1, slice(None), 2, slice(1, 3)), (slice(1, 3), 2, None, slice(None), 0), (0, 1, 2, 3),
                  (slice(None), 3, np.array([2, 0]))):
        traced = tg.trace(lambda x, i=index: x[i], x=tg.f32[tg.dim("A", min=3), n, m, 8])
        for target in ("numpy", "cpu"):
            np.testing.assert_array_equal(tg.compile(traced, target)(x), x[index])


def test_the_text_of_a_slice_stays_when_an_equality_is_found_after_it() -> None:
    """S is 16, which only the addition says: read again, the slice knows it from the start."""
    S = tg.dim("S", max=16)

    def build(x: tg.Tensor, table: tg.Tensor) -> object:
        part, empty = table[:S], table[S:16:-1]
        return x + table, part, empty

    graph = tg.trace(build, x=tg.f32[S, 4], table=tg.f32[16, 4])
    text = str(graph)
    assert "where S <= 16, S == 16" in text and "stops=[S]" in text
    assert str(tg.parse(text)) == text
