"""BERT without padding: the tokens of many texts stand in one row, and attention is cut at the texts' ends; for GPUs.

Products of all three projections are one, the feed-forward's activation is part of its product, and sums are normalised
in one pass where the compiler is at hand. On a CPU padded batches of like length are as quick.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.hardware import require_torch

__all__ = ["PackedBert"]

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
        norm = _add_and_norm(tokens.device.type)
        attend = _attention(tokens.device.type)
        hidden = norm(self.words[tokens], self.places[place], *self.first_norm, self.eps)
        for enter, enter_bias, out, out_bias, mid_norm, wide, wide_bias, back, back_bias, last_norm in self.layers:
            joined = torch.addmm(enter_bias, hidden, enter).view(len(hidden), 3, self.heads, -1)
            read = attend(*joined.unbind(1), ends, longest).reshape(len(hidden), self.width)
            hidden = norm(torch.addmm(out_bias, read, out), hidden, *mid_norm, self.eps)
            widened = _gelu_product(wide_bias, hidden, wide)
            hidden = norm(torch.addmm(back_bias, widened, back), hidden, *last_norm, self.eps)
        return hidden

    def pooled(self, ids: Sequence[Sequence[int]], budget: int = TOKENS_AT_ONCE) -> NDArray[np.float32]:
        """Return the mean state of each text at length one: (text, width); nothing waits for the GPU before the end."""
        torch = require_torch("PackedBert")
        counts = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.fromiter((token for of_text in ids for token in of_text), np.int64, int(counts.sum()))
        rows = self.pooled_flat(torch.from_numpy(flat).to(self.device), counts, budget)
        out: NDArray[np.float32] = rows.cpu().numpy()
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
def _add_and_norm(kind: str) -> Callable[..., Any]:
    torch = require_torch("PackedBert")

    def add_and_norm(one: Any, other: Any, weight: Any, bias: Any, eps: float) -> Any:
        return torch.nn.functional.layer_norm(one + other, one.shape[-1:], weight, bias, eps)

    if kind != "cuda":
        return add_and_norm
    if importlib.util.find_spec("triton") is None:
        return add_and_norm
    compiled: Callable[..., Any] = torch.compile(add_and_norm, dynamic=True)
    return compiled


@functools.cache
def _attention(kind: str) -> Callable[..., Any]:
    torch = require_torch("PackedBert")

    def on_gpu(query: Any, key: Any, value: Any, ends: Any, longest: int) -> Any:
        return torch.ops.aten._flash_attention_forward(
            query, key, value, ends, ends, longest, longest, 0.0, False, False
        )[0]

    def plain(query: Any, key: Any, value: Any, ends: Any, longest: int) -> Any:
        text = torch.repeat_interleave(torch.arange(len(ends) - 1, device=ends.device), ends.diff().long())
        same = (text[:, None] == text[None, :])[None]
        parts = [part.transpose(0, 1) for part in (query, key, value)]
        return torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=same).transpose(0, 1)

    return on_gpu if kind == "cuda" else plain
