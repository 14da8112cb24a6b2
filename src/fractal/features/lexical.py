"""Which words, numbers and names a sentence shares with its context, its query and the sentences before it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fractal.encoders.block import EncodedBlock
from fractal.features.base import FEATURES, Columns, Floats, per_block, scalars
from fractal.features.similarity import similarities
from fractal.features.words import Words, known_numbers, names_in, words_of
from fractal.records import Response

NOTHING = words_of("")

_MARKERS = {
    "hedges": """may might could perhaps maybe possibly probably likely unlikely apparently seem seems seemed appear
        appears suggest suggests around about roughly approximately nearly almost some several many often usually""",
    "negations": "not no never none nothing nobody neither nor without cannot t",  # t: of don't
    "turns": "but however although though wait actually instead yet despite unfortunately therefore thus hence so",
}
MARKERS = {name: frozenset(words.split()) for name, words in _MARKERS.items()}
MARKS = frozenset().union(*MARKERS.values())

# counted once a sentence; wholes that shares are taken of, then what is found
COUNTS = (
    *("words", "distinct", "stems", "pairs", "numbers", "names"),
    *("query_words", "query_stems", "context_words"),
    *("in_context", "in_query", "stems_in_context", "stems_in_query", "pairs_in_context"),
    *("new_numbers", "unseen_numbers", "new_names", "said_before", *MARKERS),
)


@per_block
def word_counts(block: EncodedBlock) -> dict[str, Floats]:
    """Count, for every sentence, what the lexical features divide; the words themselves are not kept."""
    contexts: dict[tuple[str, ...], Words] = {}
    rows: list[tuple[int, ...]] = []
    for response in block.responses:
        if response.context not in contexts:
            contexts[response.context] = words_of("\n".join(response.context)) if response.context else NOTHING
        query = words_of(response.query) if response.query else NOTHING
        rows.extend(_counted(response, contexts[response.context], query))
    table = np.array(rows, np.float32).reshape(len(rows), len(COUNTS))
    return dict(zip(COUNTS, table.T, strict=True))


def _counted(response: Response, context: Words, query: Words) -> Iterator[tuple[int, ...]]:
    source_numbers = known_numbers(context, query)
    markers, none = tuple(MARKERS.values()), (0,) * len(MARKERS)
    earlier_words: set[str] = set()
    seen: set[str] = set(source_numbers)
    for sentence in response.sentences:
        written = words_of(sentence.text)
        names, marks = names_in(written), written.distinct & MARKS
        yield (
            *(
                len(written.words),
                len(written.distinct),
                len(written.stems),
                len(written.pairs),
                len(written.numbers),
                len(names),
            ),
            *(len(query.distinct), len(query.stems), len(context.distinct)),
            *(len(written.distinct & context.distinct), len(written.distinct & query.distinct)),
            *(len(written.stems & context.stems), len(written.stems & query.stems), len(written.pairs & context.pairs)),
            *(len(written.numbers - source_numbers), len(written.numbers - seen)),
            *(len(names - context.distinct - query.distinct), len(written.distinct & earlier_words)),
            *([len(marks & marker) for marker in markers] if marks else none),
        )
        earlier_words |= written.distinct
        seen |= written.numbers


def _share(counts: dict[str, Floats], part: str, whole: str) -> Floats:
    return (counts[part] / np.maximum(counts[whole], 1)).astype(np.float32)


@FEATURES.register("overlap")
def overlap(block: EncodedBlock) -> Columns:
    """The share of the sentence's words, word beginnings and word pairs that stand in the context or the query."""
    counts = word_counts(block)
    return scalars(
        "overlap",
        {
            "context": _share(counts, "in_context", "distinct"),
            "query": _share(counts, "in_query", "distinct"),
            "context_stems": _share(counts, "stems_in_context", "stems"),
            "query_stems": _share(counts, "stems_in_query", "stems"),
            "context_pairs": _share(counts, "pairs_in_context", "pairs"),
        },
    )


@FEATURES.register("coverage")
def coverage(block: EncodedBlock) -> Columns:
    """The share of the query's and of the context's words that the sentence covers."""
    counts = word_counts(block)
    return scalars(
        "coverage",
        {
            "query": _share(counts, "in_query", "query_words"),
            "query_stems": _share(counts, "stems_in_query", "query_stems"),
            "context": _share(counts, "in_context", "context_words"),
        },
    )


@FEATURES.register("novel_numbers")
def novel_numbers(block: EncodedBlock) -> Columns:
    """Numbers that stand neither in the context nor in the query (nor in an earlier sentence), as share and count."""
    counts = word_counts(block)
    return scalars(
        "novel_numbers",
        {
            "share": _share(counts, "new_numbers", "numbers"),
            "count": np.log1p(counts["new_numbers"]),
            "unseen": np.log1p(counts["unseen_numbers"]),
            "all": np.log1p(counts["numbers"]),
        },
    )


@FEATURES.register("novel_names")
def novel_names(block: EncodedBlock) -> Columns:
    """Capitalised words inside the sentence that stand neither in the context nor in the query, as share and count."""
    counts = word_counts(block)
    return scalars(
        "novel_names",
        {
            "share": _share(counts, "new_names", "names"),
            "count": np.log1p(counts["new_names"]),
            "all": np.log1p(counts["names"]),
        },
    )


@FEATURES.register("redundancy")
def redundancy(block: EncodedBlock) -> Columns:
    """How much of the sentence was said before it: the largest cosine with an earlier sentence, and shared words."""
    counts = word_counts(block)
    return scalars(
        "redundancy",
        {"cosine": similarities(block).earlier, "words": _share(counts, "said_before", "distinct")},
    )


@FEATURES.register("markers")
def markers(block: EncodedBlock) -> Columns:
    """English words that hedge, negate or turn the argument, as counts on a log scale."""
    counts = word_counts(block)
    return scalars("markers", {name: np.log1p(counts[name]) for name in MARKERS})
