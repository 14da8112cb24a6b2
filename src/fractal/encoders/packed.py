"""BERT without padding: the tokens of many texts stand in one row, and attention is cut at the texts' ends; for GPUs.

Products of all three projections are one, the feed-forward's activation is part of its product; attention and the sums
that are normalised are kernels of our own where Triton is at hand. On a CPU padded batches of like length are as quick.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.hardware import require_torch

__all__ = ["PackedBert"]

TOLERANCE = 0.05  # of states about 1 in size, in 16 bits
TOKENS_AT_ONCE = 131_072  # of a pass on a GPU: enough that its products, not their launches, take the time


class PackedBert:
    """The weights of a BERT encoder in the form that packed passes read."""

    def __init__(self, network: Any) -> None:
        torch = require_torch("PackedBert")
        config, embeddings = network.config, network.embeddings
        self.heads, self.width, self.eps = config.num_attention_heads, config.hidden_size, config.layer_norm_eps
        self.device = network.device
        self.words = embeddings.word_embeddings.weight
        self.places = embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]
        self.first_norm = (embeddings.LayerNorm.weight, embeddings.LayerNorm.bias)
        self.layers = []
        for layer in network.encoder.layer:
            own, after = layer.attention.self, layer.attention.output
            parts = (own.query, own.key, own.value)
            self.layers.append(
                (
                    torch.cat([part.weight for part in parts]).T.contiguous(),
                    torch.cat([part.bias for part in parts]),
                    *_product(after.dense),
                    (after.LayerNorm.weight, after.LayerNorm.bias),
                    *_product(layer.intermediate.dense),
                    *_product(layer.output.dense),
                    (layer.output.LayerNorm.weight, layer.output.LayerNorm.bias),
                )
            )

    @staticmethod
    def fits(network: Any) -> bool:
        """Whether a network is a BERT of the usual form, so that packed passes give what it gives."""
        config = network.config
        usual = config.model_type == "bert" and config.hidden_act == "gelu"
        return usual and getattr(config, "position_embedding_type", "absolute") in ("absolute", None)

    def states(self, tokens: Any, lengths: Any, longest: int) -> Any:
        """Return the last states (token, width) of texts that stand one after another; lengths are theirs."""
        torch = require_torch("PackedBert")
        ends = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
        place = torch.arange(len(tokens), device=tokens.device) - torch.repeat_interleave(
            ends[:-1].long(), lengths, output_size=len(tokens)
        )
        norm, attend = _norm_and_attention(tokens.device.type)
        hidden = norm(self.words[tokens], self.places[place], *self.first_norm, self.eps)
        for enter, enter_bias, out, out_bias, mid_norm, wide, wide_bias, back, back_bias, last_norm in self.layers:
            joined = torch.addmm(enter_bias, hidden, enter).view(len(hidden), 3, self.heads, -1)
            read = attend(joined, ends, longest)
            hidden = norm(torch.addmm(out_bias, read, out), hidden, *mid_norm, self.eps)
            widened = _gelu_product(wide_bias, hidden, wide)
            hidden = norm(torch.addmm(back_bias, widened, back), hidden, *last_norm, self.eps)
        return hidden

    def pooled(self, ids: Sequence[Sequence[int]], budget: int = TOKENS_AT_ONCE) -> NDArray[np.float32]:
        """Return the mean state of each text at length one: (text, width); nothing waits for the GPU before the end."""
        torch = require_torch("PackedBert")
        counts = np.fromiter(map(len, ids), np.int64, len(ids))
        order = np.argsort(counts, kind="stable")  # texts of a pass are of like length: its tiles are as wide as they
        flat = np.fromiter((token for text in order for token in ids[text]), np.int64, int(counts.sum()))
        rows = self.pooled_flat(torch.from_numpy(flat).to(self.device), counts[order], budget)
        out = np.empty(rows.shape, np.float32)
        out[order] = rows.cpu().numpy()
        return out

    def pooled_flat(self, flat: Any, counts: NDArray[np.int64], budget: int = TOKENS_AT_ONCE) -> Any:
        """Return the same of tokens that are on the device already: (text, width), there."""
        torch = require_torch("PackedBert")
        bounds = np.concatenate([[0], counts.cumsum()])
        on_device = torch.from_numpy(counts).to(self.device)
        parts = [torch.zeros(0, self.width, device=self.device)]
        first = 0
        with torch.inference_mode():
            while first < len(counts):
                last = int(np.searchsorted(bounds, bounds[first] + budget, side="right")) - 1
                last = max(last, first + 1)
                tokens = flat[bounds[first] : bounds[last]]
                lengths = on_device[first:last]
                states = self.states(tokens, lengths, int(counts[first:last].max()))
                sums = torch.segment_reduce(states.float(), "mean", lengths=lengths, axis=0, unsafe=True)
                parts.append(torch.nn.functional.normalize(sums, dim=1))
                first = last
            return torch.cat(parts)


def _product(linear: Any) -> tuple[Any, Any]:
    return linear.weight.T.contiguous(), linear.bias


def _gelu_product(bias: Any, left: Any, right: Any) -> Any:
    """Return gelu(left @ right + bias); on a GPU as one kernel, with the activation's tanh form."""
    torch = require_torch("PackedBert")
    if left.device.type == "cuda":
        return torch._addmm_activation(bias, left, right, use_gelu=True)
    return torch.nn.functional.gelu(torch.addmm(bias, left, right))


@functools.cache
def _norm_and_attention(kind: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return what normalises sums and what attends inside texts, in the quickest form that the device has."""
    if kind != "cuda":
        return _add_and_norm, _masked_attention
    if importlib.util.find_spec("triton") is None:
        return _add_and_norm, _flash_attention
    try:
        from fractal.encoders.kernels import add_and_norm, attend

        tried = how_unlike_the_library(add_and_norm, attend, kind)
    except Exception as error:  # a card, driver or compiler that they were not made for
        tried = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if tried:
        warnings.warn(
            f"the kernels for packed texts are not used on this GPU but the library's, slower: {tried}", stacklevel=2
        )
        return _add_and_norm, _flash_attention
    return add_and_norm, attend


def how_unlike_the_library(
    norm: Callable[..., Any], attend: Callable[..., Any], device: str, dtype: str = "bfloat16"
) -> str:
    """Try kernels on small texts before they are trusted: return how they differ from the library, or nothing."""
    torch = require_torch("PackedBert")
    chance = torch.Generator().manual_seed(0)
    for lengths in ((1, 9, 16), (30, 2), (100, 65)):  # a tile each of 16 and 32, and several of 64
        joined = torch.randn(sum(lengths), 3, 2, 32, generator=chance).to(device)
        ends = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32, device=device)
        expected = _masked_attention(joined, ends, max(lengths))
        gap = (attend(joined.to(getattr(torch, dtype)), ends, max(lengths)) - expected).abs().max()
        if not gap < TOLERANCE:
            return f"attention differs by {float(gap):.2g}"
    one, other, weight, bias = torch.randn(4, 7, 384, generator=chance).to(device)
    rows = (one, other, weight[0], bias[0], 1e-12)
    gap = (norm(*rows) - _add_and_norm(*rows)).abs().max()
    return "" if gap < TOLERANCE else f"the normalised sum differs by {float(gap):.2g}"


def _add_and_norm(one: Any, other: Any, weight: Any, bias: Any, eps: float) -> Any:
    torch = require_torch("PackedBert")
    return torch.nn.functional.layer_norm(one + other, one.shape[-1:], weight, bias, eps)


def _flash_attention(joined: Any, ends: Any, longest: int) -> Any:
    torch = require_torch("PackedBert")
    parts = joined.unbind(1)
    read, *_ = torch.ops.aten._flash_attention_forward(*parts, ends, ends, longest, longest, 0.0, False, False)
    return read.reshape(len(joined), -1)


def _masked_attention(joined: Any, ends: Any, longest: int) -> Any:
    torch = require_torch("PackedBert")
    text = torch.repeat_interleave(torch.arange(len(ends) - 1, device=ends.device), ends.diff().long())
    same = (text[:, None] == text[None, :])[None]
    parts = [part.transpose(0, 1) for part in joined.unbind(1)]
    read = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=same)
    return read.transpose(0, 1).reshape(len(joined), -1)
