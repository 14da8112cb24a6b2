"""Import, train, look, correct, retrain, export: the whole way by the API, in one process."""

from __future__ import annotations

import json

import pytest

from support.studios import COLUMNS, QUICK, WORDS, Opened, ratings_csv


def test_columns_and_words_are_guessed_and_shown(studio: Opened) -> None:
    told = studio.upload(ratings_csv(12))
    shown = studio.get(f"/v1/uploads/{told['upload']}").json()["preview"]
    assert shown["columns"] == ["nr", "frage", "quelle", "antwort", "urteil", "modell", "akte"]
    assert len(shown["rows"]) == 10
    assert set(shown["labels"]["urteil"]["unknown"]) == {"gut", "schlecht"}


def test_the_whole_way(learned: Opened) -> None:
    scorers = learned.get("/v1/scorers").json()
    assert [one["number"] for one in scorers] == [1]
    assert scorers[0]["facts"]["aggregation"].startswith("product")
    cards = learned.get("/v1/responses").json()
    assert len(cards) == 20
    assert cards[0]["scores"]
    assert {"A", "B"} >= {card["extra"]["modell"] for card in cards}
    chosen = [{"response": card["response"], "place": 0, "verdict": "bad"} for card in cards]
    told = learned.post("/v1/corrections", {"corrections": chosen}).json()
    assert told["since_training"] == 20
    retrained = learned.train()
    assert retrained["result"]["scorer"] == 2
    newest = learned.get("/v1/scorers").json()[0]
    assert newest["evaluation"]["before_number"] == 1
    assert newest["evaluation"]["corrections"] == 20
    assert 0 <= newest["evaluation"]["after"]["responses"]["auc"] <= 1
    lines = learned.get("/v1/exports/jsonl").text.splitlines()
    exported = [json.loads(line) for line in lines]
    assert len(exported) == 60
    labelled = [row for row in exported if row["sentence_labels"]]
    assert len(labelled) == 20
    assert all(row["sentence_labels"][0] == 0.0 for row in labelled)


def test_a_retraining_goes_on_from_the_scorer_before_and_begins_afresh_now_and_then(
    learned: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The button of the page asks for it; the form does not, and the rule is kept."""
    monkeypatch.setattr("fractal.server.training.MOST_GOING_ON", 2)
    browser = learned.browser()
    page = browser.get("/p/ratings/correct", headers={"accept": "text/html"}).text
    token = page.partition('name="csrf" value="')[2].partition('"')[0]
    begun = []
    for fields in ({"again": "1"}, {"again": "1"}, {"again": "1"}, {**QUICK}):
        assert browser.post("/p/ratings/train", data={**fields, "csrf": token}).status_code == 200
        learned.work()
        facts = learned.get("/v1/scorers").json()[0]["facts"]
        choices = {choice["about"]: choice["taken"] for choice in facts["choices"]}
        begun.append((facts["began_at"], choices.get("where training begins"), facts["aggregation"]))
    assert begun == [*[(1, "the earlier scorer", "product")] * 2, (None, None, "product"), (None, None, "product")]


@pytest.mark.filterwarnings("ignore:100% of the responses that this scorer learned from had a context")
def test_scores_by_text_and_by_sentences(learned: Opened) -> None:
    text = "Paris is in France. It has 90 million people."
    by_text = learned.post("/v1/score", {"responses": [{"text": text}]}, "reader").json()["results"][0]
    parts = [one["text"] for one in by_text["sentences"]]
    by_sentence = learned.post("/v1/score", {"responses": [{"sentences": parts}]}, "reader").json()["results"][0]
    assert [s["score"] for s in by_text["sentences"]] == [s["score"] for s in by_sentence["sentences"]]
    both = learned.post("/v1/score", {"responses": [{"text": text, "sentences": parts}]}, "reader")
    assert both.status_code == 422
    predicted = learned.post("/predict", {"inputs": text}, "reader").json()
    assert predicted[0] == {"score": by_text["response_score"], "label": "good"}


def test_pages_show_all_of_it(learned: Opened) -> None:
    browser = learned.browser()
    for page, words in {
        "import": "Data sets",
        "train": "on held-out labels",
        "look": "Which slices have most bad sentences",
        "correct": "wait in your queue",
        "try": "Score it",
    }.items():
        answer = browser.get(f"/p/ratings/{page}", headers={"accept": "text/html"})
        assert answer.status_code == 200, answer.text
        assert words in answer.text
    assert "What was done" in browser.get("/people", headers={"accept": "text/html"}).text


def test_feedback_lands_in_the_data(learned: Opened) -> None:
    body = {"response": "All of it is fine. Every word.", "thumb": "up", "fields": {"model": "C"}}
    answer = learned.post("/v1/feedback", body, "annotator")
    assert answer.status_code == 201, answer.text
    row = learned.get(f"/v1/responses/{answer.json()['response']}").json()
    assert row["label"] == 1.0
    assert learned.train()["state"] == "done"
    names = {one["name"]: one for one in learned.get("/v1/datasets").json()}
    assert names[answer.json()["dataset"]]["content_hash"]


def test_a_new_version_keeps_what_people_said(studio: Opened) -> None:
    first = studio.bring(ratings_csv(12), columns=COLUMNS, words=WORDS)["result"]
    row = studio.get("/v1/responses", params={"order": "id"}).json()[0]
    studio.post("/v1/labels", {"response": row["response"], "label": 0.5})
    studio.post("/v1/corrections", {"corrections": [{"response": row["response"], "place": 0, "verdict": "good"}]})
    second = studio.bring(ratings_csv(12), columns=COLUMNS, words=WORDS)["result"]
    assert first["dataset"] != second["dataset"]
    after = studio.get(f"/v1/responses/{row['response']}").json()
    assert after["label"] == 0.5
    assert list(after["verdicts"][0].values()) == ["good"]
    versions = [one["version"] for one in studio.get("/v1/datasets").json()]
    assert versions == [2, 1]
