"""The readers of the paper's data sets: hand-written files in the official formats, labels worked out by hand."""

from __future__ import annotations

import json
import struct
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

from fractal.datasets.fetch import fetch
from fractal.datasets.published.final_answers import said_answer, same_answer
from fractal.datasets.synthetic import make_splits
from fractal.errors import BadData, BadSpec
from fractal.readers import READERS, ReadReport, read
from fractal.records import Preference, Response

DATA = Path(__file__).parents[1] / "data" / "paper"
OFFICIAL = Path(__file__).parents[2].parent / "shared" / "official"  # beside the repository, where someone has them
PAPER = ("aquamuse", "fira", "multispanqa", "prm800k", "qa_feedback", "wikicatsum")


def responses(source: object, reader: str, **options: object) -> dict[str, Response]:
    found = {}
    for record in read(source, reader, **options):
        assert isinstance(record, Response)
        assert all(record.text[s.start : s.end] == s.text for s in record.sentences)
        found[record.id] = record
    return found


def labels(response: Response) -> list[float | None]:
    return list(response.sentence_labels)


@pytest.mark.parametrize("name", PAPER)
def test_the_registry_documents_each_set(name: str) -> None:
    told = READERS[name].__doc__ or ""
    for word in ("Source:", "Licence:", "Task:", "Aggregation:", "Split by group:", "Traps:"):
        assert word in told


@pytest.mark.parametrize("name", PAPER)
def test_an_unknown_choice_or_an_empty_folder_says_what_would_work(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="the folder holds no"):
        list(read(tmp_path, name))
    if name not in ("aquamuse", "multispanqa"):
        option = {"fira": "judges", "prm800k": "neutral", "qa_feedback": "ties", "wikicatsum": "split"}[name]
        with pytest.raises(BadSpec, match="choose"):
            READERS.build(f"{name}({option}='maybe')")


# QA-Feedback ---------------------------------------------------------------------------------------------------------


def feedback(**changes: object) -> list[dict[str, object]]:
    (row,) = json.loads((DATA / "dev_feedback.json").read_text())[:1]
    return [{**row, **changes}]


def marked(text: str, *errors: dict[str, object]) -> list[dict[str, object]]:
    return feedback(**{"prediction 1": text, "feedback": {"errors": errors, "missing-info": []}})


def written(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value, ensure_ascii=False))
    return path


def test_feedback_spans_touch_the_sentences_at_their_own_characters() -> None:
    found = responses(DATA / "dev_feedback.json", "qa_feedback(give='answers')")
    first = found["dev_feedback-1/1"]
    assert [s.text for s in first.sentences] == ["The café opened in 1921.", "It sold bread.", "It closed in 1950."]
    # 'bread. It' from mid-word 'read.' to the 'It' of sentence 3 (overlapping spans), nothing in sentence 1
    assert labels(first) == [1.0, 0.0, 0.0]
    assert first.label == pytest.approx(1 / 3)
    assert first.extra["missing_info"] == 1
    assert first.group == first.query == "When did the café close?"


def test_feedback_ignores_error_types_that_do_not_count() -> None:
    found = responses(DATA / "dev_feedback.json", "qa_feedback(give='answers', errors='facts')")
    assert labels(found["dev_feedback-1/1"]) == [1.0, None, 0.0]  # what is irrelevant was not checked
    found = responses(DATA / "dev_feedback.json", "qa_feedback(give='answers', errors='Irrelevant+Redundant')")
    assert labels(found["dev_feedback-1/1"]) == [1.0, 0.0, 1.0]
    with pytest.raises(BadSpec, match="Wrong-Grounding"):
        READERS.build("qa_feedback(errors='wrong')")


def test_feedback_of_facts_has_no_label_where_relevance_is_marked() -> None:
    """As the owners ignore such sentences, whatever else is marked there."""
    row = marked("One two. Three four. Five six.", _error("Irrelevant", 0, 8), _error("Unverifiable", 0, 20))
    report = ReadReport()
    (answer,) = responses_of(row, "qa_feedback(give='answers', errors='facts')", report=report)
    assert labels(answer) == [None, 0.0, 1.0]
    assert answer.extra["ignored_sentences"] == 1
    assert any("1 sentences with a relevance mark" in note for note in report.notes)
    (answer,) = responses_of(row, "qa_feedback(give='answers', errors='relevance')")
    assert labels(answer) == [0.0, 1.0, 1.0]
    somewhere = marked("One two. Three four.", _error("Incoherent", None, None))
    (answer,) = responses_of(somewhere, "qa_feedback(give='answers', errors='facts')")
    assert labels(answer) == [None, None]


@pytest.mark.skipif(not (OFFICIAL / "qa_feedback").is_dir(), reason="the official files are not here")
def test_feedback_of_facts_in_the_official_file() -> None:
    found = responses(OFFICIAL / "qa_feedback" / "dev_feedback.json.gz", "qa_feedback(give='answers', errors='facts')")
    alone = responses(
        OFFICIAL / "qa_feedback" / "dev_feedback.json.gz", "qa_feedback(give='answers', errors='relevance')"
    )
    for id, answer in found.items():
        for fact, relevance in zip(labels(answer), labels(alone[id]), strict=True):
            assert relevance != 0.0 or fact is None


def test_feedback_words_after_the_last_span_are_labelled_and_a_span_in_mid_word_does_not_start_anew() -> None:
    """The paper's scripts count words from a span's own start, and give words after the last span no label."""
    text = "Aaa bbb ccc ddd eee fff. Gggg hhhh. Iiii jjjj."
    row = marked(text, _error("Irrelevant", 26, 34))
    assert text[26:34] == "ggg hhhh"
    (answer,) = responses_of(row, "qa_feedback(give='answers')")
    assert labels(answer) == [1.0, 0.0, 1.0]


def responses_of(rows: object, reader: str, **options: object) -> list[Response]:
    import io

    stream = io.BytesIO(json.dumps(rows).encode())
    stream.name = "x.json"  # type: ignore[attr-defined]
    return list(read(stream, reader, **options))  # type: ignore[arg-type]


def _error(kind: str, start: object, end: object) -> dict[str, object]:
    return {"error type": kind, "explanation": "", "start": start, "end": end}


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((10, 25), [1.0, 0.0]),  # the stop and blank before sentence 2 are a sloppy selection, not an error in 1
        ((0, 999), [0.0, 0.0]),  # past the end is cut
        ((None, None), [None, None]),  # an error somewhere: no sentence is known to be good
        ((3, 3), [1.0, 1.0]),  # an empty span
    ],
)
def test_feedback_ugly_spans(span: tuple[object, object], expected: list[float | None]) -> None:
    row = marked("One two th. Four five.", _error("Irrelevant", *span))
    (answer,) = responses_of(row, "qa_feedback(give='answers')")
    assert labels(answer) == expected
    assert answer.label == (None if None in expected else sum(expected) / 2)  # type: ignore[arg-type]


def test_feedback_offsets_that_a_browser_has_counted() -> None:
    text = "Fine 🎉🎉🎉🎉 day. It rained."
    row = marked(text, _error("Irrelevant", 19, 27))
    (answer,) = responses_of(row, "qa_feedback(give='answers', offsets='utf16')")
    assert labels(answer) == [1.0, 0.0]
    row = marked(text, _error("Irrelevant", 14, 17))  # 'day' as UTF-16 counts it
    (answer,) = responses_of(row, "qa_feedback(give='answers', offsets='utf16')")
    assert labels(answer) == [0.0, 1.0]


def test_feedback_preferences_ties_and_answers_with_the_same_words() -> None:
    report = ReadReport()
    pairs = list(read(DATA / "dev_feedback.json", "qa_feedback", report=report))
    told = [(p.id, p.better.id[-1], p.worse.id[-1], p.tie) for p in pairs if isinstance(p, Preference)]
    assert told == [
        ("dev_feedback-1/1-2", "1", "2", True),
        ("dev_feedback-1/1-3", "3", "1", False),
        ("dev_feedback-1/1-4", "1", "4", False),
        ("dev_feedback-1/2-3", "3", "2", False),
        ("dev_feedback-1/2-4", "2", "4", True),
    ]  # 3 and 4 have the same words, though 1 is said of them
    assert "left out 1 pairs of answers with the same words" in report.notes
    assert sum(pair.tie for pair in read(DATA / "dev_feedback.json", "qa_feedback(ties='drop')")) == 0  # type: ignore[union-attr]
    first = next(iter(pairs))
    assert isinstance(first, Preference)
    assert labels(first.better) == [1.0, 0.0, 0.0]
    assert set(first.worse.sentence_labels) == {None}


def test_feedback_empty_passages_are_left_out() -> None:
    (answer,) = responses(DATA / "dev_feedback.json", "qa_feedback(give='answers')").values()
    assert answer.context == ("Café Nord\n\nIt opened in 1921. It closed in 1950.", "Bread is a food.")


def test_feedback_refuses_what_is_wrong_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path / "dev_feedback.json", feedback(preference=[1, 2, 3, 0, 0, 0]))
    with pytest.raises(BadData, match=r"line 1, field 'preference': found 3"):
        list(read(path, "qa_feedback"))
    report = ReadReport()
    assert list(read(path, "qa_feedback", on_error="reject", report=report)) == []
    assert report.rejected == 1
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(BadData, match="Git LFS"):
        list(read(path, "qa_feedback"))


# FiRA ----------------------------------------------------------------------------------------------------------------


def test_fira_votes_and_maxima_over_several_judges() -> None:
    """The judges' levels: 0 0 3, then 2 2 0, then 0 3 3; of three different votes for a sentence the highest wins."""
    vote = responses(DATA / "fira", "fira")["7/D1_0"]
    assert [s.text for s in vote.sentences] == ["Blood is red.", "Clots slow it “badly”.", "Plaque narrows it."]
    assert labels(vote) == [0.0, 1.0, 1.0]
    assert vote.label == 1.0  # 3, 2, 3
    assert vote.extra["judges"] == 3
    most = responses(DATA / "fira", "fira(judges='max')")["7/D1_0"]
    assert labels(most) == [2 / 3, 1.0, 1.0]
    assert most.label == max(labels(most))  # type: ignore[type-var]


def test_fira_keeps_every_judges_level(tmp_path: Path) -> None:
    voted = responses(DATA / "fira", "fira")["7/D1_0"]
    assert voted.extra["judged_levels"] == [3, 2, 3]
    assert [len(judged) for judged in voted.extra["judged_sentences"]] == [len(voted.sentences)] * 3
    for name in ("documents.tsv", "queries.tsv"):
        (tmp_path / name).write_text((DATA / "fira" / name).read_text())
    table = (DATA / "fira" / "fira-trec19-raw-judgements.tsv").read_text().splitlines()
    spans = [(s.start, s.end) for s in voted.sentences]
    rows = [f"{n}\t2_GOOD_ANSWER\t{a}-{b}\t1\t1\tD1_0\t7\tu{n}" for n, (a, b) in enumerate(spans, 1)]
    (tmp_path / "fira-trec19-raw-judgements.tsv").write_text("\n".join([table[0], *rows]) + "\n")
    report = ReadReport()
    (split,) = responses(tmp_path, "fira", report=report).values()
    assert (split.label, set(labels(split))) == (pytest.approx(2 / 3), {0.0})
    assert any("1 documents have a higher level than each of their sentences" in note for note in report.notes)


def test_fira_a_drawn_vote_goes_to_the_higher_level() -> None:
    assert responses(DATA / "fira", "fira")["7/D2_0"].label == pytest.approx(1 / 3)  # 0 and 1


def test_fira_levels_without_ranges() -> None:
    silent = responses(DATA / "fira", "fira")["9/D2_0"]
    assert (labels(silent), silent.label) == ([None, None], 2 / 3)
    spread = responses(DATA / "fira", "fira(unmarked='all')")["9/D2_0"]
    assert labels(spread) == [2 / 3, 2 / 3]
    irrelevant = responses(DATA / "fira", "fira")["9/D1_0"]
    assert labels(irrelevant) == [0.0, 0.0, 0.0]


def test_fira_every_range_counts_not_only_the_first() -> None:
    """The paper's scripts leave the loop after the first range."""
    assert labels(responses(DATA / "fira", "fira(judges='max')")["7/D3_0"]) == [1 / 3, 0.0, 1 / 3]


def test_fira_a_judgement_without_its_text_is_refused(tmp_path: Path) -> None:
    for name in ("documents.tsv", "queries.tsv", "fira-trec19-raw-judgements.tsv"):
        (tmp_path / name).write_text((DATA / "fira" / name).read_text())
    with (tmp_path / "fira-trec19-raw-judgements.tsv").open("a") as file:
        file.write("99\t0_NOT_RELEVANT\t<no ranges selected>\t10\t20\tD404_0\t7\tu1\n")
    with pytest.raises(BadData, match="'D404_0' is judged but has no text"):
        list(read(tmp_path, "fira"))
    report = ReadReport()
    list(read(tmp_path, "fira", on_error="reject", report=report))
    assert report.rejected == 1
    (tmp_path / "queries.tsv").unlink()
    with pytest.raises(BadData, match=r"no queries\.tsv"):
        list(read(tmp_path, "fira"))


# MultiSpanQA ---------------------------------------------------------------------------------------------------------


def test_spans_label_the_sentences_that_hold_their_own_tokens() -> None:
    """The paper's scripts slice word labels from the paragraph's start each time: all get the first sentence's."""
    found = responses(DATA / "multispanqa" / "valid.json", "multispanqa(negatives=0)")
    first = found["q1"]
    assert (
        first.text
        == 'Lena wrote it. The critics liked "Blue Boat", her song. Then Max (a friend) sang it. It sold well.'
    )
    assert labels(first) == [1.0, 0.0, 1.0, 0.0]
    assert (first.label, first.query, first.group) == (1.0, "who wrote and sang blue boat", "q1")


def test_negatives_are_the_longest_run_without_an_answer_and_end_before_it() -> None:
    """The paper's scripts keep a positive sentence at the edge of the run and call it negative."""
    found = responses(DATA / "multispanqa" / "valid.json", "multispanqa(negatives=1)")
    assert found["q2"].text == "Rain fell. Snow fell."  # between two answers; the runs before and after are shorter
    assert (labels(found["q2"]), found["q2"].label) == ([0.0, 0.0], 0.0)
    assert labels(found["q3"]) == [1.0]  # answers everywhere: it stays what it is
    whole = responses(DATA / "multispanqa" / "valid.json", "multispanqa(negatives=0)")
    answers = {s.text for r in whole.values() for s in r.sentences if s.label == 1.0}
    assert not answers & {s.text for r in found.values() if r.label == 0.0 for s in r.sentences}


def test_negatives_are_drawn_without_replacement_and_by_the_seed(tmp_path: Path) -> None:
    tokens = ["Yes", ".", "No", "."]
    rows = [{"id": f"q{n}", "question": ["?"], "context": tokens, "label": ["B", "O", "O", "O"]} for n in range(200)]
    path = written(tmp_path / "train.json", {"data": rows})

    def drawn(seed: int) -> set[str]:
        found = responses(path, f"multispanqa(seed={seed})")
        return {id for id, response in found.items() if response.label == 0.0}

    assert len(drawn(0)) == 100  # with replacement it would be about 79
    assert drawn(0) == drawn(0) != drawn(1)


def test_windows_cut_the_paragraph_and_keep_its_group() -> None:
    found = responses(DATA / "multispanqa" / "valid.json", "multispanqa(window=2)")
    assert [(id, r.label) for id, r in found.items() if r.group == "q1"] == [("q1/0", 1.0), ("q1/1", 1.0)]
    assert found["q1/1"].text == "Then Max (a friend) sang it. It sold well."


def test_spans_of_a_test_file_are_unknown_and_marks_must_fit_the_tokens(tmp_path: Path) -> None:
    row = {"id": "q", "question": ["who", "?"], "context": ["Ann", ".", "Bob", "."]}
    (answer,) = responses(written(tmp_path / "test.json", {"data": [row]}), "multispanqa").values()
    assert (labels(answer), answer.label) == ([None, None], None)
    path = written(tmp_path / "bad.json", {"data": [{**row, "label": ["B", "O"]}]})
    with pytest.raises(BadData, match="one of B, I and O for each of the 4 tokens"):
        list(read(path, "multispanqa"))


# WikiCatSum and AQuaMuSe ---------------------------------------------------------------------------------------------


def test_articles_are_read_line_by_line_from_both_files() -> None:
    found = responses(DATA / "wikicatsum", "wikicatsum(split='valid')")
    first, second = found["film-valid-1"], found["film-valid-2"]
    assert [s.text for s in first.sentences] == ["the reef is a film .", "it was made in 1998 ."]
    assert first.query == "the reef"
    assert first.context == ("the reef came out in 1998 .", "divers find a wreck .")  # empty paragraphs are left out
    assert (first.label, labels(first), first.extra["aggregation"]) == (1.0, [1.0, 1.0], "min")
    assert (second.query, second.context) == ("", ("a film about bees .",))
    assert len(found) == 2


def test_articles_files_of_unequal_length_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.src").write_text("a <EOT> b\n")
    (tmp_path / "train.tgt").write_text("c . <SNT> d .\ne .\n")
    with pytest.raises(BadData, match=r"train\.src ends before the other file"):
        list(read(tmp_path / "train.tgt", "wikicatsum"))


def test_summaries_of_pages_as_json_lines_with_the_pages_texts() -> None:
    report = ReadReport()
    found = responses(
        DATA / "aquamuse" / "dev.jsonl", f"aquamuse(documents={str(DATA / 'aquamuse_pages.jsonl')!r})", report=report
    )
    first, second = found.values()
    assert first.context == ("Bees fly. They make honey.",)
    assert labels(first) == [1.0, 1.0]
    assert first.group == first.query == "what do bees do"
    assert second.context == ()
    assert report.notes == ["2 pages are named but their texts are not given: see documents=FILE"]


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def _part(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def tf_example(**features: list[str]) -> bytes:
    entries = b""
    for name, values in features.items():
        listed = b"".join(_part(1, value.encode()) for value in values)
        entries += _part(1, _part(1, name.encode()) + _part(2, _part(1, listed)))
    content = _part(1, entries)
    return struct.pack("<Q", len(content)) + b"\0" * 4 + content + b"\0" * 4


def test_summaries_of_pages_as_tf_records(tmp_path: Path) -> None:
    path = tmp_path / "release-set-tf-examples-00000-of-00050"
    long = "Bees fly. " * 30
    whole = tf_example(query=["what do bees do"], input_urls=["https://a.example", "https://b.example"], target=[long])
    path.write_bytes(whole + tf_example(query=["q"], input_urls=[], target=["One é."]))
    found = list(responses(tmp_path, "aquamuse").values())
    assert [(r.query, len(r.sentences)) for r in found] == [("what do bees do", 30), ("q", 1)]
    assert found[0].extra["input_urls"] == ["https://a.example", "https://b.example"]
    path.write_bytes(whole[:-9])
    with pytest.raises(BadData, match="cut short"):
        list(read(path, "aquamuse"))


# PRM800K -------------------------------------------------------------------------------------------------------------


def test_steps_follow_the_chosen_completion_and_one_rating_alone_is_wrong() -> None:
    """The paper's scripts follow completion 0, and feed −1/0/+1 into the loss as they are."""
    found = responses(DATA / "prm800k", "prm800k")
    first = found["phase1_train-1"]
    assert [s.text for s in first.sentences] == [
        "Add 2 and 3.",
        "That is 5.",
        "Carefully: 5.",
        "So 5.\n\n# Answer\n\n5",
    ]
    assert labels(first) == [1.0, 1.0, 1.0, 1.0]  # 0, chosen 1, the rater's own, +1
    assert first.label == 1.0


def test_steps_end_with_the_first_wrong_one_in_phase_two() -> None:
    found = responses(DATA / "prm800k", "prm800k")
    wrong = found["phase2_train-1"]
    assert [s.text for s in wrong.sentences] == ["Halve 8.", "That is 3."]  # the generated one, not the first listed
    assert (labels(wrong), wrong.label) == ([1.0, 0.0], 0.0)
    assert wrong.group == "What is half of 8?"


@pytest.mark.parametrize(("neutral", "value"), [("good", 1.0), ("bad", 0.0), ("half", 0.5), ("unknown", None)])
def test_steps_neither_wrong_nor_helpful(neutral: str, value: float | None) -> None:
    found = responses(DATA / "prm800k", f"prm800k(neutral={neutral!r})")
    first = found["phase1_train-1"]
    assert labels(first) == [value, 1.0, 1.0, 1.0]
    assert first.label == value


def test_steps_without_a_rating_leave_the_solution_unknown_unless_one_is_wrong() -> None:
    found = responses(DATA / "prm800k", "prm800k")
    assert (labels(found["phase1_train-2"]), found["phase1_train-2"].label) == ([1.0, None], None)


def test_solutions_that_are_left_out_are_counted() -> None:
    report = ReadReport()
    found = responses(DATA / "prm800k", "prm800k", report=report)
    assert "phase2_train-2" not in found
    assert "phase2_train-3" not in found
    assert report.notes == [
        "left out 1 solutions for unfinished='drop'",
        "left out 1 solutions for screening='drop'",
    ]
    kept = responses(DATA / "prm800k", "prm800k(unfinished='keep', screening='keep')")
    assert {"phase2_train-2", "phase2_train-3"} <= kept.keys()


def test_the_outcome_is_the_final_answer_of_the_whole_solution() -> None:
    found = responses(DATA / "prm800k", "prm800k(outcome='answer')")
    lucky = found["phase2_train-1"]
    assert [s.text for s in lucky.sentences] == ["Halve 8.", "That is 3.", "No, 4.\n\n# Answer\n\n$4$"]
    assert (labels(lucky), lucky.label) == ([1.0, 0.0, None], 1.0)  # a wrong step, and the right answer
    assert found["phase1_train-1"].label == 1.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("40,\\!000", "40000", True), ("$\\dfrac{1}{2}$", "0.5", True), ("\\frac12", "1/2", True), ("-3", "3", False),
        ("12\\text{ cm}", "12", True), ("(1,2)", "(1, 2)", True), ("1,234", "1234", True), ("x+1", "x+2", False),
        ("\\left(1,2\\right)", "(1,2)", True), ("5.", "5", True), ("1/0", "0", False),
    ],
)  # fmt: skip
def test_final_answers(one: str, other: str, same: bool) -> None:
    assert same_answer(one, other) is same


def test_final_answers_are_found_at_the_end() -> None:
    assert said_answer("So it is 5.\n\n# Answer\n\n5") == "5"
    assert said_answer("Thus \\boxed{\\frac{1}{2}}.") == "\\frac{1}{2}"
    assert said_answer("So it is 5.") == ""


# What holds for all --------------------------------------------------------------------------------------------------


def test_groups_do_not_cross_splits(tmp_path: Path) -> None:
    """The paper's scripts draw folds over pairs or solutions: one question is then on both sides."""
    rows = json.loads((DATA / "dev_feedback.json").read_text()) * 20
    rows = [{**row, "question": f"Question {place // 2}?"} for place, row in enumerate(rows)]
    pairs = list(read(written(tmp_path / "train_feedback.json", rows), "qa_feedback"))
    lines = (DATA / "prm800k" / "phase1_train.jsonl").read_text().splitlines()[:1] * 40
    solutions = [json.loads(line) for line in lines]
    for place, solution in enumerate(solutions):
        solution["question"]["problem"] = f"Problem {place // 4}"
    path = tmp_path / "phase1_train.jsonl"
    path.write_text("\n".join(map(json.dumps, solutions)))
    for records in (pairs, list(read(path, "prm800k"))):
        train, test = make_splits(records, (0.5, 0.5))  # type: ignore[type-var]
        assert train
        assert test
        assert not {record.split_group for record in train} & {record.split_group for record in test}


def test_pseudo_labels_of_levels_keep_to_the_level_of_the_document() -> None:
    """The paper's scripts can give levels whose highest is not the document's."""
    torch = pytest.importorskip("torch")
    from fractal.mil.aggregations import AGGREGATIONS

    found = [r for r in responses(DATA / "fira", "fira").values() if r.label is not None]
    counts = [len(response.sentences) for response in found]
    offsets = torch.tensor([0, *torch.tensor(counts).cumsum(0).tolist()])
    form = AGGREGATIONS.build("max_levels(levels=4)")
    logits = torch.randn(sum(counts), 3, 1, generator=torch.Generator().manual_seed(0))
    hard = form.most_likely_labels(form.probabilities(logits), offsets, torch.tensor([r.label for r in found]))
    best = [hard[a:b].max().item() for a, b in pairwise(offsets)]
    assert best == pytest.approx([response.label for response in found])


def official_shard(path: Path, urls: list[str]) -> None:
    """One summary in the official form: a TFRecord of a `tf.train.Example` with one string of all addresses."""
    bee = {"query": "what do bees do", "target": "Bees fly. They make honey.", "input_urls": "<EOD>".join(urls)}
    features = b"".join(_lengthed(1, _lengthed(1, k.encode()) + _lengthed(2, _lengthed(1, _lengthed(1, v.encode()))))
                        for k, v in bee.items())  # fmt: skip
    example = _lengthed(1, features)
    path.write_bytes(struct.pack("<Q", len(example)) + b"\0" * 4 + example + b"\0" * 4)


def _lengthed(field: int, value: bytes) -> bytes:
    size, parts = len(value), []
    while True:
        parts.append(size & 127 | (128 if size > 127 else 0))
        size >>= 7
        if not size:
            return bytes([field << 3 | 2, *parts]) + value


@pytest.mark.parametrize("zipped", [False, True])
def test_aquamuse_official_shards_name_pages_in_one_string(tmp_path: Path, zipped: bool) -> None:
    folder, pages = tmp_path / "v3", tmp_path / "pages.jsonl"
    folder.mkdir()
    official_shard(folder / "release-set-tf-examples-00000-of-00001", ["https://a.example", "https://b.example"])
    pages.write_text('{"url": "https://a.example", "text": "A."}\n{"url": "https://b.example", "text": "B."}\n')
    if zipped:
        with zipfile.ZipFile(folder / "dev.zip", "w") as archive:
            archive.write(
                folder / "release-set-tf-examples-00000-of-00001", "dev/release-set-tf-examples-00000-of-00001"
            )
        (folder / "release-set-tf-examples-00000-of-00001").unlink()
    (taken,) = fetch("aquamuse", tmp_path / "out", from_folder=folder)
    (summary,) = responses(tmp_path / "out", f"aquamuse(documents={str(pages)!r})").values()
    assert taken.parent == tmp_path / "out"
    assert summary.context == ("A.", "B.")
    assert summary.extra["input_urls"] == ["https://a.example", "https://b.example"]


@pytest.mark.skipif(not (OFFICIAL / "aquamuse").is_dir(), reason="the official files are not here")
def test_aquamuse_addresses_of_the_official_shards() -> None:
    found = list(responses(OFFICIAL / "aquamuse", "aquamuse").values())
    urls = [url for summary in found for url in summary.extra["input_urls"]]
    assert len(urls) > 3 * len(found)
    assert not any("<EOD>" in url for url in urls)
