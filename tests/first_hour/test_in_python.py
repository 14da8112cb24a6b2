"""What people have in memory goes straight into a scorer: frames, dictionaries, texts with labels, data sets, paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from tests.first_hour.made import RESPONSES, jsonl, rows, table

from fractal import SentenceScorer, TrainingPlan, evaluate
from fractal.errors import BadData

OPTIONS: dict[str, Any] = {
    "encoder": "hashing(dim=64)",
    "aggregation": "product",
    "recipe": "own",
    "cache": False,
    "plan": TrainingPlan(epochs=2, members=2, folds=2),
}


def scorer() -> SentenceScorer:
    return SentenceScorer(**OPTIONS)


@pytest.fixture(scope="module")
def expected() -> list[float]:
    return list(scorer().fit(rows()).predict(rows()))


def frame() -> Any:
    return pytest.importorskip("pandas").DataFrame(rows())


def polars_frame() -> Any:
    return pytest.importorskip("polars").DataFrame(rows())


def dataset() -> Any:
    return pytest.importorskip("datasets").Dataset.from_list(rows())


@pytest.mark.parametrize("make", [rows, frame, polars_frame, dataset, lambda: iter(rows())])
def test_what_holds_rows_goes_in_as_it_is(make: Any, expected: list[float]) -> None:
    fitted = scorer().fit(make())
    assert list(fitted.predict(make())) == expected
    assert fitted.score(rows()) > 0.4


@pytest.mark.parametrize("name", ["ratings.jsonl", "ratings.csv"])
def test_a_path_goes_in_as_it_is(name: str, tmp_path: Path, expected: list[float]) -> None:
    path = tmp_path / name
    path.write_bytes(jsonl(rows()) if name.endswith("jsonl") else table(rows()))
    assert list(scorer().fit(path).predict(str(path))) == expected


def test_columns_scale_and_words_are_arguments_and_are_remembered(tmp_path: Path, expected: list[float]) -> None:
    named = rows(context="kb", answer="reply_7", label="ok")
    german = [{**row, "ok": "gut" if row["ok"] else "schlecht"} for row in named]
    columns = {"context": "kb", "response": "reply_7", "label": "ok"}
    fitted = scorer().fit(german, columns=columns, label_words={"gut": "good", "schlecht": "bad"})
    assert list(fitted.predict(rows(context="kb", answer="reply_7", label=""))) == expected
    restored = SentenceScorer.from_pretrained(fitted.save_pretrained(tmp_path / "scorer"))
    assert list(restored.predict(rows(context="kb", answer="reply_7", label=""))) == pytest.approx(expected)
    assert restored.memory_["columns"]["context"] == "kb"


def test_texts_with_labels_go_in(tmp_path: Path) -> None:
    texts = [response.text for response in RESPONSES]
    labels = ["good" if response.label else "bad" for response in RESPONSES]
    fitted = scorer().fit(texts, labels)
    assert len(fitted.predict(texts)) == len(texts)
    assert fitted.data_["labelled responses"] == len(texts)
    numbers = pytest.importorskip("pandas").Series([5 if r.label else 1 for r in RESPONSES], index=range(7, 55))
    again = scorer().fit(texts, numbers, label_scale="1..5")
    assert list(again.predict(texts)) == list(fitted.predict(texts))
    with pytest.raises(BadData, match=r"label \d+: found 5"):
        scorer().fit(texts, numbers)


def test_a_context_that_is_missing_is_a_warning_in_python() -> None:
    fitted = scorer().fit(rows())
    with pytest.warns(UserWarning, match="had a context, 0% of these 48"):
        fitted.predict(rows(context="elsewhere"))


def test_results_become_frames() -> None:
    pytest.importorskip("pandas")
    fitted = scorer().fit(rows())
    scored = fitted.score_responses(RESPONSES)
    table_of_sentences = scored.to_pandas()
    assert len(table_of_sentences) == sum(len(response.sentences) for response in RESPONSES)
    assert list(table_of_sentences["score"][: len(scored[0].sentence_scores)]) == list(scored[0].sentence_scores)
    metrics = evaluate(scored, bootstrap=0).to_pandas()
    assert {"metric", "value"} <= {*metrics.columns}
