"""Corruption by a language model on this machine: one that writes on, or one that fills masks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from random import Random
from typing import Any

from fractal.datasets.corruption.base import GENERATORS, Case, Generator, GeneratorFailed
from fractal.datasets.corruption.facts import Fact
from fractal.errors import MissingExtra

WORDS_MASKED = 0.4  # of a sentence that a masked model rewrites
CONTEXT = 384  # tokens before the place that are read


@GENERATORS.register("transformers")
@dataclasses.dataclass(frozen=True)
class Transformers(Generator):
    """A local model: `transformers(model='folder or name')`, causal or masked, whichever it is."""

    model: str
    temperature: float = 1.0
    top_k: int = 50
    longest: int = 64  # tokens of a new sentence

    def replace_sentence(self, case: Case, place: int, rng: Random) -> str | None:
        """Write on from the sentences before; a masked model fills words of the old sentence anew."""
        model = _loaded(self.model)
        old = case.response.sentences[place]
        if not model.masked:
            before = " ".join(s.text for s in case.response.sentences[:place]) or case.response.query or old.text[:1]
            return _first_sentence(model.write_on(before + " ", self.longest, self._draw(rng)))
        words = [match for match in _words(old.text) if rng.random() < WORDS_MASKED] or _words(old.text)[:1]
        text = old.text
        for start, end in reversed(words):
            filled = model.fill(text[:start], text[end:], text[start:end], self._draw(rng))
            if filled is None:
                return None
            text = text[:start] + filled + text[end:]
        return text

    def replace_words(self, case: Case, facts: Sequence[Fact], rng: Random) -> Sequence[str] | None:
        """Draw a word for each place: by both sides where the model is masked, else by what stands before."""
        model = _loaded(self.model)
        text = case.response.text
        words = [model.fill(text[: f.start], text[f.end :], f.text, self._draw(rng)) for f in facts]
        return [word for word in words if word is not None] if all(words) else None

    def _draw(self, rng: Random) -> Draw:
        return Draw(self.temperature, self.top_k, rng.randrange(2**31))


@dataclasses.dataclass(frozen=True)
class Draw:
    """How the next word is drawn."""

    temperature: float
    top_k: int
    seed: int


class Model:
    """A tokenizer and a model, and the two things that are asked of them."""

    def __init__(self, tokenizer: Any, model: Any, masked: bool) -> None:
        self.tokenizer, self.model, self.masked = tokenizer, model, masked

    def fill(self, left: str, right: str, old: str, draw: Draw) -> str | None:
        """Return a word that could stand between left and right and is not the old one."""
        import torch

        if self.masked:
            text = f"{left[-4 * CONTEXT :]}{self.tokenizer.mask_token}{right[:CONTEXT]}"
            ids = self.tokenizer(text, return_tensors="pt", truncation=True, max_length=self._most())["input_ids"]
            place = (ids[0] == self.tokenizer.mask_token_id).nonzero()
            if len(place) != 1:
                return None
            place = int(place[0, 0])
        else:
            ids = self._ids(left.rstrip() or self.tokenizer.eos_token or " ")
            place = ids.shape[1] - 1
        with torch.inference_mode():
            logits = self.model(input_ids=ids).logits[0, place]
        generator = torch.Generator().manual_seed(draw.seed)
        order = torch.multinomial(_probabilities(logits, draw), min(draw.top_k, len(logits)), generator=generator)
        words = (self.tokenizer.decode([int(token)]).strip() for token in order)
        return next((word for word in words if word.isalnum() and word.casefold() != old.casefold()), None)

    def write_on(self, left: str, longest: int, draw: Draw) -> str:
        """Return what the model writes behind the text."""
        import torch

        ids = start = self._ids(left)
        generator = torch.Generator().manual_seed(draw.seed)
        with torch.inference_mode():
            for _ in range(longest):
                logits = self.model(input_ids=ids[:, -self._most() :]).logits[0, -1]
                token = torch.multinomial(_probabilities(logits, draw), 1, generator=generator)
                ids = torch.cat([ids, token.view(1, 1)], 1)
                if int(token) == self.tokenizer.eos_token_id:
                    break
        return str(self.tokenizer.decode(ids[0, start.shape[1] :], skip_special_tokens=True))

    def _ids(self, text: str) -> Any:
        return self.tokenizer(text, return_tensors="pt")["input_ids"][:, -min(CONTEXT, self._most()) :]

    def _most(self) -> int:
        config = self.model.config
        return min(512, int(getattr(config, "max_position_embeddings", getattr(config, "n_positions", 512))) - 2)


def _probabilities(logits: Any, draw: Draw) -> Any:
    """Return the probabilities of the likeliest tokens at the temperature, 0 for the others: (vocabulary,)."""
    import torch

    top = torch.topk(logits.float(), min(draw.top_k, len(logits)))
    likeliest = torch.full_like(logits.float(), -torch.inf).scatter(0, top.indices, top.values)
    return torch.softmax(likeliest / max(draw.temperature, 1e-3), 0)


@functools.lru_cache(maxsize=2)
def _loaded(name: str) -> Model:
    try:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtra("The generator 'transformers'", "train", "transformers") from error
    try:
        config = AutoConfig.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
        masked = any("MaskedLM" in kind for kind in config.architectures or ())
        kind = AutoModelForMaskedLM if masked else AutoModelForCausalLM
        model = kind.from_pretrained(name).eval()
    except (OSError, ValueError) as error:
        raise GeneratorFailed(
            f"the model {name!r} cannot be loaded ({str(error)[:200]}): give a folder, or a name that is in the cache"
        ) from error
    return Model(tokenizer, model, masked)


def _words(text: str) -> list[tuple[int, int]]:
    import re

    return [match.span() for match in re.finditer(r"[^\W_]{3,}", text)]


def _first_sentence(text: str) -> str | None:
    from fractal.records.splitting import SPLITTERS

    parts = SPLITTERS.build("sentences")(text.strip())
    return parts[0].text if parts else None
