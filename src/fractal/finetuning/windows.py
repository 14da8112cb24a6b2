"""Responses as token sequences: sentences alone, windows with the query first, and where each sentence stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.records import Response

__all__ = ["Marks", "Reader", "Sequences"]

Tokens = tuple[int, ...]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sequences:
    """Token sequences, and the range of one of them that each sentence is."""

    ids: tuple[Tokens, ...]
    row: Indices  # (sentence,): its sequence
    start: Indices  # (sentence,): its first token there
    end: Indices  # (sentence,): the token after its last
    cut: int = 0  # sentences of which tokens were left out
    companions: tuple[Indices, ...] = ()  # (sentence,) each: the sequence it is compared with, −1 for none

    @property
    def lengths(self) -> Indices:
        return np.fromiter((len(ids) for ids in self.ids), np.int64, len(self.ids))


@dataclass(frozen=True)
class Marks:
    """The tokens that a model puts before a text, between texts, and after the last."""

    begin: Tokens
    between: Tokens
    end: Tokens
    nothing: Tokens  # stands for a text without tokens

    @classmethod
    def of(cls, tokenizer: Any, *, causal: bool) -> Marks:
        first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
        last = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
        begin = () if first is None else (int(first),)
        if causal:
            between = tuple(tokenizer("\n", add_special_tokens=False)["input_ids"])
            return cls(begin, between, (), between or begin or (0,))
        end = () if last is None else (int(last),)
        return cls(begin, end, end, end or begin or (0,))


@dataclass(frozen=True, eq=False)
class Reader:
    """Cuts responses into the token sequences that a model reads."""

    tokenizer: Any
    marks: Marks
    causal: bool
    window: int
    sentence_tokens: int

    @classmethod
    def of(cls, tokenizer: Any, *, causal: bool, window: int, sentence_tokens: int) -> Reader:
        """Return the reader of a tokeniser; a small window has room for a query and a sentence of half its length."""
        marks = Marks.of(tokenizer, causal=causal)
        room = (window - len(marks.begin) - len(marks.between) - len(marks.end)) // 2
        return cls(tokenizer, marks, causal, window, max(min(sentence_tokens, room), 1))

    def sequences(self, view: str, responses: Sequence[Response], passages: Sequence[Sequence[str]] = ()) -> Sequences:
        """Return the responses as one view reads them."""
        if view == "own":
            return self.own(responses)
        if view == "full":
            return self.full(responses)
        return self.twin(responses, passages or [()] * len(responses))

    def own(self, responses: Sequence[Response]) -> Sequences:
        """Every sentence in a sequence of its own, behind the query: it sees nothing of the others."""
        prefixes = self._prefixes(responses)
        sentences, cut = self._sentences(responses)
        made = _Collected()
        for prefix, of_response in zip(prefixes, sentences, strict=True):
            for tokens in of_response:
                made.add_alone((*prefix, *tokens, *self.marks.end), len(prefix), len(prefix) + len(tokens))
        return made.sequences(self.causal, cut)

    def full(self, responses: Sequence[Response]) -> Sequences:
        """As many windows as a response needs, the query first in each; no sentence is torn."""
        prefixes = self._prefixes(responses)
        sentences, cut = self._sentences(responses)
        made = _Collected()
        room = self.window - len(self.marks.end)
        for prefix, of_response in zip(prefixes, sentences, strict=True):
            window = list(prefix)
            ranges: list[tuple[int, int]] = []
            for tokens in of_response:
                if ranges and len(window) + len(tokens) > room:
                    made.add_window((*window, *self.marks.end), ranges)
                    window, ranges = list(prefix), []
                ranges.append((len(window), len(window) + len(tokens)))
                window.extend(tokens)
            made.add_window((*window, *self.marks.end), ranges)
        return made.sequences(self.causal, cut)

    def twin(self, responses: Sequence[Response], passages: Sequence[Sequence[str]]) -> Sequences:
        """Every sentence alone; beside it its query, and the passage of its context that is nearest to it."""
        sentences, cut = self._sentences(responses)
        queries = self._texts([response.query for response in responses])[0]
        made = _Collected()
        query_of, passage_of = [], []
        nearest = iter(self._texts([text for of_response in passages for text in of_response])[0])
        for response, of_response, query, with_context in zip(responses, sentences, queries, passages, strict=True):
            asked = made.place(self._alone(query)) if response.query else -1
            for tokens in of_response:
                made.add_alone(self._alone(tokens), len(self.marks.begin), len(self.marks.begin) + len(tokens))
                query_of.append(asked)
                passage_of.append(made.place(self._alone(next(nearest))) if with_context else -1)
        companions = (np.array(query_of, np.int64), np.array(passage_of, np.int64))
        return made.sequences(self.causal, cut, companions)

    def _alone(self, tokens: Tokens) -> Tokens:
        return (*self.marks.begin, *tokens, *self.marks.end)

    def _prefixes(self, responses: Sequence[Response]) -> list[Tokens]:
        """What stands before the sentences: the query; a causal model reads the context before it as well."""
        texts = [response.query for response in responses]
        if self.causal:
            texts = ["\n".join((*response.context, response.query)).strip() for response in responses]
        limit = self.window // 2 if self.causal else self.sentence_tokens
        prefixes = []
        for tokens in self._texts(texts, limit)[0]:
            asked = (*tokens, *self.marks.between) if tokens != self.marks.nothing else ()
            prefixes.append((*self.marks.begin, *asked))
        return prefixes

    def _sentences(self, responses: Sequence[Response]) -> tuple[list[list[Tokens]], int]:
        tokens, cut = self._texts([sentence.text for response in responses for sentence in response.sentences])
        stream = iter(tokens)
        return [[next(stream) for _ in response.sentences] for response in responses], cut

    def _texts(self, texts: Sequence[str], limit: int | None = None) -> tuple[list[Tokens], int]:
        """Tokens of each text, at most so many, and how many texts were cut."""
        limit = limit or self.sentence_tokens
        if not texts:
            return [], 0
        distinct = list(dict.fromkeys(texts))
        clean = [(" " if self.causal else "") + text.encode("utf-8", "replace").decode() for text in distinct]
        rows = self.tokenizer(clean, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        tokens = {text: tuple(row) or self.marks.nothing for text, row in zip(distinct, rows, strict=True)}
        for text in distinct:
            if not text.strip():
                tokens[text] = self.marks.nothing
        cut = sum(len(tokens[text]) > limit for text in texts)
        return [_shortened(tokens[text], limit) for text in texts], cut


class _Collected:
    """Sequences as they come, each distinct one once, and the ranges of the sentences."""

    def __init__(self) -> None:
        self._place: dict[Tokens, int] = {}
        self._ranges: list[tuple[int, int, int]] = []

    def place(self, ids: Tokens) -> int:
        return self._place.setdefault(ids, len(self._place))

    def add_alone(self, ids: Tokens, start: int, end: int) -> None:
        self._ranges.append((self.place(ids), start, end))

    def add_window(self, ids: Tokens, ranges: Sequence[tuple[int, int]]) -> None:
        row = self.place(ids)
        self._ranges.extend((row, start, end) for start, end in ranges)

    def sequences(self, causal: bool, cut: int, companions: tuple[Indices, ...] = ()) -> Sequences:
        row, start, end = np.array(self._ranges, np.int64).reshape(-1, 3).T
        if causal:  # a state knows what stands before it: the sentence's last knows the sentence
            start = end - 1
        return Sequences(tuple(self._place), row, start, end, cut, companions)


def _shortened(tokens: Tokens, limit: int) -> Tokens:
    """Keep the first two thirds and the last third of so many tokens."""
    if len(tokens) <= limit:
        return tokens
    tail = limit // 3
    return (*tokens[: limit - tail], *tokens[len(tokens) - tail :])
