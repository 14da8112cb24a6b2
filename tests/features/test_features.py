"""Feature columns say what their names promise: slow twins in plain Python, and cases checked by hand."""

from __future__ import annotations

import json
import re
import string
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import support.slow_twins_features as slow
from fractal.encoders.block import EncodedBlock
from fractal.encoders.embedding import embed
from fractal.errors import BadData, BadSpec, UnknownName
from fractal.features import FEATURES, RECIPES, Standardiser, compute, feature_specs, prior_similarity
from fractal.features.arithmetic import sums, value
from fractal.features.base import bag_rank
from fractal.features.words import names_in, number, words_of
from fractal.records import Response
from support.slow_twins_features import WordEncoder

VOCABULARY = [
    "Paris",
    "paris",
    "rain",
    "It",
    "has",
    "12",
    "1,000",
    "1000",
    "3.50",
    "three",
    "天气",
    "北京很",
    "river.",
    "É",
]
sentences = st.lists(st.sampled_from(VOCABULARY), max_size=8).map(" ".join)


@st.composite
def responses(draw):
    return Response.from_sentences(
        draw(st.uuids()).hex,
        draw(st.lists(sentences, min_size=1, max_size=4)),
        query=draw(sentences),
        context=tuple(draw(st.lists(sentences, max_size=2))),
    )


def encoded(*parts: str, **fields) -> EncodedBlock:
    return embed([Response.from_sentences("a", parts, **fields)], WordEncoder())


def column(block: EncodedBlock, name: str) -> np.ndarray:
    columns = FEATURES.build(name.partition(".")[0])(block)
    return columns.values[:, columns.names.index(name)]


@given(response=responses())
def test_lexical_columns_equal_their_slow_twins(response):
    block = embed([response], WordEncoder())
    context, query = "\n".join(response.context), response.query
    texts = [sentence.text for sentence in response.sentences]
    expected = {
        "overlap.context": [slow.overlap(text, context) for text in texts],
        "overlap.query": [slow.overlap(text, query) for text in texts],
        "coverage.context": [slow.coverage(text, context) for text in texts],
        "coverage.query": [slow.coverage(text, query) for text in texts],
        "novel_numbers.share": [slow.novel_numbers(text, f"{context}\n{query}") for text in texts],
        "redundancy.words": [slow.said_before(texts, place) for place in range(len(texts))],
        "redundancy.cosine": [slow.nearest_earlier(block.sentences.tolist(), place) for place in range(len(texts))],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(column(block, name), values, atol=1e-5, err_msg=name)


@given(response=responses())
def test_cosines_equal_their_slow_twins(response):
    block = embed([response], WordEncoder())
    cosines = block.sentences.astype(float) @ block.chunks.T.astype(float)
    for place, row in enumerate(cosines):
        best, second = (sorted(row)[-1], sorted(row)[-min(2, len(row))]) if len(row) else (0, 0)
        assert column(block, "cosine.best_chunk")[place] == pytest.approx(best, abs=1e-5)
        assert column(block, "cosine.second_chunk")[place] == pytest.approx(second, abs=1e-5)
        near = best if len(row) else float(block.sentences[place] @ block.queries[0])
        known = len(row) or response.query
        assert prior_similarity(block)[place] == pytest.approx(
            (1 + near) / 2 if known else np.nan, abs=1e-5, nan_ok=True
        )


@given(st.lists(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=5), max_size=4))
def test_rank_counts_ties_half(bags):
    offsets = np.cumsum([0, *map(len, bags)])
    expected = [slow.rank(bag, place) for bag in bags for place in range(len(bag))]
    flat = np.array([value for bag in bags for value in bag], np.float32)
    np.testing.assert_allclose(bag_rank(flat, offsets), expected, atol=1e-6)


def test_neighbours_do_not_look_into_other_responses():
    batch = [Response.from_sentences(name, ["same words", "same words"]) for name in "ab"]
    block = embed(batch, WordEncoder())
    np.testing.assert_allclose(column(block, "neighbours.previous"), [0, 1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(column(block, "neighbours.next"), [1, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(column(block, "neighbours.mean"), [1, 1, 1, 1], atol=1e-6)


def test_numbers_and_names_that_occur_nowhere():
    block = encoded(
        "In 1990 Paris had 2,000 cats.", "Rome had 1990 dogs.", "It met Berlin and Paris.", context=("two 2000 Paris",)
    )
    np.testing.assert_allclose(column(block, "novel_numbers.share"), [0.5, 1, 0])
    np.testing.assert_allclose(column(block, "novel_numbers.unseen"), np.log1p([1, 0, 0]), atol=1e-6)
    np.testing.assert_allclose(column(block, "novel_names.share"), [0, 0, 0.5])


def test_spelled_numbers_are_known():
    assert column(encoded("It has 3 legs.", query="Three?"), "novel_numbers.share") == [0]


@pytest.mark.parametrize(
    ("written", "plain"),
    [("1,000", "1000"), ("3.50", "3.5"), ("3,5", "3.5"), ("007", "7"), ("0", "0"), ("0.0", "0"), ("1,000.0", "1000")],
)
def test_one_spelling_for_equal_numbers(written, plain):
    assert number(written) == plain


def test_position_and_length():
    block = encoded("One?", "Two THREE 4!", "")
    np.testing.assert_allclose(column(block, "position.share"), [0, 0.5, 1])
    np.testing.assert_allclose(column(block, "position.last"), [0, 0, 1])
    np.testing.assert_allclose(column(block, "length.question"), [1, 0, 0])
    np.testing.assert_allclose(column(block, "length.words"), np.log1p([1, 3, 0]), atol=1e-6)
    np.testing.assert_allclose(column(block, "length.digits"), [0, 1 / 12, 0], atol=1e-6)
    np.testing.assert_allclose(column(block, "length.capitals"), [1 / 4, 6 / 12, 0], atol=1e-6)


@given(st.lists(st.text(st.characters(codec=None), max_size=30), min_size=1, max_size=4))
def test_characters_are_counted_by_kind(texts):
    block = embed([Response.from_sentences("a", texts)], WordEncoder())
    kinds = {"digits": string.digits, "punctuation": string.punctuation, "capitals": string.ascii_uppercase}
    for name, kind in kinds.items():
        shares = [sum(letter in kind for letter in text) / max(len(text), 1) for text in texts]
        np.testing.assert_allclose(column(block, f"length.{name}"), shares, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(column(block, "length.question"), ["?" in text or "？" in text for text in texts])
    np.testing.assert_allclose(column(block, "length.characters"), np.log1p([*map(len, texts)]), atol=1e-6)


def test_own_columns_say_what_is_missing():
    batch = [
        Response.from_sentences("a", ["x", "y", "z"], columns={"nli": (0.5, float("nan"), float("inf"))}),
        Response.from_sentences("b", ["x"]),
    ]
    values = FEATURES.build("precomputed(column='nli')")(embed(batch, WordEncoder())).values
    np.testing.assert_array_equal(values, [[0.5, 0], [0, 1], [0, 1], [0, 1]])


@given(st.text(alphabet=st.characters(max_codepoint=300), max_size=30))
def test_words_are_runs_of_letters_and_digits(text):
    assert words_of(text).written == re.findall(r"\w+", text)
    assert words_of(text).words == re.findall(r"\w+", text.casefold())


@given(st.text(alphabet=st.characters(max_codepoint=300), max_size=60))
def test_stems_and_names_are_what_they_are_without_memory(text):
    few = pytest.MonkeyPatch()
    few.setattr("fractal.remembered.Remembered.most", 3)  # all are forgotten again and again
    cut = words_of(text)
    assert cut.stems == {word[:5] for word in cut.distinct if len(word) > 3}
    capitalised = {word.casefold() for word in cut.written[1:] if word[0].isupper() and len(word) > 1}
    assert names_in(cut) == capitalised
    few.undo()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3 + 4 = 8", [False]),
        ("so 3*4=12.", [True]),
        ("x = 3+4 = 7.", [True]),
        ("12 / 4 = 3 = 5-1", [True, False]),
        (r"$\frac{1}{2} + 3 \times 2 = 6.5$", [True]),
        ("1,000 × 3 = 3,000 and 2**3 = 8", [True, True]),
        ("-3 - 2 = -5", [True]),
        ("2^3^2 = 512; -2^2 = -4", [True, True]),
        ("10/3 = 3.33, 10/3 = 3.3, 10/3 = 3.4", [True, True, True]),
        ("10/3 = 3.5", [False]),
        ("- 3 + 2 = 5", [True]),
        ("**3 + 4 = 7**", [True]),
        ("2 x 3 = 6", [True]),
        ("2x + 3 = 7", []),
        ("f(2) = 4 - 1", []),
        ("x^2 = 4", []),
        ("x * 3 + 4 = 7 and x 3 + 4 = 7", []),
        ("5 = 2 + 3x, 5 = 2 + 3 \\pi", []),
        ("9 / 7 = 1 with a remainder of 2", []),
        ("1% of 50 = 0.01 * 50", []),
        ("50% + 20 = 70", []),
        ("1/0 = 3, ((3)=4+1, 2 3 = 6, (.) = 1+1, 9^9^9^9 = 1", []),
    ],
)
def test_sums_are_checked(text, found):
    assert [right for *_, right in sums(text)] == found


expressions = st.recursive(
    st.integers(0, 20).map(lambda n: (str(n), float(n))),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(
        lambda t: (
            f"({t[0][0]} {t[1]} {t[2][0]})",
            {"+": t[0][1] + t[2][1], "-": t[0][1] - t[2][1], "*": t[0][1] * t[2][1]}[t[1]],
        )
    ),
    max_leaves=6,
)


@given(expressions)
def test_values_of_sums(expression):
    text, expected = expression
    assert value(text) == pytest.approx(expected)
    assert value(f"-{text} + 1") == pytest.approx(1 - expected)


@pytest.mark.parametrize(
    ("text", "expected"), [("2 + 3 * 4", 14), ("2 * 3 + 4", 10), ("8 / 4 / 2", 1), ("9 - 4 - 3", 2), ("2 * 3 ^ 2", 18)]
)
def test_precedence(text, expected):
    assert value(text) == expected


@given(st.text(alphabet="0123456789.()+-*/^= x", max_size=60))
def test_no_text_breaks_the_sums(text):
    list(sums(text))


@pytest.mark.parametrize(
    "text",
    [
        "1 " * 20_000 + "=",
        "(" * 20_000 + "=1",
        "1=" * 20_000,
        "x = " * 20_000,
        "9" * 40_000 + "=1+1",
        "- \n" * 20_000 + "=",
    ],
)
def test_sums_take_time_in_proportion_to_the_text(text):
    start = time.process_time()
    list(sums(text))
    assert time.process_time() - start < 2


def test_vectors_are_spread_to_the_size_of_one():
    block = encoded("Paris is big", context=("Paris", "rain"), query="rain")
    assert np.square(FEATURES.build("sentence(scale=1.0)")(block).values).mean() == pytest.approx(1, abs=1e-5)
    half = FEATURES.build("product(other='query', scale=0.5)")(block).values
    np.testing.assert_allclose(half, block.sentences * block.queries * 8, atol=1e-6)
    difference = FEATURES.build("difference(scale=1.0)")(block).values
    np.testing.assert_allclose(difference, abs(block.sentences - block.chunks[:1]) * 4, atol=1e-6)


def test_nothing_to_differ_from_is_zero():
    block = encoded("Paris is big")
    for name in ("product", "difference", "product(other='context')"):
        assert not FEATURES.build(name)(block).values.any()
    assert FEATURES.build("product")(encoded("Paris", query="rain")).values.any()
    assert not FEATURES.build("product(other='context')")(encoded("Paris", query="rain")).values.any()


def test_the_nearest_chunk_and_the_query_are_shared():
    batch = [
        Response.from_sentences("a", ["Paris", "rain", "Paris"], context=("rain", "nothing near", "Paris"), query="q"),
        Response.from_sentences("b", ["alone"]),
    ]
    block = embed(batch, WordEncoder())
    made = compute(block, "sentence + context + query")
    context, query = made.shared
    assert (context.name, query.name) == ("context", "query")
    assert context.row_offsets.tolist() == [0, 2, 3], "unused chunks are left out, a bag without context has a zero row"
    np.testing.assert_allclose(context.values[context.index[:3]], block.chunks[[2, 0, 2]] * 0.4, atol=1e-6)
    assert not context.values[2].any()
    assert query.index.tolist() == [0, 0, 0, 1]
    assert not made.scalars.any()


def test_the_paper_recipe_sets_each_sentence_beside_every_chunk():
    batch = [
        Response.from_sentences("a", ["Paris", "rain"], context=("rain", "nothing near", "Paris"), query="q"),
        Response.from_sentences("b", ["alone"]),
        Response.from_sentences("c", ["Rome"], context=("Rome",)),
    ]
    block = embed(batch, WordEncoder())
    chunks, query = compute(block, "paper").shared
    assert (chunks.name, chunks.every, query.every) == ("chunks", True, False)
    assert chunks.row_offsets.tolist() == [0, 3, 4, 5], "a bag without context has a zero row"
    np.testing.assert_allclose(chunks.values[[0, 1, 2, 4]], block.chunks * 0.4, atol=1e-6)
    assert not chunks.values[3].any()
    with pytest.raises(BadSpec, match="chunks twice"):
        feature_specs("chunks + chunks(scale=0.5)")


def test_tiles_do_not_change_the_table(monkeypatch):
    batch = [
        Response.from_sentences(
            str(n),
            ["Paris has 12", "rain", "It is"][: n % 3 + 1],
            context=("rain", "12")[: n % 2],
            query="Paris" * (n % 5),
        )
        for n in range(20)
    ]
    block = embed(batch, WordEncoder())
    whole = [compute(block, recipe) for recipe in ("default", "paper")]
    monkeypatch.setattr("fractal.encoders.block.TILE", 4)
    for one, other in zip(whole, [compute(block, recipe) for recipe in ("default", "paper")], strict=True):
        np.testing.assert_allclose(one.dense, other.dense, atol=1e-6)
        for left, right in zip(one.shared, other.shared, strict=True):
            np.testing.assert_array_equal(left.values, right.values)
            np.testing.assert_array_equal(left.row_offsets, right.row_offsets)
            np.testing.assert_array_equal(left.index, right.index)


def test_half_precision_stays_finite():
    batch = [Response.from_sentences("a", ["x", "y"], columns={"own": (1e30, -1e30)})]
    made = compute(embed(batch, WordEncoder()), "relational + precomputed(column='own')", dtype=np.float16)
    assert made.dense.dtype == np.float16
    assert np.isfinite(made.dense).all()


def test_recipes_and_features_mix():
    own = "precomputed(column='a+b, c')"
    assert feature_specs(f"vectors + {own}") == (*RECIPES["vectors"], own)
    assert feature_specs(["cosine", "relational"]) == ("cosine", *(n for n in RECIPES["relational"] if n != "cosine"))
    assert set(RECIPES["relational"]) < set(RECIPES["default"])
    with pytest.raises(UnknownName, match="Did you mean 'cosine'"):
        feature_specs("cosin")
    with pytest.raises(BadSpec, match="names no feature"):
        feature_specs([])
    with pytest.raises(BadSpec, match="other='chunk'"):
        FEATURES.build("product(other='chunk')")


@pytest.mark.parametrize("in_place", [False, True])
def test_standardised_scalars_have_mean_zero_and_scale_one(in_place):
    batch = [
        Response.from_sentences(str(n), ["Paris has 12 cats"] + ["rain"] * n, query="rain in Paris")
        for n in range(1, 9)
    ]
    made = compute(embed(batch, WordEncoder()), "default")
    before = made.dense.copy()
    standardiser = Standardiser.fit(made)
    assert Standardiser.from_dict(json.loads(json.dumps(standardiser.as_dict()))) == standardiser
    out = standardiser(made, in_place=in_place)
    assert (out.dense is made.dense) == in_place
    scaled = out.dense[:, made.scalars]
    varied = before[:, made.scalars].std(axis=0) > 1e-6
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0)[varied], 1, atol=1e-3)
    assert not scaled[:, ~varied].any()
    np.testing.assert_array_equal(out.dense[:, ~made.scalars], before[:, ~made.scalars])


def test_standardising_cuts_odd_values_and_refuses_other_columns():
    made = compute(encoded("a", "b"), "position")
    standardiser = Standardiser(made.names, (0.0,) * 5, (1e-3,) * 5)
    assert abs(standardiser(made).dense).max() == standardiser.limit
    with pytest.raises(BadData, match="columns differ"):
        standardiser(compute(encoded("a"), "length"))


def test_a_run_is_what_taking_its_responses_gives() -> None:
    said = [["One is here.", "Two."], ["Three."], ["Four is near.", "Five.", "Six."]]
    block = embed(
        [Response.from_sentences(str(n), s, context=("One is here.",)) for n, s in enumerate(said)], WordEncoder()
    )
    taken, run = block.take(np.arange(1, 3)), block.run(1, 3)
    assert run is block.run(1, 3)
    assert block.take(np.arange(len(block))) is block.run(0, len(block)) is block
    assert block.take(np.arange(len(block))[::-1]) is not block
    assert run.responses == taken.responses
    for name in ("offsets", "sentences", "queries", "chunks", "chunk_offsets", "late"):
        np.testing.assert_array_equal(getattr(run, name), getattr(taken, name))
