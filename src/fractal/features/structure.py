"""Where a sentence stands, how it is written, and the columns that users bring."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.features.base import FEATURES, Columns, per_block, scalars
from fractal.features.lexical import word_counts
from fractal.records.corpus import sentence_column

_KINDS = (b"0123456789", b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"?")
_IS_OF_KIND = np.zeros((len(_KINDS), 256), bool)  # by byte
for _of_kind, _kind in zip(_IS_OF_KIND, _KINDS, strict=True):
    _of_kind[list(_kind)] = True


@FEATURES.register("position")
def position(block: EncodedBlock) -> Columns:
    """Where the sentence stands in its response, from the start and from the end."""
    counts = np.diff(block.offsets)[block.sentence_bag]
    place = np.arange(len(counts)) - block.offsets[:-1][block.sentence_bag]
    return scalars(
        "position",
        {
            "share": place / np.maximum(counts - 1, 1),
            "from_start": np.log1p(place),
            "from_end": np.log1p(counts - 1 - place),
            "first": place == 0,
            "last": place == counts - 1,
        },
    )


@per_block
def _characters(block: EncodedBlock) -> NDArray[np.float32]:
    """Count characters, digits, punctuation and capitals (ASCII), and question marks: (sentence, 5)."""
    texts = [sentence.text for response in block.responses for sentence in response.sentences]
    raw = [text.encode("utf-8", "surrogatepass") for text in texts]
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    ends = np.cumsum(np.fromiter(map(len, raw), np.int64, len(raw)))
    content = np.frombuffer(b"".join(raw), np.uint8)
    kinds = [np.diff(_counted(of_kind[content])[ends], prepend=0) for of_kind in _IS_OF_KIND]
    kinds[-1] += np.fromiter((0 if text.isascii() else text.count("？") for text in texts), np.int64, len(texts))
    return np.column_stack([lengths, *kinds]).astype(np.float32)


def _counted(marks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many are marked before each place, and in all."""
    return np.concatenate([[0], np.cumsum(marks, dtype=np.int64)])


@FEATURES.register("length")
def length(block: EncodedBlock) -> Columns:
    """How long the sentence is, and what it is written with."""
    words = np.log1p(word_counts(block)["words"])
    characters, digits, punctuation, capitals, questions = _characters(block).T
    whole = np.maximum(characters, 1)
    return scalars(
        "length",
        {
            "words": words,
            "characters": np.log1p(characters),
            "word_length": np.log1p(characters / np.maximum(word_counts(block)["words"], 1)),
            "digits": digits / whole,
            "punctuation": punctuation / whole,
            "capitals": capitals / whole,
            "question": questions > 0,
        },
    )


@FEATURES.register("precomputed")
@dataclasses.dataclass(frozen=True)
class Precomputed:
    """A column of your own, one value a sentence, with a second column that is 1 where the value is missing."""

    column: str

    def __call__(self, block: EncodedBlock) -> Columns:
        values = sentence_column(block.responses, self.column)
        missing = ~np.isfinite(values)
        values[missing] = 0
        return scalars(f"precomputed.{self.column}", {"value": values, "missing": missing})
