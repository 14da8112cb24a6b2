"""A small decoder in plain torch: it samples with cached keys and values, and gives the state after every token."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.downstream.chains import ANSWER_WIDTH, BEGIN, END, PAD, PROMPT_WIDTH, SYMBOLS


@dataclasses.dataclass(frozen=True)
class Size:
    """How large a decoder is; the default has 0.8 million weights."""

    width: int = 128
    layers: int = 4
    heads: int = 4


DEFAULT_SIZE = Size()


class _Layer(nn.Module):
    """Attention and a network of one hidden layer, each on normed inputs and added to them."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.before_attention, self.before_network = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
        self.queries_keys_values = nn.Linear(size.width, 3 * size.width, bias=False)
        self.out = nn.Linear(size.width, size.width, bias=False)
        self.network = nn.Sequential(
            nn.Linear(size.width, 4 * size.width), nn.GELU(), nn.Linear(4 * size.width, size.width)
        )

    def forward(self, x: Tensor, mask: Tensor, cache: Tensor | None, start: int) -> Tensor:
        """Go on from place `start`: x (row, token, width), mask (row, 1, token, place), cache (2, row, head, …)."""
        rows, count, width = x.shape
        parts = self.queries_keys_values(self.before_attention(x)).view(rows, count, 3, self.heads, -1)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)  # (row, head, token, part)
        if cache is not None:
            cache[0, :, :, start : start + count], cache[1, :, :, start : start + count] = keys, values
            keys, values = cache[0, :, :, : start + count], cache[1, :, :, : start + count]
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        x = x + self.out(attended.transpose(1, 2).reshape(rows, count, width))
        return x + self.network(self.before_network(x))


class Policy(nn.Module):
    """Next tokens of a prompt, padded on the left, with an answer, padded on the right.

    The last token of the prompt always has the same place, so prompts may be cut to the widest of a batch.
    """

    def __init__(self, size: Size = DEFAULT_SIZE) -> None:
        super().__init__()
        self.size = size
        self.tokens = nn.Embedding(len(SYMBOLS), size.width)
        self.places = nn.Embedding(PROMPT_WIDTH + ANSWER_WIDTH + 1, size.width)
        self.layers = nn.ModuleList([_Layer(size) for _ in range(size.layers)])
        self.last_norm = nn.LayerNorm(size.width)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)

    def states(self, codes: Tensor, prompt_width: int, caches: list[Tensor] | None = None, start: int = 0) -> Tensor:
        """Return the last states (row, token, width) of the tokens from `start` on; `codes` holds those before, too."""
        count, skipped = codes.shape[1], PROMPT_WIDTH - prompt_width
        x = self.tokens(codes[:, start:]) + self.places.weight[skipped + start : skipped + count]
        ones = torch.ones(count, count, dtype=torch.bool, device=codes.device)
        itself = torch.eye(count, dtype=torch.bool, device=codes.device)  # so that padding attends to something
        mask = (ones.tril() & (codes != PAD)[:, None, :] | itself)[:, None, start:]
        for place, layer in enumerate(self.layers):
            x = layer(x, mask, None if caches is None else caches[place], start)
        return self.last_norm(x)

    def logits(self, states: Tensor) -> Tensor:
        """Return the logits of the next token; the weights are those of the tokens themselves."""
        return states @ self.tokens.weight.T

    def log_probabilities(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """Return the log-probability of every token of the answers, 0 of padding: (row, token)."""
        codes = torch.cat([prompts, answers], 1)
        width = prompts.shape[1]
        logits = self.logits(self.states(codes[:, :-1], width)[:, width - 1 :])
        taken = logits.log_softmax(-1).gather(-1, answers.unsqueeze(-1)).squeeze(-1)
        return torch.where(answers == PAD, 0.0, taken)

    @torch.inference_mode()
    def sample(self, prompts: Tensor, generator: torch.Generator | None, most: int = ANSWER_WIDTH) -> Tensor:
        """Draw answers (row, token) at temperature 1, or take the likeliest tokens where no generator is given."""
        rows, width = prompts.shape
        shape = (2, rows, self.size.heads, width + most, self.size.width // self.size.heads)
        caches = [torch.zeros(shape, device=prompts.device) for _ in self.layers]
        codes, start = prompts, 0
        open_rows = torch.ones(rows, dtype=torch.bool, device=prompts.device)
        for _ in range(most):
            logits = self.logits(self.states(codes, width, caches, start)[:, -1])
            logits[:, [PAD, BEGIN]] = -torch.inf
            if generator is None:
                drawn = logits.argmax(-1)
            else:
                noise = torch.empty_like(logits).exponential_(generator=generator)
                drawn = (logits.softmax(-1) / noise).argmax(-1)  # the exponential race draws by probability
            drawn = torch.where(open_rows, drawn, PAD)
            start, codes = codes.shape[1], torch.cat([codes, drawn[:, None]], 1)
            open_rows = open_rows & (drawn != END)
            if not bool(open_rows.any()):
                break
        return codes[:, width:]


def weights(policy: nn.Module) -> int:
    """Count the weights."""
    return sum(parameter.numel() for parameter in policy.parameters())


def trimmed(prompts: Tensor) -> Tensor:
    """Cut the padding that all prompts share on the left."""
    used = (prompts != PAD).any(0).nonzero()
    return prompts[:, int(used[0]) :]
