"""Responses → vectors: each distinct text is encoded once; token vectors live only as long as they are compared."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fractal.array_space import IN_MEMORY, ArraySpace
from fractal.encoders.block import EncodedBlock, joined_offsets, offsets_of, ragged_rows
from fractal.encoders.cache import key
from fractal.hardware import one_blas_thread
from fractal.mil.inference.products import tiled_product
from fractal.records import Response
from fractal.records.stored import StoredRecords

if TYPE_CHECKING:
    from fractal.encoders.base import Encoder
    from fractal.encoders.cache import EmbeddingCache

__all__ = ["LATE_COLUMNS", "chunk_context", "embed", "late_interaction"]

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Pair = tuple[str, tuple[str, ...]]  # a sentence and the texts, chunks or query, that it is compared with
Progress = Callable[[int, int], None]  # responses done, responses in all

MATCHES = ("mean", "minimum", "low", "covered", "covered_low")
LATE_COLUMNS = tuple(f"{other}_{match}" for other in ("context", "query") for match in MATCHES)
LATE_VERSION = b"1"  # part of every cache key: a change of chunking or of the formula must change it
LOW = 0.2  # "low" is the value that a fifth of the tokens stay below

WHOLE_PASSAGE = 200  # characters up to which a passage stays one chunk
LONGEST_CHUNK = 600  # characters; longer sentences (tables, lists) are cut at blanks
TILE = 4_000_000  # token similarities held at once
ROWS = 64  # tokens compared at once, in a product of one shape: see tiled_product
LOOKUP = 65_536  # keys asked of the cache at once
RESPONSES_AT_ONCE = 4_096  # that are encoded together where vectors are laid in files


def chunk_context(context: Sequence[str]) -> tuple[str, ...]:
    """Cut passages into the chunks that sentences are compared with: short passages whole, others by sentence."""
    from fractal.records.splitting import SPLITTERS

    splitter = SPLITTERS.build("sentences")
    chunks: list[str] = []
    for passage in context:
        passage = passage.strip()
        parts = [passage] if len(passage) <= WHOLE_PASSAGE else [part.text for part in splitter(passage)]
        for part in parts:
            chunks.extend(_capped(part.strip()))
    return tuple(chunk for chunk in chunks if chunk)


def _capped(text: str) -> Iterator[str]:
    while len(text) > LONGEST_CHUNK:
        cut = text.rfind(" ", LONGEST_CHUNK // 2, LONGEST_CHUNK)
        cut = cut if cut > 0 else LONGEST_CHUNK
        yield text[:cut]
        text = text[cut:].lstrip()
    yield text


def late_interaction(tokens: Floats, offsets: Indices, other: Floats) -> Floats:
    """Compare sentences with another text, token by token: how well each token is matched there, and the way back.

    Columns: over a sentence's tokens, the mean, the minimum and the lower fifth of their best cosines; over the other
    text's tokens, the mean and the lower fifth of theirs with the sentence.
    """
    out = np.zeros((len(offsets) - 1, len(MATCHES)), np.float32)
    if not len(other) or not len(tokens):
        return out
    for first, last in _tiles(offsets, TILE // len(other)):
        counts = np.diff(offsets[first : last + 1])
        some = counts > 0  # a sentence without tokens keeps its zero row
        if not some.any():
            continue
        starts, counts = offsets[first:last][some] - offsets[first], counts[some]
        cosines = tiled_product(tokens[offsets[first] : offsets[last]], other.T, ROWS)  # (token, other token)
        best = cosines.max(axis=1)  # (token,)
        back = np.maximum.reduceat(cosines, starts, axis=0)  # (sentence, other token)
        in_order = best[np.lexsort((best, np.repeat(np.arange(len(counts)), counts)))]
        place = int(LOW * (len(other) - 1))
        out[first:last][some] = np.stack(
            [
                np.add.reduceat(best, starts) / counts,
                np.minimum.reduceat(best, starts),
                in_order[starts + (LOW * (counts - 1)).astype(np.int64)],
                back.mean(axis=1),
                np.partition(back, place, axis=1)[:, place],
            ],
            axis=1,
        )
    return out


def _tiles(offsets: Indices, rows: int) -> Iterator[tuple[int, int]]:
    """Cut bags into runs of about so many rows, at least one bag each."""
    first = 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + max(rows, 1), side="right")) - 1
        last = min(max(last, first + 1), len(offsets) - 1)
        yield first, last
        first = last


@dataclasses.dataclass(frozen=True)
class _Bag:
    """The texts of one response."""

    sentences: tuple[str, ...]
    query: str
    chunks: tuple[str, ...]

    @functools.cached_property
    def others(self) -> tuple[tuple[str, ...], ...]:
        """What the sentences are compared with, token by token: the context, the query."""
        return self.chunks, (self.query,) if self.query else ()

    @property
    def texts(self) -> tuple[str, ...]:
        return (*self.sentences, *self.chunks, *self.others[1])


class _Rows:
    """Rows by what they are the row of: those that the cache knows, and those still to be computed."""

    def __init__(self, keys: dict[Any, bytes], width: int, cache: EmbeddingCache | None, namespace: str) -> None:
        self.place = {item: row for row, item in enumerate(keys)}
        self.keys = list(keys.values())
        self.rows = np.zeros((len(keys), width), np.float32)
        self.present = np.zeros(len(keys), bool)
        self.cache, self.namespace = cache, namespace
        if cache is None:
            return
        for first in range(0, len(keys), LOOKUP):
            part = slice(first, first + LOOKUP)
            cached, hits = cache.get_many(namespace, self.keys[part])
            self.present[part] = hits
            if hits.any():
                self.rows[part][hits] = cached

    def missing(self, items: Iterator[Any]) -> list[Any]:
        """Return which of these are not known yet, each once."""
        return [item for item in dict.fromkeys(items) if not self.present[self.place[item]]]

    def put(self, items: Sequence[Any], rows: Floats) -> None:
        """Enter rows, here and in the cache."""
        where = [self.place[item] for item in items]
        self.rows[where], self.present[where] = rows, True
        if self.cache is not None and where:
            self.cache.put_many(self.namespace, [self.keys[row] for row in where], rows)

    def of(self, items: Sequence[Any]) -> Floats:
        """Return the rows of these items."""
        return self.rows[np.fromiter((self.place[item] for item in items), np.int64, len(items))]


def embed(
    responses: Sequence[Response],
    encoder: Encoder,
    cache: EmbeddingCache | None = None,
    late: bool = True,
    progress: Progress | None = None,
    space: ArraySpace = IN_MEMORY,
) -> EncodedBlock:
    """Encode responses; `late=False` leaves the token-level comparisons out (zeros) and needs less time.

    In files, and of responses that stand in one, some are encoded at a time: a text that several of these parts share
    is encoded in each, unless the cache has it.
    """
    if space.in_files or isinstance(responses, StoredRecords):
        return _embedded_in_parts(responses, encoder, cache, late, progress, space)
    responses = tuple(responses)
    chunked = {context: chunk_context(context) for context in dict.fromkeys(r.context for r in responses)}
    bags = [_Bag(tuple(s.text for s in r.sentences), r.query, chunked[r.context]) for r in responses]
    distinct = dict.fromkeys(text for bag in bags for text in bag.texts)
    texts = dict.fromkeys(distinct, b"") if cache is None else {text: key(text) for text in distinct}
    pooled = _Rows(texts, encoder.dim, cache, encoder.fingerprint)
    compared = (dict.fromkeys(_compared(bags), b"") if cache is None else _pairs(bags, texts)) if late else {}
    matched = _Rows(compared, len(MATCHES), cache, encoder.fingerprint + "/late")
    _encode(bags, encoder, pooled, matched, progress)
    return _assembled(responses, bags, pooled, matched if late else None)


def _embedded_in_parts(
    responses: Sequence[Response],
    encoder: Encoder,
    cache: EmbeddingCache | None,
    late: bool,
    progress: Progress | None,
    space: ArraySpace,
) -> EncodedBlock:
    arrays = {name: space.rows() for name in ("sentences", "queries", "chunks", "late")}
    offsets, chunk_offsets = [], []
    for first in range(0, max(len(responses), 1), RESPONSES_AT_ONCE):
        part = embed(tuple(responses[first : first + RESPONSES_AT_ONCE]), encoder, cache, late)
        for name, rows in arrays.items():
            rows.append(getattr(part, name))
        offsets.append(part.offsets)
        chunk_offsets.append(part.chunk_offsets)
        if progress is not None:
            progress(first + len(part), len(responses))
    return EncodedBlock(
        responses=responses if isinstance(responses, StoredRecords) else tuple(responses),
        offsets=joined_offsets(offsets),
        chunk_offsets=joined_offsets(chunk_offsets),
        **{name: rows.array() for name, rows in arrays.items()},
        space=space,
    )


def _compared(bags: Sequence[_Bag]) -> Iterator[Pair]:
    return ((text, other) for bag in bags for other in bag.others if other for text in bag.sentences)


def _pairs(bags: Sequence[_Bag], texts: dict[str, bytes]) -> dict[Pair, bytes]:
    """Return each distinct (sentence, other text) that is compared, with its key in the cache."""
    others = {other: LATE_VERSION + key(*other) for bag in bags for other in bag.others if other}
    return {
        (text, other): hashlib.blake2b(texts[text] + others[other], digest_size=16).digest()
        for text, other in dict.fromkeys(_compared(bags))
    }


def _encode(bags: Sequence[_Bag], encoder: Encoder, pooled: _Rows, matched: _Rows, progress: Progress | None) -> None:
    """Fill the rows that are missing, some responses at a time, so that few token vectors are held at once."""
    tokens: dict[str, Floats] = {}
    done = 0
    for stream in _streams(bags, encoder.characters_at_once):
        pairs = matched.missing(_compared(stream)) if matched.place else []
        needed = dict.fromkeys(text for sentence, other in pairs for text in (sentence, *other))
        tokens = {text: tokens[text].copy() for text in needed if text in tokens}  # what the last stream shares
        fresh = [text for text in needed if text not in tokens]
        if fresh:
            got = encoder.encode_tokens(fresh)
            bounds = zip(got.offsets[:-1], got.offsets[1:], strict=True)
            tokens |= {text: got.vectors[a:b] for text, (a, b) in zip(fresh, bounds, strict=True)}
            new = [row for row, text in enumerate(fresh) if not pooled.present[pooled.place[text]]]
            pooled.put([fresh[row] for row in new], got.pooled[new])
        rest = pooled.missing(text for bag in stream for text in bag.texts)
        if rest:
            pooled.put(rest, encoder.encode(rest))
        _match(pairs, tokens, matched)
        done += len(stream)
        if progress is not None:
            progress(done, len(bags))


def _match(pairs: list[Pair], tokens: dict[str, Floats], matched: _Rows) -> None:
    """Compare the sentences with what they are paired with, all those of one other text at once."""
    by_other: dict[tuple[str, ...], list[str]] = {}
    for sentence, other in pairs:
        by_other.setdefault(other, []).append(sentence)
    with one_blas_thread():
        rows = [
            late_interaction(
                np.concatenate([tokens[text] for text in sentences]),
                offsets_of([len(tokens[text]) for text in sentences]),
                np.concatenate([tokens[text] for text in other]),
            )
            for other, sentences in by_other.items()
        ]
    if rows:  # written at once: the cache waits for the disk at every writing
        matched.put([(text, other) for other, texts in by_other.items() for text in texts], np.concatenate(rows))


def _streams(bags: Sequence[_Bag], most: int) -> Iterator[list[_Bag]]:
    """Group responses, those with one context (or query) side by side, into runs of so many characters."""
    groups: dict[Any, list[_Bag]] = {}
    for bag in bags:
        groups.setdefault(bag.chunks or bag.query, []).append(bag)
    stream: list[_Bag] = []
    texts: set[str] = set()
    characters = 0
    for bag in (bag for group in groups.values() for bag in group):
        new = set(bag.texts) - texts
        length = sum(map(len, new))
        if stream and characters + length > most:
            yield stream
            stream, texts, characters, new = [], set(), 0, set(bag.texts)
            length = sum(map(len, new))
        stream.append(bag)
        texts |= new
        characters += length
    if stream:
        yield stream


def _assembled(
    responses: tuple[Response, ...], bags: Sequence[_Bag], pooled: _Rows, matched: _Rows | None
) -> EncodedBlock:
    offsets = offsets_of([len(bag.sentences) for bag in bags])
    queries = np.zeros((len(bags), pooled.rows.shape[1]), np.float32)
    with_query = [row for row, bag in enumerate(bags) if bag.query]
    queries[with_query] = pooled.of([bags[row].query for row in with_query])
    late = np.zeros((int(offsets[-1]), len(LATE_COLUMNS)), np.float32)
    if matched is not None:
        for side in range(2):
            compared = [row for row, bag in enumerate(bags) if bag.others[side]]
            rows, _ = ragged_rows(offsets, np.asarray(compared, np.int64))
            items = [(text, bags[row].others[side]) for row in compared for text in bags[row].sentences]
            late[rows, side * len(MATCHES) : (side + 1) * len(MATCHES)] = matched.of(items)
    return EncodedBlock(
        responses=responses,
        offsets=offsets,
        sentences=pooled.of([text for bag in bags for text in bag.sentences]),
        queries=queries,
        chunks=pooled.of([text for bag in bags for text in bag.chunks]),
        chunk_offsets=offsets_of([len(bag.chunks) for bag in bags]),
        late=late,
    )
