"""Products in Triton: a program has BLOCK_M x BLOCK_N sums, in f32. Needs Triton when it is imported."""

import triton
import triton.language as tl


@triton.jit
def linear(x, w, out, bias, residual, m, n, k, x_row, w_row, out_row, residual_row,
           BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BAND: tl.constexpr,
           BIAS: tl.constexpr, GELU: tl.constexpr, RESIDUAL: tl.constexpr):
    """out [m, n] = f(x [m, k] w [n, k]^T + bias [n]) + residual [m, n], where f is the exact GELU or nothing; distances of rows.

    k is a multiple of BLOCK_K. There are ceil(m / BLOCK_M) ceil(n / BLOCK_N) programs, those of BAND rows side by side.
    """
    down = tl.cdiv(m, BLOCK_M)
    across = tl.cdiv(n, BLOCK_N)
    number = tl.program_id(0)
    band = number // (BAND * across)
    height = tl.minimum(down - band * BAND, BAND)
    within = number - band * BAND * across
    i = (band * BAND + within % height) * BLOCK_M + tl.arange(0, BLOCK_M)
    j = within // height * BLOCK_N + tl.arange(0, BLOCK_N)
    step = tl.arange(0, BLOCK_K)
    # past the end are copies of the last row, whose sums are not stored
    xs = x + tl.minimum(i, m - 1).to(tl.int64)[:, None] * x_row + step[None, :]
    ws = w + tl.minimum(j, n - 1).to(tl.int64)[None, :] * w_row + step[:, None]
    sums = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for _ in range(0, k, BLOCK_K):
        sums = tl.dot(tl.load(xs), tl.load(ws), sums)
        xs += BLOCK_K
        ws += BLOCK_K
    there = (i < m)[:, None] & (j < n)[None, :]
    if BIAS:
        sums += tl.load(bias + j, mask=j < n, other=0.0).to(tl.float32)[None, :]
    if GELU:
        sums = 0.5 * sums * (1 + tl.erf(sums * 0.7071067811865476))
    if RESIDUAL:
        rows = i.to(tl.int64)[:, None] * residual_row + j[None, :]
        sums += tl.load(residual + rows, mask=there, other=0.0).to(tl.float32)
    tl.store(out + (i.to(tl.int64)[:, None] * out_row + j[None, :]), sums.to(out.dtype.element_ty), mask=there)
