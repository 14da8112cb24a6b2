"""Where a sentence stands, how it is written, and the columns that users bring."""

from __future__ import annotations

import dataclasses

import numpy as np

from fractal.encoders.block import EncodedBlock
from fractal.features.base import FEATURES, Columns, per_block, scalars
from fractal.features.lexical import word_counts
from fractal.records.corpus import sentence_column

_DIGITS = b"0123456789"
_CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PUNCTUATION = b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


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
def _characters(block: EncodedBlock) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Count characters, digits, punctuation and capitals (ASCII), and question marks: (sentence, 5)."""
    rows = []
    for response in block.responses:
        for sentence in response.sentences:
            raw = sentence.text.encode("utf-8", "surrogatepass")
            kinds = [len(raw) - len(raw.translate(None, kind)) for kind in (_DIGITS, _PUNCTUATION, _CAPITALS)]
            rows.append((len(sentence.text), *kinds, sentence.text.count("?") + sentence.text.count("？")))
    return np.array(rows, np.float32).reshape(len(rows), 5)


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
