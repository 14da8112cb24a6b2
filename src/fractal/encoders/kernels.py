"""Triton kernels of packed passes: attention inside short texts, and a sum that is normalised, each in one reading.

Sentences have thirty tokens and a head has 32 numbers: library kernels for attention leave most of a GPU idle there.
Here a program takes one head of one text whole, or of a longer text so many queries at once, and keeps its scores on
the chip.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

__all__ = ["add_and_norm", "attend"]

LONGEST_AT_ONCE = 64  # queries and keys that a program holds: more would leave its registers
ONE_WARP = 32  # of queries: more are shared by two warps or four


@triton.jit
def _attend(
    joined: tl.tensor,
    ends: tl.tensor,
    out: tl.tensor,
    scale: tl.tensor,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    TILE: tl.constexpr,
    TILES: tl.constexpr,
) -> None:
    """One head of one text, TILE of its queries: softmax(query keysᵀ) values, keys by tiles with a running maximum.

    Programs side by side are the heads of one text, whose numbers stand side by side in memory.
    """
    text, head, tile = tl.program_id(0) // HEADS, tl.program_id(0) % HEADS, tl.program_id(1)
    start, end = tl.load(ends + text), tl.load(ends + text + 1)
    length = end - start
    if tile * TILE >= length:
        return
    columns = tl.arange(0, SIZE)
    queries = tile * TILE + tl.arange(0, TILE)
    stride = 3 * HEADS * SIZE
    base = joined + start.to(tl.int64) * stride + head * SIZE
    query = tl.load(base + queries[:, None] * stride + columns, mask=queries[:, None] < length, other=0.0)
    highest = tl.full([TILE], float("-inf"), tl.float32)
    total = tl.zeros([TILE], tl.float32)
    read = tl.zeros([TILE, SIZE], tl.float32)
    for number in tl.static_range(TILES):
        places = number * TILE + tl.arange(0, TILE)
        real = places < length
        key = tl.load(base + HEADS * SIZE + places[:, None] * stride + columns, mask=real[:, None], other=0.0)
        value = tl.load(base + 2 * HEADS * SIZE + places[:, None] * stride + columns, mask=real[:, None], other=0.0)
        scores = tl.dot(query, tl.trans(key)) * scale
        scores = tl.where(real[None, :], scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 1))
        shares = tl.exp2(scores - higher[:, None])
        fading = tl.exp2(highest - higher)
        total = total * fading + tl.sum(shares, 1)
        read = read * fading[:, None] + tl.dot(shares.to(value.dtype), value)
        highest = higher
    read = read / total[:, None]
    place = out + (start + queries[:, None]).to(tl.int64) * (HEADS * SIZE) + head * SIZE + columns
    tl.store(place, read.to(out.dtype.element_ty), mask=queries[:, None] < length)


@triton.jit
def _add_and_norm(
    one: tl.tensor,
    other: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    eps: tl.tensor,
    count: tl.tensor,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """ROWS tokens: their sum with what they were, at mean 0 and variance 1, scaled."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, PADDED)
    real = (rows[:, None] < count) & (columns < WIDTH)
    places = rows[:, None].to(tl.int64) * WIDTH + columns
    both = tl.load(one + places, mask=real, other=0.0).to(tl.float32)
    both += tl.load(other + places, mask=real, other=0.0).to(tl.float32)
    centred = tl.where(columns < WIDTH, both - tl.sum(both, 1)[:, None] / WIDTH, 0.0)
    spread = tl.rsqrt(tl.sum(centred * centred, 1) / WIDTH + eps)
    scaled = tl.load(weight + columns, mask=columns < WIDTH, other=0.0).to(tl.float32)
    shift = tl.load(bias + columns, mask=columns < WIDTH, other=0.0).to(tl.float32)
    tl.store(out + places, (centred * spread[:, None] * scaled + shift).to(out.dtype.element_ty), mask=real)


def attend(joined: Any, ends: Any, longest: int) -> Any:
    """Attention inside each text of joined (token, 3, head, size): query, key and value; returns (token, head · size).

    Texts end at `ends` (text + 1,), and the longest has so many tokens; the size of a head is a power of two from 16.
    """
    tokens, _, heads, size = joined.shape
    out = torch.empty(tokens, heads * size, dtype=joined.dtype, device=joined.device)
    tile = min(max(triton.next_power_of_2(longest), 16), LONGEST_AT_ONCE)
    tiles = triton.cdiv(longest, tile)
    warps = 1 if tile <= ONE_WARP else 4
    scale = size**-0.5 * 1.4426950408889634  # of powers of two
    _attend[((len(ends) - 1) * heads, tiles)](joined, ends, out, scale, heads, size, tile, tiles, num_warps=warps)
    return out


def add_and_norm(one: Any, other: Any, weight: Any, bias: Any, eps: float) -> Any:
    """Return layer_norm(one + other) of rows (token, width), summed in fp32."""
    count, width = one.shape
    out = torch.empty_like(one)
    padded, rows = triton.next_power_of_2(width), 4
    _add_and_norm[(triton.cdiv(count, rows),)](one, other, weight, bias, out, eps, count, width, padded, rows)
    return out
