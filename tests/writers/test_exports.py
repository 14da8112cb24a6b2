"""Exports for other tools: held to their documented formats, and read by the tools themselves where installed."""

import dataclasses
import json
import xml.etree.ElementTree as ElementTree
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.errors import BadData, BadSpec
from fractal.readers.scored import read_scored
from fractal.records import Preference, Response, ScoredResponse
from fractal.writers import WRITERS, write
from fractal.writers.argilla import argilla_record
from fractal.writers.label_studio import LABEL_CONFIG, label_studio_task
from fractal.writers.preferences import Evidence, dpo_pairs, kto_rows
from support.scored_samples import make_scored

# What Label Studio documents of tasks with predictions: https://labelstud.io/guide/predictions
REGION = {
    "type": "object",
    "required": ["id", "from_name", "to_name", "type", "value"],
    "properties": {
        "id": {"type": "string", "minLength": 1},
        "from_name": {"const": "sentences"},
        "to_name": {"const": "response"},
        "type": {"const": "labels"},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "value": {
            "type": "object",
            "required": ["start", "end", "labels"],
            "properties": {
                "start": {"type": "integer", "minimum": 0},
                "end": {"type": "integer", "minimum": 0},
                "text": {"type": "string"},
                "labels": {"type": "array", "items": {"enum": ["bad", "good"]}, "minItems": 1, "maxItems": 1},
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
TASK = {
    "type": "object",
    "required": ["data", "predictions"],
    "properties": {
        "data": {"type": "object", "required": ["response", "context", "query"]},
        "predictions": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["result"],
                "properties": {
                    "model_version": {"type": "string"},
                    "score": {"type": "number"},
                    "result": {"type": "array", "items": REGION},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}


def answer(id: str, *scores: float, query: str = "Why?", spread: float = 0.0, **fields) -> ScoredResponse:
    response = Response.from_sentences(id, [f"{id} {place}." for place in range(len(scores))], query=query, **fields)
    return ScoredResponse(response, scores, min(scores), (spread,) * len(scores), aggregation="min")


def test_label_studio_tasks_follow_the_format():
    jsonschema = pytest.importorskip("jsonschema")
    for scored in make_scored(20):
        jsonschema.validate(json.loads(json.dumps(label_studio_task(scored))), TASK)


def test_label_studio_regions_cut_out_the_sentences():
    scored = make_scored(1)[0]
    task = label_studio_task(scored)
    (prediction,) = task["predictions"]
    cut = [task["data"]["response"][each["value"]["start"] : each["value"]["end"]] for each in prediction["result"]]
    assert cut == [sentence.text for sentence in scored.response.sentences]
    assert prediction["score"] == scored.response_score
    for region, score in zip(prediction["result"], scored.sentence_scores, strict=True):
        assert region["value"]["labels"] == ["bad" if score < 0.5 else "good"]
        assert region["score"] == max(score, 1 - score)
    only = label_studio_task(answer("a", 0.2, 0.9), only_bad=True)["predictions"][0]["result"]
    assert [region["value"]["labels"] for region in only] == [["bad"]]


def test_label_studio_interface_names_what_tasks_hold():
    view = ElementTree.fromstring(LABEL_CONFIG)
    task = label_studio_task(make_scored(1)[0])
    shown = {element.get("value") for element in view.iter() if (element.get("value") or "").startswith("$")}
    assert {name[1:] for name in shown} <= set(task["data"])
    labels = view.find("Labels")
    region = task["predictions"][0]["result"][0]
    assert (labels.get("name"), labels.get("toName")) == (region["from_name"], region["to_name"])
    assert {label.get("value") for label in labels} == {"bad", "good"}


def test_argilla_reads_its_records(tmp_path):
    argilla = pytest.importorskip("argilla", reason="argilla is not installed")
    from argilla.records._io import JsonIO

    scored = make_scored(5)
    path = tmp_path / "records.json"
    path.write_text(json.dumps([argilla_record(item) for item in scored]), encoding="utf-8")
    records = JsonIO._records_from_json(path)
    assert all(isinstance(record, argilla.Record) for record in records)
    for record, item in zip(records, scored, strict=True):
        suggestion = record.suggestions["sentences"]
        assert [item.response.text[span["start"] : span["end"]] for span in suggestion.value] == [
            sentence.text for sentence in item.response.sentences
        ]
        assert record.fields["response"] == item.response.text


def test_argilla_records_hold_spans_with_scores_and_no_empty_fields():
    record = argilla_record(answer("a", 0.2, 0.9, query=""))
    assert record["fields"] == {"response": "a 0. a 1."}
    assert record["suggestions"]["sentences"] == {
        "value": [{"start": 0, "end": 4, "label": "bad"}, {"start": 5, "end": 9, "label": "good"}],
        "score": [0.8, 0.9],
        "agent": "fractal",
        "type": "model",
    }
    assert argilla_record(answer("a", 0.9), only_bad=True)["suggestions"] == {}


def test_pairs_need_evidence_on_both_sides():
    scored = [answer("good", 0.9, 0.8), answer("bad", 0.9, 0.2), answer("open", 0.55), answer("worse", 0.1)]
    (pair,) = dpo_pairs(scored)
    assert (pair["prompt"], pair["chosen"], pair["rejected"]) == ("Why?", "good 0. good 1.", "worse 0.")
    assert (pair["score_chosen"], pair["score_rejected"]) == (0.8, 0.1)
    assert len(list(dpo_pairs(scored, all_pairs=True))) == 2
    assert list(dpo_pairs(scored, Evidence(margin=0.35))) == []
    assert list(dpo_pairs([answer("a", 0.9), answer("b", 0.1, query="Other?")])) == []
    assert list(dpo_pairs([answer("a", 0.9, query=""), answer("b", 0.1, query="")])) == []


def under(rule: str, id: str, *scores: float, **fields) -> ScoredResponse:
    return dataclasses.replace(answer(id, *scores, **fields), aggregation=rule)


@pytest.mark.parametrize(("rule", "good"), [("min", False), ("max", True), ("mean", None)])
def test_what_makes_a_response_good_is_what_the_scores_were_learned_under(rule, good):
    """One good sentence among bad ones: bad under a minimum, good under a maximum, open by the mean."""
    item = under(rule, "a", 0.95, 0.1)
    assert Evidence().of(item) is good
    assert [row["label"] for row in kto_rows([item])] == ([] if good is None else [good])


def test_what_is_left_out_is_counted_by_its_reason(tmp_path):
    scored = [
        under("max", "good", 0.9, 0.1),
        under("max", "better", 0.95, 0.1),
        under("max", "bad", 0.1, 0.2),
        under("max", "open", 0.5),
        under("max", "alone", 0.9, query="Other?"),
        under("max", "unasked", 0.9, query=""),
    ]
    reasons: dict[str, int] = {}
    count = write(scored, tmp_path / "out.jsonl", "dpo", on_left_out=reasons.__setitem__)
    (row,) = lines(tmp_path / "out.jsonl")
    assert (count, row["chosen"]) == (1, "better 0. better 1.")
    assert sum(reasons.values()) + 2 == len(scored)
    assert {"narrower" in reason for reason in reasons} == {True, False}
    assert any("without a query" in reason for reason in reasons)
    with pytest.warns(UserWarning, match="left out: 1 with scores that leave open"):
        assert write(scored, tmp_path / "out.jsonl", "kto") == 5


def test_a_context_alone_is_a_prompt():
    scored = [answer("a", 0.9, query="", context=("Source.",)), answer("b", 0.1, query="", context=("Source.",))]
    (pair,) = dpo_pairs(scored)
    assert (pair["prompt"], pair["chosen"]) == ("Source.", "a 0.")


def test_records_that_do_not_say_their_rule_must_be_told_it():
    unknown = under("", "a", 0.95, 0.1)
    with pytest.raises(BadData, match="aggregation='min'"):
        list(kto_rows([unknown]))
    assert next(kto_rows([unknown], Evidence(aggregation="max")))["label"] is True
    assert WRITERS.build("kto(aggregation='max')").aggregation == "max"
    with pytest.raises(BadSpec, match="'mean'"):
        WRITERS.build("kto(aggregation='product')")


@pytest.mark.parametrize("rule", ["min", "max", "mean", ""])
def test_saved_scores_carry_their_rule(tmp_path, rule):
    item = under(rule, "a", 0.95, 0.1, extra={"aggregation": "avg"})
    write([item], tmp_path / "s.jsonl")
    (back,) = read_scored(tmp_path / "s.jsonl")
    assert back.aggregation == (rule or "mean")  # where the scorer is unknown, what the record itself says
    assert back.response.extra["aggregation"] == "avg"


def test_heads_that_disagree_are_no_evidence():
    scored = [answer("good", 0.9, spread=0.2), answer("bad", 0.1, spread=0.2)]
    assert len(list(dpo_pairs(scored, Evidence(kappa=1.0)))) == 1
    assert list(dpo_pairs(scored, Evidence(kappa=2.0))) == []
    assert list(kto_rows(scored, Evidence(kappa=2.0))) == []


def test_pairs_never_contradict_known_labels():
    assert list(dpo_pairs([answer("a", 0.9, label=0.0), answer("b", 0.1, label=1.0)])) == []
    assert len(list(dpo_pairs([answer("a", 0.9, label=1.0), answer("b", 0.1, label=0.0)]))) == 1
    assert len(list(dpo_pairs([answer("a", 0.9), answer("b", 0.1, label=1.0)]))) == 1


def test_the_context_is_part_of_the_prompt():
    (row,) = kto_rows([answer("a", 0.9, context=("One.", "Two."))])
    assert row == {"prompt": "One.\n\nTwo.\n\nWhy?", "completion": "a 0.", "label": True, "score": 0.9}
    (chat,) = kto_rows([answer("a", 0.1)], chat=True)
    assert chat["prompt"] == [{"role": "user", "content": "Why?"}]
    assert chat["completion"] == [{"role": "assistant", "content": "a 0."}]
    assert chat["label"] is False


def test_evidence_that_cannot_be_is_refused():
    with pytest.raises(BadSpec, match="margin"):
        Evidence(margin=-0.1)
    with pytest.raises(BadSpec, match="between 0 and 1"):
        Evidence(threshold=1.0)
    with pytest.raises(BadSpec, match="below 0"):
        WRITERS.build("dpo(kappa=-1)")


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    st.floats(0, 0.5),
    st.floats(0, 0.3),
    st.floats(0, 2),
    st.floats(0.1, 0.9),
)
def test_more_margin_and_more_doubt_never_turn_a_verdict(scores, spread, margin, kappa, threshold):
    item = answer("a", *scores, spread=spread)
    strict = Evidence(threshold, margin, kappa).of(item)
    assert strict in (None, Evidence(threshold, 0.0, 0.0).of(item))


ARRAYS = {"label_studio": label_studio_task, "argilla": argilla_record}


@pytest.mark.parametrize("name", ARRAYS)
def test_annotations_are_written_as_one_array(tmp_path, name):
    scored = make_scored(4)
    for items in (scored, []):
        assert write(items, tmp_path / "out.json", name) == len(items)
        assert json.loads((tmp_path / "out.json").read_bytes()) == [ARRAYS[name](item) for item in items]
    write(scored, tmp_path / "out.json", f"{name}(only_bad=True, threshold=0.9)")
    strict = [ARRAYS[name](item, 0.9, only_bad=True) for item in scored]
    assert json.loads((tmp_path / "out.json").read_bytes()) == strict


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_preferences_are_written_as_lines(tmp_path):
    scored = [answer("a", 0.9), answer("b", 0.1), answer("c", 0.3)]
    path = tmp_path / "out.jsonl"
    write(scored, path, "dpo(all_pairs=True, chat=True)")
    assert lines(path) == list(dpo_pairs(scored, chat=True, all_pairs=True))
    write(scored, path, "kto(margin=0.3)")
    assert lines(path) == list(kto_rows(scored, Evidence(margin=0.3)))


def test_known_preferences_need_no_scores_and_ties_say_nothing(tmp_path):
    better, worse = answer("a", 0.1).response, answer("b", 0.9).response
    with pytest.warns(UserWarning, match="left out: 1 preferences that are ties"):
        count = write([Preference(better, worse), Preference(better, worse, tie=True)], tmp_path / "out.jsonl", "dpo")
    assert count == 1
    assert lines(tmp_path / "out.jsonl") == [{"prompt": "Why?", "chosen": "a 0.", "rejected": "b 0."}]


def test_relative_scores_make_pairs_by_their_lead_alone():
    """All of them lie above one half here: by a threshold none is bad, by their lead the order is clear."""
    scored = [dataclasses.replace(answer(name, score), relative=True) for name, score in (("a", 0.9), ("b", 0.6))]
    reasons = Counter()
    (pair,) = dpo_pairs(scored, left_out=reasons)
    assert (pair["chosen"], pair["rejected"]) == (scored[0].response.text, scored[1].response.text)
    assert not reasons
    assert list(dpo_pairs(scored, Evidence(margin=0.2), left_out=reasons)) == []
    assert sum(reasons.values()) == 2
    assert list(dpo_pairs([scored[0], scored[0]], Evidence(margin=0.0))) == []  # no lead is none
    assert list(dpo_pairs([dataclasses.replace(one, relative=False) for one in scored])) == []


@pytest.mark.parametrize("name", [*ARRAYS, "dpo", "kto"])
def test_what_has_no_scores_is_refused(tmp_path, name):
    with pytest.raises(BadData, match="score it first"):
        write([answer("a", 0.5).response], tmp_path / "out", name)
    assert list(tmp_path.iterdir()) == []
    assert WRITERS.summary(name)


@pytest.mark.parametrize("chat", [False, True])
def test_datasets_loads_preferences(tmp_path, chat):
    datasets = pytest.importorskip("datasets", reason="the extra 'data' brings datasets")
    scored = [answer(f"{side}{number}", score, query=f"Why {number}?") for number in range(3) for side, score in
              (("a", 0.9), ("b", 0.1))]  # fmt: skip
    loaded = []
    for name in ("dpo", "kto"):
        write(scored, tmp_path / f"{name}.jsonl", f"{name}(chat={chat})")
        loaded.append(datasets.Dataset.from_json(str(tmp_path / f"{name}.jsonl"), cache_dir=str(tmp_path)))
    pairs, singles = loaded
    assert pairs.column_names[:3] == ["prompt", "chosen", "rejected"]
    assert len(pairs) == 3
    assert singles["label"] == [True, False] * 3


@pytest.mark.parametrize("chat", [False, True])
def test_trl_takes_preferences_for_what_they_are(chat):
    data_utils = pytest.importorskip("trl.data_utils", reason="trl is not installed")
    scored = [answer("a", 0.9), answer("b", 0.1)]
    pair, single = next(dpo_pairs(scored, chat=chat)), next(kto_rows(scored, chat=chat))
    assert data_utils.is_conversational(pair) == data_utils.is_conversational(single) == chat
    turned = data_utils.unpair_preference_dataset(pytest.importorskip("datasets").Dataset.from_list([pair]))
    assert [row["label"] for row in turned] == [True, False]
    assert turned[0]["completion"] == single["completion"]
