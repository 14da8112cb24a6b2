"""Texts → token ids: the tokenizer's own answers, remembered by word, as text is mostly words seen before."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fractal.encoders.block import offsets_of
from fractal.errors import MissingExtra
from fractal.remembered import Remembered

__all__ = ["MOST_TOKENS", "Tokeniser"]

MOST_TOKENS = 512  # of a text that are read
MOST_CHARACTERS = 16 * MOST_TOKENS  # what stands behind is cut before it is tokenised

_WORD = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")  # how a BERT tokenizer cuts ASCII text that has no capitals
_REMOVED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # characters whose removal joins their neighbours


class _Words(Remembered[tuple[int, ...]]):
    """The ids of every word seen so far, with the punctuation that is written on to it."""

    most = 1 << 18

    def __init__(self, tokenizer: Any, dropped: int | None) -> None:
        super().__init__()
        self.tokenizer, self.dropped = tokenizer, dropped

    def answer(self, word: str) -> tuple[int, ...]:
        parts = _WORD.findall(word) if word.isascii() else [word]
        return (
            self._asked(word) if parts == [word] else tuple(itertools.chain.from_iterable(map(self.__getitem__, parts)))
        )

    def _asked(self, word: str) -> tuple[int, ...]:
        return tuple(i for i in self.tokenizer.encode(word, add_special_tokens=False).ids if i != self.dropped)


class Tokeniser:
    """A tokenizer by its JSON; unknown pieces are left out, and no marks are added.

    Uncased BERT tokenizers cut at blanks and punctuation before anything else, so their answers can be put together
    from those for single words, at several times the speed. Any other tokenizer is asked for whole texts.
    """

    def __init__(self, written: str) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtra("static", "encoders", "tokenizers") from error
        self.tokenizer = Tokenizer.from_str(written)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        described = msgspec.json.decode(written)
        self.unknown: int | None = self.tokenizer.token_to_id(described["model"].get("unk_token") or "")
        self.marks = tuple(token["content"] for token in described.get("added_tokens") or ())
        self.sign = next(
            (letter for letter in "".join(self.marks[:1]) if all(letter in mark for mark in self.marks)), ""
        )
        self.by_word = _cuts_at_words(described)

    @functools.cached_property
    def _words(self) -> _Words:
        return _Words(self.tokenizer, self.unknown)

    def __call__(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the ids of all texts one after another, and where each text starts: (token,), (text + 1,)."""
        texts = [text[:MOST_CHARACTERS] for text in texts]
        ids = [self._of_words(text) for text in texts] if self.by_word else self._of_texts(texts)
        joined = np.fromiter(itertools.chain.from_iterable(ids), np.int64)
        return joined, offsets_of([len(of_text) for of_text in ids])

    def _of_texts(self, texts: Sequence[str]) -> list[list[int]]:
        clean = [text.encode("utf-8", "replace").decode() for text in texts]  # lone surrogates are no text
        encoded = self.tokenizer.encode_batch_fast(clean, add_special_tokens=False)
        return [[i for i in encoding.ids if i != self.unknown][:MOST_TOKENS] for encoding in encoded]

    def _of_words(self, text: str) -> list[int]:
        words = self._words
        if _REMOVED.search(text) or (self.sign in text and any(mark in text for mark in self.marks)):
            return self._of_texts([text])[0]
        if text.isascii():
            ids = itertools.chain.from_iterable(map(words.__getitem__, text.lower().split()))
            return list(itertools.islice(ids, MOST_TOKENS))
        parts = (p.lower() if p.isascii() else p.encode("utf-8", "replace").decode() for p in text.split())
        return list(itertools.islice(itertools.chain.from_iterable(map(words.__getitem__, parts)), MOST_TOKENS))


def _cuts_at_words(described: dict[str, Any]) -> bool:
    """Whether this is an uncased BERT tokenizer, whose added tokens are matched as they are written."""
    normalizer, cutter = described.get("normalizer") or {}, described.get("pre_tokenizer") or {}
    plain = ("single_word", "lstrip", "rstrip", "normalized")
    return bool(
        normalizer.get("type") == "BertNormalizer"
        and normalizer.get("lowercase")
        and normalizer.get("clean_text")
        and cutter.get("type") == "BertPreTokenizer"
        and described["model"].get("type") == "WordPiece"
        and not any(token.get(option) for token in described.get("added_tokens") or () for option in plain)
    )
