"""Responses become vectors: each text once, from the cache where it knows it, the same alone or in company."""

from __future__ import annotations

import numpy as np
import pytest

from fractal.encoders import ENCODERS, embedding
from fractal.encoders.block import EncodedBlock
from fractal.encoders.cache import EmbeddingCache
from fractal.encoders.embedding import LATE_COLUMNS, chunk_context, embed, late_interaction
from fractal.records import Response
from support.slow_twins_features import DictCache, WordEncoder
from support.slow_twins_features import late_interaction as slow_late_interaction

PASSAGE = "The river rises in the hills. " * 6 + "It reaches the sea after a long way. " * 4
RESPONSES = [
    Response.from_sentences(
        "a", ["Paris is big.", "It rains there."], query="What is Paris?", context=(PASSAGE, "Short.")
    ),
    Response.from_sentences("b", ["Nothing to compare with."]),
    Response.from_sentences("c", ["Paris is big.", "", "The sea."], query="Where is the sea?"),
    Response.from_sentences("d", ["The river ends."], context=(PASSAGE, "Short.")),
]
ARRAYS = ("offsets", "sentences", "queries", "chunks", "chunk_offsets", "late")


def same(one: EncodedBlock, other: EncodedBlock) -> None:
    assert [r.id for r in one.responses] == [r.id for r in other.responses]
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=2e-6, err_msg=name)


def test_each_distinct_text_is_encoded_once():
    encoder = WordEncoder()
    embed(RESPONSES, encoder)
    encoded = encoder.pooled + encoder.tokens
    assert len(encoded) == len(set(encoded))
    assert "Nothing to compare with." in encoder.pooled, "no token vectors where there is nothing to compare with"


def test_shapes_and_zero_rows():
    block = embed(RESPONSES, WordEncoder())
    assert block.offsets.tolist() == [0, 2, 3, 6, 7]
    assert block.sentence_bag.tolist() == [0, 0, 1, 2, 2, 2, 3]
    assert block.late.shape == (7, len(LATE_COLUMNS)) == (7, 10)
    assert block.has_context.tolist() == [True, False, False, True]
    assert block.has_query.tolist() == [True, False, True, False]
    assert not block.queries[1].any()
    assert not block.late[2].any()
    assert not block.late[3:6, :5].any()
    assert block.late[3, 5:].all()
    assert not block.late[6, 5:].any()


def test_alone_or_together_is_the_same():
    together = embed(RESPONSES, WordEncoder())
    alone = [embed([response], WordEncoder()) for response in RESPONSES]
    same(EncodedBlock.concatenate(alone), together)
    same(together.take([2, 0]), EncodedBlock.concatenate([alone[2], alone[0]]))


def test_late_columns_equal_the_slow_twin():
    encoder = WordEncoder()
    block = embed(RESPONSES, encoder)
    for bag, response in enumerate(RESPONSES):
        others = [chunk_context(response.context), [response.query] if response.query else []]
        for place, sentence in enumerate(response.sentences):
            expected = []
            for other in others:
                own = encoder._words(sentence.text)
                given = np.concatenate([encoder._words(text) for text in other]) if other else []
                expected += slow_late_interaction(own, given)
            np.testing.assert_allclose(block.late[block.offsets[bag] + place], expected, atol=1e-5)


def test_tiles_do_not_change_late_columns(monkeypatch):
    rng = np.random.default_rng(0)
    tokens, other = (rng.normal(size=(count, 8)).astype(np.float32) for count in (57, 11))
    offsets = np.array([0, 5, 5, 6, 30, 31, 57])
    whole = late_interaction(tokens, offsets, other)
    monkeypatch.setattr(embedding, "TILE", 100)
    np.testing.assert_allclose(late_interaction(tokens, offsets, other), whole, atol=1e-6)
    assert not whole[1].any()


def test_streams_do_not_change_the_block(monkeypatch):
    whole = embed(RESPONSES, WordEncoder())
    monkeypatch.setattr(WordEncoder, "characters_at_once", 10)
    encoder = WordEncoder()
    same(embed(RESPONSES, encoder), whole)
    context = chunk_context(RESPONSES[0].context)
    assert all(encoder.tokens.count(chunk) == 1 for chunk in context), "a context stays while its responses last"


@pytest.mark.parametrize("late", [True, False])
def test_the_cache_answers_the_second_time(late):
    cache, encoder = DictCache(), WordEncoder()
    first = embed(RESPONSES, encoder, cache, late=late)
    again = WordEncoder()
    second = embed(RESPONSES, again, cache, late=late)
    assert not again.pooled
    assert not again.tokens
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_token_vectors_never_reach_the_cache():
    cache = DictCache()
    embed(RESPONSES, WordEncoder(), cache)
    widths = {(namespace, len(row)) for (namespace, _), row in cache.rows.items()}
    assert widths == {("words", 16), ("words/late", 5)}


def test_a_real_encoder_and_the_cache_on_disk(tmp_path):
    encoder = ENCODERS.build("hashing(dim=32)")
    plain = embed(RESPONSES, encoder)
    first = embed(RESPONSES, encoder, EmbeddingCache(tmp_path))
    again = embed(RESPONSES[::-1], encoder, EmbeddingCache(tmp_path))
    same(first, plain)
    same(again.take([3, 2, 1, 0]), plain)


def test_without_late_interaction_no_tokens_are_asked_for():
    encoder = WordEncoder()
    assert not embed(RESPONSES, encoder, late=False).late.any()
    assert not encoder.tokens


def test_progress_ends_at_all():
    seen = []
    embed(RESPONSES, WordEncoder(), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)


def test_chunks_are_sentences_short_passages_whole_long_ones_capped():
    assert chunk_context(["  ", "One. Two.", ""]) == ("One. Two.",)
    chunks = chunk_context([PASSAGE, "word " * 500])
    assert chunks[0] == "The river rises in the hills."
    assert max(map(len, chunks)) <= embedding.LONGEST_CHUNK
    assert "".join("".join(chunks).split()) == "".join((PASSAGE + "word " * 500).split()), "nothing is lost"
    assert len(chunk_context(["x" * 5000])) == 9


def test_no_responses_are_an_empty_block():
    block = embed([], WordEncoder())
    assert len(block) == 0
    assert block.sentences.shape == (0, 16)
    assert len(block.take([])) == 0
