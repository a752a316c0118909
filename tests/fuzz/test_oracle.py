"""What the comparison sees, and what it excuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph.ir.registry import OPS, get_op
from tgraph.reference.interpreter import Interpreter
from tgraph.testing.nearness import PRECISE, within
from tgraph.testing.oracle import Expectation
from tgraph.testing.perturbed import EXACT, FACTORS

get_op("add")


def expectation(build: Callable[..., Any], x: Any, dtype: tg.DType = tg.f32) -> Expectation:
    array = np.asarray(x, dtype.numpy)
    graph = tg.trace(build, x=dtype[array.shape])
    return Expectation(graph, {"x": array}, Interpreter(graph, faithful=True).run({"x": array}))


def verdict(expected: Expectation, found: Any, strict: bool = False) -> str | None:
    name, value = expected.graph.outputs[0]
    return expected.difference({name: np.asarray(found, value.dtype.numpy)}, strict)[0]


def test_the_lists_name_ops_that_there_are() -> None:
    assert set(OPS) >= EXACT | FACTORS


def test_a_result_off_by_more_than_the_tolerance_is_found() -> None:
    expected = expectation(lambda x: tg.exp(x) * 2.0, [0.0, 1.0])
    right = expected.faithful["output"]
    assert verdict(expected, right * (1 + 1e-6)) is None
    assert "output (1 of 2 elements): [1] is" in str(verdict(expected, right + np.float32([0, 1e-3])))


@pytest.mark.parametrize("found", [[np.nan, 1.0], [np.inf, 0.0], [-np.inf, 1.0]])
def test_infinities_and_nan_have_their_places(found: list[float]) -> None:
    expected = expectation(lambda x: tg.exp(x), [np.inf, 0.0])
    assert verdict(expected, [np.inf, 1.0]) is None
    assert verdict(expected, found) is not None


def test_small_elements_beside_a_large_one_count() -> None:
    """`tg.check` measures by the largest of an output; here each element stands for itself."""
    expected = expectation(lambda x: x * 3.0, [1e30, 1.0])
    assert verdict(expected, [3e30, 3.1]) is not None


def test_sums_of_floats_keep_their_order() -> None:
    expected = expectation(lambda x: (x + 1e8) - 1e8, [1.3, 3.0])
    assert verdict(expected, [0.0, 0.0]) is None
    assert verdict(expected, [1.3, 3.0]) is not None  # what the reals would give
    nan = expectation(lambda x: x - x, [np.nan, np.inf, 1.0])
    assert verdict(nan, [0.0, 0.0, 0.0]) is not None


def test_what_rounding_decides_is_excused_and_counted() -> None:
    expected = expectation(lambda x: (tg.tanh(x) - 0.7615942) * 1e8, [1.0])  # tanh 1 = 0.76159416: cancellation
    assert expected.difference({"output": expected.faithful["output"] + np.float32(9.0)}, False) == (None, 1, 1)
    assert verdict(expected, [1e6]) is not None
    step = expectation(lambda x: tg.floor(tg.exp(tg.log(x))), [3.0, 3.5])
    assert verdict(step, [2.0, 3.0]) is None
    assert verdict(step, [3.0, 2.0]) is not None


def test_factors_are_regrouped_above_level_0_only() -> None:
    expected = expectation(lambda x: tg.floor(x * 3.0), [1 / 3])
    other = expected.faithful["output"] - 1
    assert verdict(expected, other) is None
    assert verdict(expected, other, strict=True) is not None


def test_integers_and_booleans_are_exact() -> None:
    expected = expectation(lambda x: x // 2, [2**62 + 2, -3], tg.i64)
    assert verdict(expected, [2**61 + 1, -2]) is None
    assert verdict(expected, [2**61, -2]) is not None  # closer than float64 tells apart
    assert verdict(expectation(lambda x: x > 0.0, [np.nan, 1.0]), [True, True]) is not None


def test_half_precisions_may_be_kept_in_f32() -> None:
    expected = expectation(lambda x: (x + 1000.0) - 1000.0, [0.3], tg.f16)
    assert verdict(expected, [0.5]) is None and verdict(expected, [0.3]) is None
    assert verdict(expected, [3.0]) is not None


def test_functions_may_drop_denormals_and_moves_may_not() -> None:
    expected = expectation(lambda x: tg.exp(x) * 1e38 * 1e4, [-96.0])
    assert expected.faithful["output"] > 1 and verdict(expected, [0.0]) is None
    kept = expectation(lambda x: tg.transpose(x) * 1e38 * 1e4, [1e-41])
    assert verdict(kept, [0.0], strict=True) is not None


def test_the_sign_of_zero_is_open_where_two_meet() -> None:
    expected = expectation(lambda x: 1.0 / tg.relu(x), [-0.0, 0.0, 1.0])
    for found in ([np.inf, np.inf, 1.0], [-np.inf, np.inf, 1.0]):
        assert verdict(expected, found) is None
    assert verdict(expected, [-np.inf, np.inf, -1.0]) is not None
    assert verdict(expectation(lambda x: 1.0 / (x + 0.0), [0.0]), [-np.inf]) is not None
    sums = expectation(lambda x: tg.reduce_sum(1.0 / tg.relu(x), axes=(-1,)), [[0.0, -0.0], [0.0, 1.0]])
    assert verdict(sums, [np.nan, -np.inf]) is None  # each zero has a sign of its own
    assert verdict(sums, [np.inf, np.nan]) is not None
    running = expectation(lambda x: 1.0 / tg.cumsum(x, axis=0), [-0.0, 2.0])
    assert verdict(running, [np.inf, 0.5]) is verdict(running, [-np.inf, 0.5]) is None
    gated = expectation(lambda x: tg.tanh(tg.rsqrt(tg.quick_gelu(tg.relu(x)))), [-0.0, 4.0])
    assert verdict(gated, -gated.faithful["output"] * [1, -1]) is None  # a function keeps the sign of 0
    assert verdict(gated, -gated.faithful["output"]) is not None


def test_what_roundings_carry_across_0_may_be_0() -> None:
    """exp(log x) - x is a little more or less than 0, or 0: of which a logarithm and a quotient make infinities and NaN."""
    def left(x: tg.Tensor) -> tg.Tensor:
        return tg.exp(tg.log(x)) - tg.stack([x[0], x[1] / 4.0])

    for dtype in (tg.f32, tg.bf16):
        log = expectation(lambda x: tg.log(tg.abs(left(x))), [5.3, 2.0], dtype)
        assert verdict(log, [-np.inf, log.faithful["output"][1]]) is None
        assert verdict(log, [-np.inf, -np.inf]) is not None
    over = expectation(lambda x: 1.0 / left(x), [5.3, 2.0])
    for found in (np.inf, -np.inf, 1e30, -1e30):
        assert verdict(over, [found, 2 / 3]) is None
        assert verdict(over, [1.0, found]) is not None
    quotient = expectation(lambda x: left(x) * 0.0 / left(x), [5.3, 2.0])
    assert verdict(quotient, [np.nan, 0.0]) is None and verdict(quotient, [0.0, 0.0]) is None
    assert verdict(quotient, [0.0, np.nan]) is not None


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_of_what_an_op_sums_nothing_may_be_left(approximate: str, wide: bool) -> None:
    """gelu(x) is x / 2 (1 + tanh ...), which is -0.0 or a little less, as the last digit of tanh falls: of 1 / 0 and 0 / 0 that
    decides. At -4 the sum is far from both."""
    least = (-8.3 if approximate == "none" else -7.1) if wide else -5.4
    graph = tg.trace(lambda x: tg.gelu(x, approximate=approximate) / 0.0, x=tg.f32[4])
    feeds = {"x": np.float32([least, -4.0, 1.0, np.inf])}
    expected = Expectation(graph, feeds, Interpreter(graph, faithful=not wide).run(feeds), wide=wide, allowed=PRECISE)
    right = expected.faithful["output"]
    for beyond in (-np.inf, np.nan):
        assert expected.difference({"output": np.r_[beyond, right[1:]].astype(right.dtype)}, False)[0] is None
    for position in (1, 2, 3):
        found = right.copy()
        found[position] = np.nan
        assert "(1 of 4 elements)" in str(expected.difference({"output": found}, False)[0])


def test_values_of_attention_may_overflow_before_they_are_divided() -> None:
    """By the sum of the weights; 8 values of 1e38 may be infinite, 8 of 1e37 may not, and neither may be other finite numbers."""
    def attend(x: tg.Tensor) -> tg.Tensor:
        return tg.attention(x * 0.0, x * 0.0, x)

    for value, open_ in ((1e38, True), (1e37, False)):
        expected = expectation(attend, np.full((1, 1, 8, 4), value))
        right = expected.faithful["output"]
        assert verdict(expected, right) is None and verdict(expected, right / 2) is not None
        assert (verdict(expected, np.full_like(right, np.inf)) is None) == open_


def test_an_op_may_compute_in_a_wider_type() -> None:
    """As fused multiplications do: 3e38 * 2 - 3e38 is 3e38 with one rounding, infinite with two."""
    expected = expectation(lambda x: tg.rotary(x, np.float32([[2.0]]), np.float32([[1.0]])), [[3e38, 3e38]])
    assert np.isinf(expected.faithful["output"]).all()
    assert verdict(expected, [[3e38, np.inf]]) is None
    assert verdict(expected, [[2e38, np.inf]]) is not None


def test_the_order_of_a_sum_decides_what_overflows() -> None:
    terms = [[1.5e308, 1.0], [1.5e308, np.inf], [-1.6e308, 2.0]]
    expected = expectation(lambda x: tg.reduce_sum(x, axes=(0,)), terms, tg.f64)
    assert verdict(expected, [1.4e308, np.inf]) is None
    assert verdict(expected, [np.inf, np.inf]) is None
    assert verdict(expected, [1.3e308, np.inf]) is not None
    assert verdict(expected, [np.inf, np.nan]) is not None  # an infinity that is fed is none of order


def test_a_number_with_more_range_may_be_cast_to_an_integer() -> None:
    expected = expectation(lambda x: tg.cast(tg.exp(x), dtype=tg.i32), [1.0, 800.0], tg.f64)
    assert verdict(expected, [2, 2**31 - 1]) is None
    assert verdict(expected, [5, 2**31 - 1]) is not None


def test_a_cap_hides_what_overflows() -> None:
    def capped(x: tg.Tensor) -> tg.Tensor:
        return tg.attention(x[..., :2], x[..., :2], x[..., 2:], scale=1.0, softcap=1.0)

    for size, told in ((3e38, False), (3.0, True)):
        expected = expectation(capped, np.array([[[[size, -size, 0.0], [size, size, 8.0]]]]))
        assert (verdict(expected, [[[[1.0], [1.0]]]]) is not None) == told


def test_the_order_of_a_product_decides_what_overflows_on_the_way() -> None:
    for size, told in ((1e30, False), (1e3, True)):
        expected = expectation(lambda x: tg.tanh(tg.reduce_prod(x, axes=(-1,))), [[1 / size, size, 1 / size, size, 1.0]])
        assert expected.faithful["output"] == np.tanh(np.float32(1.0))
        assert (verdict(expected, [1.0]) is not None) == told


def test_a_function_hides_what_overflows_in_a_sum() -> None:
    for size, told in ((3e38, False), (3.0, True)):
        expected = expectation(lambda x: tg.tanh(tg.reduce_sum(x, axes=(-1,))), [[size, size, -size, -size]])
        assert (verdict(expected, [-0.5]) is not None) == told


def test_the_sign_of_a_product_s_zero_is_open() -> None:
    expected = expectation(lambda x: 1.0 / tg.matmul(x, x * 0.0), [[0.0, -0.0], [-0.0, 0.0]])
    assert verdict(expected, -expected.faithful["output"]) is None
    assert verdict(expectation(lambda x: 1.0 / (x * 0.0), [0.0]), [-np.inf]) is not None


def test_the_error_of_a_logarithm_near_0_is_that_of_1() -> None:
    expected = expectation(lambda x: 1.0 / (tg.log_softmax(x) * -1.0), [[0.0, -23.0]])
    assert np.isfinite(expected.faithful["output"]).all()
    assert verdict(expected, [[-np.inf, expected.faithful["output"][0, 1]]]) is None
    assert verdict(expected, [[1.0, -np.inf]]) is not None


def test_the_bias_of_a_linear_may_come_after_a_rounding() -> None:
    for value, told in ((300.0, False), (3.0, True)):  # 180,000 is infinite in f16, 18 is not
        expected = expectation(lambda x: tg.linear(x, x, np.float16([-np.inf])), [[value, value]], tg.f16)
        assert expected.faithful["output"] == -np.inf
        assert (verdict(expected, [[np.nan]]) is not None) == told


def test_subnormal_halves_are_of_one_unit() -> None:
    expected = expectation(lambda x: tg.rsqrt(tg.exp(x)), [-16.9], tg.f16)
    assert np.isfinite(expected.faithful["output"]) and verdict(expected, [np.inf]) is None
    assert verdict(expectation(lambda x: tg.rsqrt(tg.exp(x)), [-9.0], tg.f16), [np.inf]) is not None


def test_weights_that_underflow_make_nan_of_infinite_values() -> None:
    expected = expectation(lambda x: tg.attention(x[..., :1], x[..., :1] * 0.0 + x[..., 1:2], x[..., 2:]),
                           np.array([[[[1.0, 0.0, 1.0], [1.0, -95.0, np.inf]]]]))
    assert verdict(expected, [[[[np.inf], [np.inf]]]]) is None
    assert verdict(expected, [[[[np.nan], [np.nan]]]]) is None
    assert verdict(expected, [[[[1.0], [1.0]]]]) is not None


def test_a_little_may_be_left_of_what_cancels() -> None:
    """1e38 - 3 - 1e38 is 0 or -3, as the sum goes, and +-1e31 with the roundings of its terms moved; silu makes 0 of -1e31."""
    def divided(x: tg.Tensor) -> tg.Tensor:
        total = tg.reduce_sum(x, axes=(-1,))
        return total / (1.0 + tg.exp(-total)) // -0.0

    expected = expectation(divided, [[1e38, -3.0, -1e38], [4.0, -3.0, 1.0]])
    assert expected.faithful["output"][1] == -np.inf
    for found in (np.inf, -np.inf, np.nan):
        assert verdict(expected, [found, -np.inf]) is None
    for found in (np.inf, np.nan):
        assert verdict(expected, [np.nan, found]) is not None


def test_any_of_numbers_that_are_equal_but_for_rounding_may_be_the_largest() -> None:
    """x / rms_norm(x) is one number a row, here but for an element that is half of that."""
    share = np.ones(33, np.float32)
    share[7] = 0.5
    expected = expectation(lambda x: tg.equal(tg.argmax(x / tg.rms_norm(x) * share, keepdims=True), np.arange(33)),
                           np.random.default_rng(0).uniform(1.0, 2.0, (1, 33)))
    for largest in range(33):
        assert (verdict(expected, [np.arange(33) == largest]) is None) == (largest != 7)


def test_half_precisions_may_be_rounded_at_some_values_only() -> None:
    """As log_softmax, made of its parts, rounds what it gives, and the parts not: -124.52 times the scale, where all
    roundings make it -124.43 times, and none -124.49."""
    row = [1.667, -1.644, -0.3545, -0.3254, 2.297, -1.029, 0.5254, 1.09, -0.00223, 0.4539, 2.211, 1.751, -1.536, -0.26, 0.2373,
           0.2468, -0.1292]

    def quantized(x: tg.Tensor) -> tg.Tensor:
        shifted = x - tg.reduce_max(x, axes=(-1,), keepdims=True)
        return tg.quantize_rows(shifted - tg.log(tg.reduce_sum(tg.exp(shifted), axes=(-1,), keepdims=True)))[0]

    expected = expectation(quantized, [row], tg.f16)
    found = Interpreter(tg.optimize(expected.graph, "O3"), faithful=True).run(expected.feeds)["output"]
    assert expected.faithful["output"][0, 12] == -124 and found[0, 12] == -125
    assert verdict(expected, found) is None
    for position in range(17):
        other = found.copy()
        other[0, position] += 40  # beyond the spread
        assert verdict(expected, other) is not None


def test_passes_may_keep_the_logarithms_of_exponentials() -> None:
    """Those that e^x has no place for in its type: log_softmax and softmax, which passes make of them, do not go that way."""
    def log_softmax(x: tg.Tensor) -> tg.Tensor:
        return x - tg.log(tg.reduce_sum(tg.exp(x), axes=(-1,), keepdims=True))

    def shares(x: tg.Tensor) -> tg.Tensor:
        return tg.exp(x) / tg.reduce_sum(tg.exp(x), axes=(-1,), keepdims=True)

    for build, value, dtype in (
        (lambda x: tg.isinf(tg.log(tg.softmax(x))), -200.0, tg.f32),
        (lambda x: tg.isinf(log_softmax(x)), 20_000.0, tg.f32),
        (lambda x: tg.quantize_rows(log_softmax(x))[0], 20_000.0, tg.f16),
        (lambda x: tg.isnan(shares(x)), 20_000.0, tg.f32),
    ):
        expected = expectation(build, [[value, 1.0], [1.0, value]], dtype)
        found = Interpreter(tg.optimize(expected.graph, "O3"), faithful=True).run(expected.feeds)["output"]
        assert verdict(expected, expected.faithful["output"], strict=True) is None
        assert (found != expected.faithful["output"]).any()
        assert verdict(expected, found) is None and verdict(expected, found, strict=True) is not None
        other = expectation(build, [[3.0, 1.0], [1.0, 3.0]], dtype)
        wrong = other.faithful["output"].copy()
        wrong[0, 0] = 100 if dtype == tg.f16 else not wrong[0, 0]
        assert verdict(other, wrong) is not None


def test_the_order_of_a_sum_decides_about_what_has_logarithms_only() -> None:
    """-3e38 * 2 + 3e38 * 2, of logarithms of shares that are 0."""
    for low, told in ((-3e38, False), (-3.0, True)):
        expected = expectation(lambda x: tg.matmul(tg.log(tg.softmax(x[:1])), tg.transpose(x[1:])) < 1.0,
                               [[1.0, low, low], [1.0, 2.0, -2.0]])
        found = ~expected.faithful["output"]
        assert (verdict(expected, found) is not None) == told and verdict(expected, found, strict=True) is not None


def attended(dtype: tg.DType, fill: float, feeds: dict[str, Any]) -> tuple[Expectation, np.ndarray, np.ndarray]:
    """What may come of which results are numbers, of attention where the last of three keys is excluded; what it is before the
    passes, and after them."""
    def are_numbers(q: tg.Tensor, k: tg.Tensor, v: tg.Tensor, bias: tg.Tensor | None = None) -> tg.Tensor:
        scores = tg.matmul(q, k) if bias is None else tg.matmul(q, k) + bias
        y = tg.matmul(tg.softmax(tg.where(np.array([True, True, False]), scores, fill)), v)
        return y >= y

    arrays = {name: np.asarray(x, dtype.numpy) for name, x in feeds.items()}
    graph = tg.trace(are_numbers, **{name: dtype[x.shape] for name, x in arrays.items()})
    before, after = (Interpreter(g, faithful=True).run(arrays) for g in (graph, tg.optimize(graph, "O3")))
    return Expectation(graph, arrays, before), before["output"], after["output"]


@pytest.mark.parametrize(("dtype", "fill", "excluded"), [
    (tg.f32, -np.inf, np.nan), (tg.f32, -1e30, -np.inf), (tg.f16, -np.inf, np.nan)], ids=str)
def test_passes_may_leave_out_excluded_values_that_a_comparison_hides(dtype: tg.DType, fill: float, excluded: float) -> None:
    """Beside an infinity, with a weight of e^-80 (0 in f16, not in f32, where attention keeps it), and NaN."""
    values = [[1.0, 1.0, np.nan], [1.0, np.inf, 1.0], [excluded, excluded, 1.0]]
    expected, before, after = attended(dtype, fill, {"q": [[[1.0]]], "k": [[[1.0, -80.0, 0.0]]], "v": [values]})
    assert before.tolist() == [[[False, False, False]]] and after.tolist() == [[[True, True, False]]]
    assert verdict(expected, after) is None
    assert verdict(expected, after, strict=True) is not None and verdict(expected, [[[True, True, True]]]) is not None
    small, before, after = attended(dtype, fill, {"q": [[[1.0]]], "k": [[[1.0, -200.0, 0.0]]], "v": [[[1.0], [np.inf], [1.0]]]})
    if dtype == tg.f32:  # a weight of 0 that no mask makes
        assert not before.any() and not after.any() and verdict(small, [[[True]]]) is not None


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_passes_may_let_in_excluded_scores_that_a_comparison_hides(score: float) -> None:
    """Where they cannot know that the others are above the fill, so that it is a term beside these, as in the first batch."""
    feeds = {"q": np.ones((2, 1, 1)), "k": [[[1.0, 1.0, score]], [[1.0, 1.0, 1.0]]], "v": np.ones((2, 3, 1)),
             "bias": np.full((2, 1, 3), -3e38)}
    expected, before, after = attended(tg.f32, -1e30, feeds)
    assert before.ravel().tolist() == [True, True] and after.ravel().tolist() == [False, True]
    assert verdict(expected, after) is None and verdict(expected, after, strict=True) is not None
    assert verdict(expected, [[[True]], [[False]]]) is not None


def test_a_scalar_may_depend_on_the_order_of_a_product() -> None:
    expected = expectation(lambda x: tg.tanh(tg.reduce_prod(x, axes=(0,))), [1e-30, 1e30, 1e-30, 1e30])
    assert expected.faithful["output"].shape == () and verdict(expected, 0.5) is None


def test_large_integers_are_told_apart() -> None:
    """Those that are one number in float64: in runs, too."""
    least, most = -2**63, 2**63 - 1
    runs = [np.int64([least + 3, 7, least, most]), np.int64([least + 6, 7, most, most])]
    for found, right in ([least + 5, 7, 0, most], True), ([least + 100, 8, 0, most - 1], False):
        assert (within(np.int64(found), runs, 0.0) == [right, right, True, right]).all()


def test_the_sign_of_a_sum_of_negative_zeros_is_open() -> None:
    """It is that of what the sum begins with, if that is 0.0; without a beginning, or a sum of one number, it is -0.0."""
    for build in (tg.reduce_sum, tg.reduce_mean):
        expected = expectation(lambda x, build=build: 1.0 / build(x, axes=(-1,)), [[-0.0, -0.0], [1.0, -1.0]])
        assert verdict(expected, [np.inf, np.inf]) is None and verdict(expected, [-np.inf, np.inf]) is None


def test_the_sign_of_a_zero_of_a_norm_is_open() -> None:
    """x a + (bias - mean a) is 0.0 for a of 0, (x - mean) a is -0.0 below the mean."""
    expected = expectation(lambda x: 1.0 / tg.layer_norm(x, np.float32([0.0, 1.0])), [[1.0, 2.0]])
    assert verdict(expected, -expected.faithful["output"] * [1, -1]) is None
    assert verdict(expected, -expected.faithful["output"]) is not None


def test_numbers_that_are_equal_but_for_rounding_may_be_equal() -> None:
    """Each of 200, though few runs make a certain one so: silu in two ways, of which passes make one."""
    for share, told in ((1.0, False), (1.1, True)):
        expected = expectation(lambda x, share=share: tg.equal(x / (tg.exp(-x) + share), x * tg.sigmoid(x)),
                               np.linspace(0.1, 4, 200))
        for found in (True, False):
            assert verdict(expected, np.full(200, found)) is None or (told and found)
        assert (verdict(expected, np.full(200, True)) is not None) == told
