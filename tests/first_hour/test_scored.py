"""What comes after a training: comparisons, slices, spans that people marked, maxima, anybody's scores; hints that run.

Each file is one that people have; it is read rightly, up to the words of the report, or stopped by an error that helps.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from tests.first_hour.made import RESPONSES, Row, changed, jsonl, labelled, rows, table
from tests.first_hour.test_first_hour import QUICK, STOPPED, Stopped, every_hint_runs, run

from fractal.records import Response

GOOD = [response for response in RESPONSES if response.label]
BAD = [response for response in RESPONSES if not response.label]
TWO = [
    {"prompt": f"What of {number}?", "context": "\n".join(good.context), "chosen": good.text, "rejected": bad.text}
    for number, (good, bad) in enumerate(zip(GOOD, BAD, strict=False))
]
COMPARING = ["mean" if word == "product" else word for word in QUICK]


def sides(first: str, second: str, **names: str) -> list[Row]:
    """Return pairs whose better side is now the first, now the second column."""
    listed = []
    for number, pair in enumerate(TWO):
        better, worse = pair["chosen"], pair["rejected"]
        row = {"id": number, "question": pair["prompt"], "response_a": better, "response_b": worse, "preference": first}
        if number % 2:
            row |= {"response_a": worse, "response_b": better, "preference": second}
        listed.append({names.get(name, name): value for name, value in row.items()})
    return listed


def chat(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


COMPARED = {
    "pairs.jsonl": jsonl(TWO),
    "sides.csv": table(sides("a", "b")),
    "arena.csv": table(sides("model_a", "model_b", preference="winner")),
    "ranks.jsonl": jsonl(
        [{"prompt": p["prompt"], "responses": [p["rejected"], p["chosen"]], "ranking": [2, 1]} for p in TWO]
    ),
    "chats.jsonl": jsonl(
        [{"chosen": chat(p["prompt"], p["chosen"]), "rejected": chat(p["prompt"], p["rejected"])} for p in TWO]
    ),
    "without-a-question.jsonl": jsonl([{"chosen": p["chosen"], "rejected": p["rejected"]} for p in TWO]),
}


def page(path: Path) -> tuple[str, dict[str, Any]]:
    """Return what a report says, and its data."""
    text = path.read_text("utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])
    return re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL), data


@pytest.mark.parametrize("name", COMPARED)
def test_comparisons_become_a_report_of_rivals_in_which_nothing_is_flagged(name: str, tmp_path: Path) -> None:
    path, scorer, scores, report = (tmp_path / part for part in (name, "scorer", "scores.jsonl", "report.html"))
    path.write_bytes(COMPARED[name])
    trained = run("train", str(path), "-o", str(scorer), *COMPARING)
    assert trained.exit_code == 0, trained.output
    assert f"Only {len(TWO)} answers are compared" in trained.output
    assert run("score", str(scorer), str(path), "-o", str(scores)).exit_code == 0
    assert run("report", str(scores), "-o", str(report)).exit_code == 0
    words, data = page(report)
    assert "flagged" not in words
    assert "better than the rival" in words
    assert [item["rivals"] for item in data["items"]] == [1] * (2 * len(TWO))
    shown = run("show", str(scores), "--limit", "1")
    assert shown.exit_code == 0


def scored(response: Response, row: Row, **more: Any) -> Row:
    """Return somebody's scores of a response: right of all sentences, and never sure."""
    sentences = [sentence.text for sentence in response.sentences]
    values = [0.9 if sentence.label else 0.2 for sentence in response.sentences]
    return {"id": row["id"], "response": response.text, "sentences": sentences, "sentence_scores": values, **more}


SCORES = [scored(response, row, aggregation="min") for response, row in zip(RESPONSES, rows(), strict=True)]


def marked(response: Response) -> list[tuple[int, int, str]]:
    """Return what people mark of each sentence: a part of it, never to the letter."""
    return [
        (
            sentence.start + 2 * (sentence.end - sentence.start > 12),
            sentence.end - 2,
            "good" if sentence.label else "bad",
        )
        for sentence in response.sentences
    ]


def region(start: int, end: int, label: str) -> Row:
    return {
        "from_name": "quality",
        "to_name": "text",
        "type": "labels",
        "value": {"start": start, "end": end, "labels": [label]},
    }


ENDS = ("start", "end", "label")
MARKED = [(f"r{number}", response.text, marked(response)) for number, response in enumerate(RESPONSES)]


def spans_of(id: str, text: str, spans: list[tuple[int, int, str]]) -> Row:
    """Return a labelled response whose sentences are spans of its text."""
    texts, places = [text[a:b] for a, b, _ in spans], [[a, b] for a, b, _ in spans]
    labels = [label for _, _, label in spans]
    return {"id": id, "response": text, "sentences": texts, "offsets": places, "sentence_labels": labels}


def with_line_breaks(text: str, spans: list[tuple[int, int, str]]) -> tuple[str, list[tuple[int, int, str]]]:
    """Return the text as another tool keeps it, two line breaks after each sentence, and where the spans are then."""
    moved = [(a + text[:a].count(". "), b + text[:b].count(". "), label) for a, b, label in spans]
    return text.replace(". ", ".\n\n"), moved


SPANS = {
    "label-studio.json": json.dumps(
        [
            {"data": {"id": id, "response": text}, "annotations": [{"result": [region(*span) for span in spans]}]}
            for id, text, spans in MARKED
        ]
    ),
    "argilla.json": json.dumps(
        [
            {
                "fields": {"id": id, "response": text},
                "suggestions": {},
                "responses": {"sentences": [{"value": [dict(zip(ENDS, span, strict=True)) for span in spans]}]},
            }
            for id, text, spans in MARKED
        ]
    ),
    "spans.jsonl": jsonl([spans_of(*one) for one in MARKED]).decode(),
    "other-blanks.jsonl": jsonl([spans_of(id, *with_line_breaks(text, spans)) for id, text, spans in MARKED]).decode(),
}


@pytest.mark.parametrize("name", SPANS)
def test_spans_that_people_marked_are_the_truth_of_scored_sentences(name: str, tmp_path: Path) -> None:
    scores, truth, report = tmp_path / "scores.jsonl", tmp_path / name, tmp_path / "report.html"
    scores.write_bytes(jsonl(SCORES))
    truth.write_text(SPANS[name], "utf-8")
    measured = run("evaluate", str(scores), "--truth", str(truth), "--bootstrap", "0", "--json")
    assert measured.exit_code == 0, measured.output
    facts = json.loads(measured.stdout)
    assert facts["labelled"] == sum(len(response.sentences) for response in RESPONSES)
    assert next(row["value"] for row in facts["rows"] if row["metric"] == "roc_auc") == 1.0
    assert any(f"{len(RESPONSES)} cut otherwise" in note for note in facts["notes"])
    ended = run("report", str(scores), "--truth", str(truth), "--bootstrap", "0", "-o", str(report))
    assert ended.exit_code == 0, ended.output
    assert f"{len(RESPONSES)} cut otherwise than the labelled ones" in page(report)[0]


def test_what_cannot_be_met_is_counted_by_evaluate_and_in_the_report(tmp_path: Path) -> None:
    scores, truth, report = tmp_path / "scores.jsonl", tmp_path / "truth.jsonl", tmp_path / "report.html"
    scores.write_bytes(jsonl(SCORES))
    some = [spans_of(id, text, spans[:1]) for id, text, spans in MARKED[:20]]
    some[0]["response"] += " More than was scored."
    truth.write_bytes(jsonl(some))
    said = ("28 scored responses left out", "1 left out: their text is not", "stay without a label")
    measured = run("evaluate", str(scores), "--truth", str(truth), "--bootstrap", "0")
    assert measured.exit_code == 0, measured.output
    assert run("report", str(scores), "--truth", str(truth), "--bootstrap", "0", "-o", str(report)).exit_code == 0
    words = page(report)[0]
    for text in said:
        assert text in measured.output
        assert text in words


def test_truth_without_a_label_is_said_in_the_report_and_stops_evaluate(tmp_path: Path) -> None:
    scores, truth, report = tmp_path / "scores.jsonl", tmp_path / "prodigy.jsonl", tmp_path / "report.html"
    scores.write_bytes(jsonl(SCORES))
    truth.write_bytes(
        jsonl([{"id": id, "response": text, "marks": [[*span] for span in spans]} for id, text, spans in MARKED])
    )
    assert run("report", str(scores), "--truth", str(truth), "-o", str(report)).exit_code == 0
    assert "No label was met: prodigy.jsonl says nothing" in page(report)[0]
    measured = run("evaluate", str(scores), "--truth", str(truth))
    assert measured.exit_code == 2
    assert "give labelled responses, as in --truth DATA" in measured.output


MODELS = ("gpt", "llama, 8B", "mistral; fast")
SLICED = {
    "model.csv": (table(changed(lambda row, n: {"model": MODELS[n % 3]})), "model", 3),
    "meta.jsonl": (jsonl(changed(lambda row, n: {"meta": {"topic": n % 2, "url": f"u{n}"}})), "meta.topic", 2),
    "languages.jsonl": (jsonl(changed(lambda row, n: {"language": ["de", "en", None][n % 3]})), "language", 3),
    "many.csv": (table(changed(lambda row, n: {"customer": f"c{n % 30}"})), "customer", 21),
}


@pytest.mark.parametrize("name", SLICED)
def test_slices_by_a_column_that_is_carried_through(name: str, scorer: Path, tmp_path: Path) -> None:
    content, field, count = SLICED[name]
    path, scores, report = tmp_path / name, tmp_path / "scores.jsonl", tmp_path / "report.html"
    path.write_bytes(content)
    looked = json.loads(run("inspect", str(path), "--by", field, "--json").stdout)["files"][0]["by"]
    assert (len(looked), sum(looked.values())) == (count, len(RESPONSES))
    assert run("score", str(scorer), str(path), "-o", str(scores)).exit_code == 0
    measured = run("evaluate", str(scores), "--by", field, "--bootstrap", "0", "--json")
    assert {value: one["responses"] for value, one in json.loads(measured.stdout)["by"]["slices"].items()} == looked
    assert run("report", str(scores), "--by", field, "--bootstrap", "0", "-o", str(report)).exit_code == 0
    words, data = page(report)
    assert f"By {field}" in words
    assert data["fields"][0] == {"name": field, "values": [*looked]}
    wrong = run("report", str(scores), "--by", f"{field}s", "-o", str(report))
    assert wrong.exit_code == 2
    assert f"Did you mean {field!r}" in wrong.output


FOUND = {
    "relevant.csv": (table(labelled(lambda label, n: "relevant" if label else "irrelevant")), ()),
    "answers.jsonl": (jsonl(labelled(lambda label, n: bool(label))), ()),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_maximum_is_a_report_of_what_was_found(name: str, tmp_path: Path) -> None:
    path, scorer, scores, report = (tmp_path / part for part in (name, "scorer", "scores.jsonl", "report.html"))
    path.write_bytes(FOUND[name][0])
    ended = run("train", str(path), "-o", str(scorer), *QUICK, "--aggregation", "noisy_or")
    assert ended.exit_code == 0, ended.output
    assert run("score", str(scorer), str(path), "-o", str(scores)).exit_code == 0
    assert run("report", str(scores), "-o", str(report), "--bootstrap", "0").exit_code == 0
    words, data = page(report)
    assert {item["aim"] for item in data["items"]} == {"find"}
    assert "sentences found" in words
    assert "flagged" not in words


OTHERS = {
    "minimum.jsonl": ([{**row, "aggregation": "min"} for row in SCORES], "flag"),
    "average.jsonl": ([{**row, "aggregation": "avg"} for row in SCORES], "flag"),
    "maximum.jsonl": ([{**row, "aggregation": "max"} for row in SCORES], "find"),
    "response-score.jsonl": (
        [{**{k: v for k, v in row.items() if k != "aggregation"}, "response_score": 0.5} for row in SCORES],
        "flag",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_scores_of_somebody_else_become_a_report(name: str, tmp_path: Path) -> None:
    listed, aim = OTHERS[name]
    (tmp_path / name).write_bytes(jsonl(listed))
    ended = run("report", str(tmp_path / name), "-o", str(tmp_path / "report.html"))
    assert ended.exit_code == 0, ended.output
    assert {item["aim"] for item in page(tmp_path / "report.html")[1]["items"]} == {aim}


MENDED = ("mistyped.jsonl", "mistyped-label.jsonl", "no-response.csv", "stars.csv", "typo.csv")


@pytest.mark.parametrize("case", [one for one in STOPPED if one.name in MENDED], ids=lambda case: case.name)
def test_the_flag_that_an_error_names_makes_the_command_work(case: Stopped, tmp_path: Path) -> None:
    path = tmp_path / case.name
    path.write_bytes(case.content)
    stopped = run("train", str(path), "-o", str(tmp_path / "scorer"), *case.flags, *QUICK)
    said = stopped.output.replace("\n", " ")
    named = re.search(r"(--(?:column|scale|label) [^ ,;:)?]+)", said.partition("Error")[2])
    assert named, said
    again = run("train", str(path), "-o", str(tmp_path / "scorer"), *shlex.split(named[1]), *QUICK)
    assert again.exit_code == 0, f"{named[1]}\n{again.output}"


def test_hints_of_every_command_after_a_training_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my answers.csv").write_bytes(
        table(changed(lambda row, n: {"model": "ab"[n % 2], "date": f"2026-01-{1 + n % 28:02}"}))
    )
    trained = run("train", "my answers.csv", "-o", "a scorer", *QUICK)
    scored = run("score", "a scorer", "my answers.csv", "-o", "my scores.jsonl")
    suggested = run("suggest", "a scorer", "my answers.csv", "-k", "5", "-o", "to label.csv")
    reported = run("report", "my scores.jsonl", "--by", "model", "-o", "my report.html")
    measured = run("evaluate", "my scores.jsonl", "--by", "model", "--bootstrap", "0")
    exported = run("export", "my scores.jsonl", "--to", "csv", "-o", "my scores.csv")
    watched = run("watch", "a scorer", "my answers.csv", "--since", "2026-01-15", "--margin", "1")
    labelled_all = run("disaggregate", "a scorer", "my answers.csv", "-o", "labelled.jsonl")
    shown = run("show", "my scores.jsonl", "--limit", "1")
    plain = [(ended, 0) for ended in (scored, reported, measured, exported, watched, labelled_all, shown)]
    every_hint_runs((trained, 3), (suggested, 1), *plain)


def test_suggestions_that_were_filled_in_come_back_by_the_printed_command(
    scorer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_bytes(jsonl(rows(context="kb")))
    flags = ["--column", "context=kb"]
    suggested = run("suggest", str(scorer), "a.jsonl", "-k", "4", "-o", "to label.csv", *flags)
    assert suggested.exit_code == 0, suggested.output
    with Path("to label.csv").open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    for line in lines:
        line["label"] = "1"
    Path("to label.csv").write_bytes(table(lines))
    every_hint_runs((suggested, 1))
    back = [json.loads(line) for line in Path("labelled.jsonl").read_text("utf-8").splitlines()]
    assert sum(label == 1 for row in back for label in row["sentence_labels"] or ()) == 4
