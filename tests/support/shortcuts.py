"""How well simple models tell faults in made responses: by words alone, by place and length alone, by relation."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from fractal.datasets.synthetic import make_splits
from fractal.records import Response

WORD = re.compile(r"[a-z]+|\d[\d,]*")
HEDGES = ("presumably", "perhaps", "guess", "mistaken", "tell", "right")


def texts(responses: Sequence[Response]) -> list[str]:
    return [sentence.text for response in responses for sentence in response.sentences]


def truths(responses: Sequence[Response]) -> np.ndarray:
    return np.array([label for response in responses for label in response.sentence_labels])


def place_and_length(responses: Sequence[Response]) -> np.ndarray:
    rows = []
    for response in responses:
        count = len(response.sentences)
        for place, sentence in enumerate(response.sentences):
            rows.append((place, count - place, place / count, count, len(sentence.text), len(sentence.text.split())))
    return np.array(rows, dtype=float)


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _share(part: Sequence[str], whole: set[str]) -> float:
    return sum(word in whole for word in part) / max(1, len(part))


def _relations(sentence: str, before: list[str], query: str, chunks: list[list[str]]) -> list[float]:
    words = _words(sentence)
    numbers = [word for word in words if word[0].isdigit()]
    names = [name.lower() for name in re.findall(r"(?<!^)\b[A-Z][a-z]+", sentence)]
    known = {word for chunk in chunks for word in chunk}
    earlier = {word for text in before for word in _words(text)}
    best = max(chunks, key=lambda chunk: _share(words, set(chunk)), default=[])
    asked = set(_words(query))
    return [
        _share(words, known), _share(words, set(best)), _share(numbers, known), _share(numbers, set(best)),
        _share(names, known), _share(names, set(best)), _share(list(asked), set(words)), _share(words, asked),
        _share(numbers[:-1], known | earlier), sum(word not in known | earlier for word in numbers[:-1]),
        max((_share(words, set(_words(text))) for text in before), default=0.0),
        float(sum(word in HEDGES for word in words)), _share([word for word in words if word.endswith("s")], known),
    ]  # fmt: skip


def sentence_pairs(responses: Sequence[Response]) -> np.ndarray:
    """How each sentence stands to its context, its query and what was said before it."""
    rows = []
    for response in responses:
        parts = [part for text in response.context for part in re.split(r"(?<=\.) ", text)]
        chunks, said = [_words(part) for part in parts], [sentence.text for sentence in response.sentences]
        rows += [_relations(text, said[:place], response.query, chunks) for place, text in enumerate(said)]
    return np.array(rows)


def auc(responses: Sequence[Response], columns: Callable[[Sequence[Response]], np.ndarray] | None) -> float:
    """Return the sentence AUC on half of the groups after learning from the others; of words where columns is None."""
    train, test = make_splits(responses, (0.5, 0.5))
    if columns is None:
        model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=3.0))
        model.fit(texts(train), truths(train))
        scores = model.predict_proba(texts(test))[:, 1]
    else:
        booster = HistGradientBoostingClassifier(max_iter=80, learning_rate=0.1, random_state=0)
        scores = booster.fit(columns(train), truths(train)).predict_proba(columns(test))[:, 1]
    return float(roc_auc_score(truths(test), scores))
