"""Attention in Triton (FlashAttention-2, arXiv:2307.08691): a program has BLOCK_Q queries of one head, and goes over the keys.

Scores and sums are in f32, weights are rounded to the type of the values for their product. Needs Triton when it is imported.
"""

import triton
import triton.language as tl


@triton.jit
def _find_keys(keep, keys, CHUNK: tl.constexpr):
    """The first key that a mask keeps (`keys` if there is none), and the end of the last one."""
    first = keys
    end = 0
    for start in range(0, keys, CHUNK):
        j = start + tl.arange(0, CHUNK)
        kept = tl.load(keep + j, mask=j < keys, other=0) != 0
        first = tl.minimum(first, tl.min(tl.where(kept, j, keys)))
        end = tl.maximum(end, tl.max(tl.where(kept, j + 1, 0)))
    return first, end


@triton.jit
def _blocks(total, peak, sums, q, k, v, keep, bias, start, stop, keys, reach, k_row, v_row, bias_row, scale, i, queries,
            BLOCK_K: tl.constexpr, DIM: tl.constexpr, EDGE: tl.constexpr, MASK: tl.constexpr, BIAS: tl.constexpr):
    """Goes over the keys from `start` to `stop`. EDGE: some of them may be past the last one, or past the reach of a query."""
    d = tl.arange(0, DIM)
    for block in range(start, stop, BLOCK_K):
        j = block + tl.arange(0, BLOCK_K)
        if EDGE:
            here = j < keys
            keys_t = tl.load(k + j[None, :] * k_row + d[:, None], mask=here[None, :], other=0.0)
        else:
            keys_t = tl.load(k + j[None, :] * k_row + d[:, None])
        s = tl.dot(q, keys_t) * scale
        if BIAS:
            there = (i < queries)[:, None] & (j < keys)[None, :]
            s += tl.load(bias + (i[:, None] * bias_row + j[None, :]), mask=there, other=0.0).to(tl.float32) * 1.4426950408889634
        if EDGE:
            s = tl.where(j[None, :] <= reach[:, None], s, float("-inf"))
        if MASK:
            kept = tl.load(keep + j, mask=j < keys, other=0) != 0
            s = tl.where(kept[None, :], s, float("-inf"))
        higher = tl.maximum(peak, tl.max(s, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        p = tl.exp2(s - base[:, None])
        fade = tl.exp2(peak - base)
        sums = sums * fade + tl.sum(p, 1)
        total = total * fade[:, None]
        if EDGE:
            values = tl.load(v + j[:, None] * v_row + d[None, :], mask=here[:, None], other=0.0)
        else:
            values = tl.load(v + j[:, None] * v_row + d[None, :])
        total = tl.dot(p.to(values.dtype), values, total)
        peak = higher
    return total, peak, sums


@triton.jit
def attention(q, k, v, out, keep, bias, offset, ahead, scale, heads, queries, keys,
              q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, out_batch, out_head, out_row,
              keep_batch, bias_batch, bias_head, bias_row,
              GROUP: tl.constexpr, DIM: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
              CAUSAL: tl.constexpr, MASK: tl.constexpr, BIAS: tl.constexpr, OFFSET: tl.constexpr):
    """out = softmax(scale q k^T + bias, where allowed) v. Distances in elements; `scale` times log2(e).

    keep: of bytes, one for each key of a batch. CAUSAL keeps keys j <= i + ahead, with OFFSET j <= i + the number at `offset`.
    A query without an allowed key gives zeros. There are ceil(queries / BLOCK_Q) programs for each head of each batch.
    """
    count = tl.cdiv(queries, BLOCK_Q)
    number = tl.program_id(0)
    block = number % count
    if CAUSAL:
        block = count - 1 - block  # those that attend most come first
    b = (number // count // heads).to(tl.int64)
    h = (number // count % heads).to(tl.int64)
    i = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    d = tl.arange(0, DIM)
    q += b * q_batch + h * q_head
    k += b * k_batch + (h // GROUP) * k_head
    v += b * v_batch + (h // GROUP) * v_head
    out += b * out_batch + h * out_head
    keep += b * keep_batch
    bias += b * bias_batch + h * bias_head

    first = 0
    stop = keys
    if MASK:
        first, stop = _find_keys(keep, keys, 1024)
    reach = tl.zeros([BLOCK_Q], tl.int32) + (keys - 1)  # the last key of each query
    whole = keys  # the keys below it are within the reach of all queries
    if CAUSAL:
        if OFFSET:
            ahead = tl.load(offset)
        more = tl.minimum(tl.maximum(ahead, -queries), keys).to(tl.int32)
        reach = tl.minimum(reach, i + more)
        stop = tl.minimum(stop, tl.maximum(block * BLOCK_Q + BLOCK_Q + more, 0))
        whole = tl.minimum(whole, tl.maximum(block * BLOCK_Q + 1 + more, 0))
    start = first // BLOCK_K * BLOCK_K
    whole = tl.maximum(whole // BLOCK_K * BLOCK_K, start)

    rows = tl.load(q + i[:, None] * q_row + d[None, :], mask=(i < queries)[:, None], other=0.0)
    peak = tl.full([BLOCK_Q], float("-inf"), tl.float32)
    sums = tl.zeros([BLOCK_Q], tl.float32)
    total = tl.zeros([BLOCK_Q, DIM], tl.float32)
    total, peak, sums = _blocks(total, peak, sums, rows, k, v, keep, bias, start, tl.minimum(whole, stop), keys, reach,
                                k_row, v_row, bias_row, scale, i, queries, BLOCK_K, DIM, False, MASK, BIAS)
    total, peak, sums = _blocks(total, peak, sums, rows, k, v, keep, bias, whole, stop, keys, reach,
                                k_row, v_row, bias_row, scale, i, queries, BLOCK_K, DIM, True, MASK, BIAS)
    result = tl.where((first > reach)[:, None], 0.0, total / sums[:, None])
    tl.store(out + i[:, None] * out_row + d[None, :], result.to(out.dtype.element_ty), mask=(i < queries)[:, None])
