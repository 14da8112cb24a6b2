"""What people marked in Label Studio and Argilla comes back as labelled sentences, suggestions as tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fractal.errors import BadData
from fractal.readers import ReadReport, read
from fractal.records import Response, ScoredResponse
from fractal.writers import write

TEXT = "Oslo is in Norway. It has a palace. It snows."


def region(start: int, end: int, label: str) -> dict[str, object]:
    value = {"start": start, "end": end, "text": TEXT[start:end], "labels": [label]}
    return {"from_name": "sentences", "to_name": "response", "type": "labels", "value": value}


def task(*annotations: list[dict[str, object]], **more: object) -> dict[str, object]:
    data = {"id": "a", "query": "Where?", "response": TEXT, "context": "A page.", "response_score": 0.3}
    return {"data": data, "annotations": [{"result": list(results)} for results in annotations], **more}


def written(tmp_path: Path, name: str, content: object) -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(content, indent=1))
    return path


def test_label_studio_regions_are_sentences_and_several_annotators_are_averaged(tmp_path: Path) -> None:
    content = [task([region(0, 18, "good"), region(19, 35, "bad")], [region(0, 18, "bad"), region(10, 30, "bad")])]
    report = ReadReport()
    (response,) = read(written(tmp_path, "export.json", content), report=report)
    assert isinstance(response, Response)
    assert [(s.text, s.label) for s in response.sentences] == [("Oslo is in Norway.", 0.5), ("It has a palace.", 0.0)]
    assert (response.id, response.query, response.context, response.text) == ("a", "Where?", ("A page.",), TEXT)
    assert report.reader == "label_studio"
    assert sum(report.counts.values()) == 1


def test_choices_and_ratings_are_the_label_of_the_whole(tmp_path: Path) -> None:
    choice = {"from_name": "whole", "to_name": "response", "type": "choices", "value": {"choices": ["good"]}}
    rating = {"from_name": "whole", "to_name": "response", "type": "rating", "value": {"rating": 4}}
    assert [r.label for r in read(written(tmp_path, "a.json", [task([choice])]))] == [1.0]
    assert [r.label for r in read(written(tmp_path, "b.json", [task([rating])]), label_scale="1..5")] == [0.75]
    with pytest.raises(BadData, match="runs from 40 to 400"):
        list(read(written(tmp_path, "c.json", [task([region(40, 400, "bad")])])))


@pytest.mark.parametrize("tool", ["label_studio", "argilla"])
def test_what_we_write_comes_back_once_people_confirmed_it(tool: str, tmp_path: Path) -> None:
    response = Response.from_sentences(
        "a", ["Oslo is in Norway.", "It has a palace."], query="Where?", context=("A page.",)
    )
    path = tmp_path / "tasks.json"
    write([ScoredResponse(response, (0.9, 0.2), 0.2)], path, tool)
    (one,) = json.loads(path.read_text())
    if tool == "argilla":
        one["responses"] = {"sentences": [{"value": one["suggestions"]["sentences"]["value"], "status": "submitted"}]}
    else:
        one["annotations"] = [{"result": one["predictions"][0]["result"]}]
    (back,) = read(written(tmp_path, "back.json", [one]))
    assert back.sentence_labels == (1.0, 0.0)
    assert (back.id, back.query, back.context, back.text) == ("a", "Where?", ("A page.",), response.text)


@pytest.mark.parametrize("name", ["ask.csv", "ask.tsv", "ask.jsonl"])
def test_suggestions_go_out_in_the_form_of_their_name_and_come_back_with_words(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from fractal.scorers.active_learning import Suggestion, read_answers, write_suggestions

    asked = [
        Suggestion("a", place, "It has.\tA palace", "Where?", ("A page.", "More"), "x", 0.5, None) for place in (0, 1)
    ]
    path = tmp_path / name
    assert write_suggestions(asked, path) == 2
    assert read_answers(path) == asked
    text = path.read_text()
    filled = (
        text.replace('"label": null', '"label": "good"')
        if name.endswith("jsonl")
        else "\n".join(line + ("bad" if number else "") for number, line in enumerate(text.splitlines()))
    )
    path.write_text(filled)
    assert [one.label for one in read_answers(path)] == ([1.0, 1.0] if name.endswith("jsonl") else [0.0, 0.0])


@pytest.mark.parametrize("odd", [None, "x", 3, [1], [None], {"a": 1}, [{"value": "x"}], [{"result": 1}]])
def test_exports_with_odd_parts_are_refused_record_by_record(tmp_path: Path, odd: object) -> None:
    span = {"start": 0, "end": 4, "labels": odd}
    tasks = [
        {"data": odd, "annotations": []},
        {"data": {"response": "One."}, "annotations": odd},
        {"data": {"response": "One."}, "annotations": [{"result": odd}]},
        {"data": {"response": "One."}, "annotations": [{"result": [{"value": span}]}]},
    ]
    records = [{"fields": odd, "responses": odd}, {"fields": {"response": "One."}, "responses": {"sentences": odd}}]
    records += [{"fields": {"response": "One."}, "responses": {"sentences": [{"value": odd}]}}]
    for reader, document in (("label_studio", tasks), ("argilla", records)):
        path = tmp_path / "a.json"
        path.write_text(json.dumps([*document, *document]))
        report = ReadReport()
        assert len(list(read(path, reader, on_error="reject", report=report))) == report.read
        assert report.read + report.rejected == 2 * len(document)
