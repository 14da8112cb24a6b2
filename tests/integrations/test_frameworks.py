"""The scorer inside other frameworks gives what it gives alone; each is tried with the real library where it is."""

from __future__ import annotations

import asyncio
import sys

import pytest

pytest.importorskip("torch")

from fractal.datasets.synthetic import make_responses
from fractal.errors import BadData, MissingExtra, UnknownName
from fractal.integrations.judgements import Answer, Judgement, judge
from fractal.integrations.langchain import langsmith_evaluator, scorer_runnable
from fractal.integrations.llama_index import llama_index_evaluator
from fractal.integrations.maps import score_batch
from fractal.integrations.ragas import ragas_metric
from fractal.mil.training.plan import TrainingPlan
from fractal.scorers.aspects import AspectScorer
from fractal.scorers.sentence import SentenceScorer

MADE = make_responses(60, "summaries", seed=3)


def small(**options) -> SentenceScorer:
    plan = TrainingPlan(epochs=3, members=2, folds=2)
    options = {"encoder": "hashing(dim=32)", "recipe": "own", "aggregation": "product", "plan": plan} | options
    return SentenceScorer(**options)


@pytest.fixture(scope="module")
def scorer() -> SentenceScorer:
    return small().fit(MADE[:50])


@pytest.fixture(scope="module")
def alone(scorer):
    """What the scorer itself says of a response that it has not seen."""
    return scorer.score_responses([MADE[50].without_labels()])[0]


@pytest.fixture(scope="module")
def answer() -> Answer:
    return Answer(MADE[50].text, MADE[50].query, MADE[50].context)


def test_a_text_is_scored_as_the_response_that_it_is(scorer, alone, answer):
    (judgement,) = judge(scorer, [answer])
    assert judgement.sentence_scores == pytest.approx(alone.sentence_scores)
    assert judgement.score == pytest.approx(alone.response_score)
    assert judgement.sentences == tuple(sentence.text for sentence in alone.response.sentences)


def test_a_context_is_a_text_texts_or_nothing(scorer):
    text = MADE[50].text
    (plain,), (listed,) = (judge(scorer, [Answer(text, contexts=some)]) for some in ("A passage.", ["A passage."]))
    assert plain == listed
    with pytest.raises(BadData, match="had a context"):
        judge(scorer, [Answer(text, contexts=None)])


def test_the_feedback_names_what_is_low_the_lowest_first():
    low = Judgement(0.4, ("A.", "B.", "C."), (0.3, 0.9, 0.1))
    assert low.feedback == "0.10  C.\n0.30  A."
    assert not low.passing
    assert Judgement(0.9, ("A.",), (0.9,)).feedback == "every one of 1 sentences reaches 0.5"


def test_what_the_scorer_needs_is_asked_for(scorer):
    with pytest.raises(BadData, match="had a context"):
        judge(scorer, [Answer("It rains.")])
    with pytest.raises(BadData, match="text 1"):
        judge(scorer, [Answer("  ", contexts=["x"])])


def test_of_several_aspects_one_is_chosen(answer):
    made = [r for r in make_responses(60, "summaries", seed=3)]
    import dataclasses

    rated = [dataclasses.replace(r, label=None, aspects={"sound": r.label, "short": 1 - r.label}) for r in made]
    scorer = AspectScorer({"sound": "product", "short": "product"}, small()).fit(rated)
    with pytest.raises(UnknownName, match="aspect"):
        judge(scorer, [answer])
    by_aspect = {one.aspect: one for one in scorer.score_responses([MADE[50].without_labels()])}
    (judgement,) = judge(scorer, [answer], aspect="short")
    assert judgement.score == pytest.approx(by_aspect["short"].response_score)


def test_datasets_map_adds_columns(scorer, alone):
    datasets = pytest.importorskip("datasets")
    rows = [{"answer": one.text, "docs": list(one.context), "topic": "x"} for one in MADE[50:]]
    mapped = datasets.Dataset.from_list(rows).map(
        score_batch(scorer, response="answer", context="docs"), batched=True, batch_size=4
    )
    assert mapped.num_rows == 10
    assert mapped[0]["sentence_scores"] == pytest.approx(alone.sentence_scores)
    assert mapped[0]["response_score"] == pytest.approx(alone.response_score)
    assert {"answer", "docs", "topic", "sentences"} <= set(mapped.column_names)
    with pytest.raises(BadData, match="'reply'"):
        score_batch(scorer, response="reply")({"answer": []})


def test_langsmith_calls_the_evaluator(scorer, alone, answer):
    evaluation = pytest.importorskip("langsmith.evaluation")
    import datetime
    import uuid

    from langsmith.schemas import Example, Run

    ids = {"id": uuid.uuid4(), "trace_id": uuid.uuid4()}
    outputs = {"output": answer.text, "context": list(answer.contexts)}
    now = datetime.datetime.now(datetime.UTC)
    run = Run(name="agent", run_type="chain", start_time=now, inputs={}, outputs=outputs, **ids)
    example = Example(id=uuid.uuid4(), inputs={"input": answer.query}, outputs={})
    result = evaluation.run_evaluator(langsmith_evaluator(scorer, threshold=1.0)).evaluate_run(run, example)
    assert (result.key, result.score) == ("fractal", pytest.approx(alone.response_score))
    assert len(result.comment.splitlines()) == len(alone.sentence_scores)


def test_the_langsmith_evaluator_is_a_plain_function(scorer, alone, answer):
    outputs = {"reply": answer.text, "docs": list(answer.contexts)}
    evaluate = langsmith_evaluator(scorer, output="reply", context="docs", key="quality")
    assert evaluate({}, outputs)["score"] == pytest.approx(alone.response_score)
    with pytest.raises(BadData, match="docs, reply"):
        langsmith_evaluator(scorer)({}, outputs)


def test_a_runnable_of_langchain(scorer, alone, answer):
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document

    runnable = scorer_runnable(scorer)
    documents = [Document(page_content=text) for text in answer.contexts]
    rows = runnable.batch([{"output": answer.text, "context": documents, "id": 7}] * 2)
    assert rows[1]["score"] == pytest.approx(alone.response_score)
    assert rows[0]["sentence_scores"] == pytest.approx(alone.sentence_scores)
    assert rows[0]["id"] == 7


def test_an_evaluator_of_llama_index(scorer, alone, answer):
    core = pytest.importorskip("llama_index.core.evaluation")
    evaluator = llama_index_evaluator(scorer)
    result = evaluator.evaluate(query=answer.query, response=answer.text, contexts=list(answer.contexts))
    assert isinstance(result, core.EvaluationResult)
    assert result.score == pytest.approx(alone.response_score)
    assert result.passing == (alone.response_score >= 0.5)
    runner = core.BatchEvalRunner({"sentences": evaluator}, workers=2)
    batch = asyncio.run(
        runner.aevaluate_response_strs(
            queries=[answer.query] * 2, response_strs=[answer.text] * 2, contexts_list=[list(answer.contexts)] * 2
        )
    )
    assert [one.score for one in batch["sentences"]] == pytest.approx([alone.response_score] * 2)


def test_a_metric_of_ragas(scorer, alone, answer, monkeypatch):
    monkeypatch.setenv("RAGAS_DO_NOT_TRACK", "true")
    ragas = pytest.importorskip("ragas")
    from ragas.dataset_schema import SingleTurnSample

    metric = ragas_metric(scorer)
    sample = SingleTurnSample(response=answer.text, retrieved_contexts=list(answer.contexts))
    assert asyncio.run(metric.single_turn_ascore(sample)) == pytest.approx(alone.response_score)
    rows = ragas.EvaluationDataset(samples=[sample, sample])
    table = ragas.evaluate(rows, metrics=[metric], show_progress=False)
    assert table["fractal"] == pytest.approx([alone.response_score] * 2)


@pytest.mark.parametrize(
    ("make", "package", "extra"),
    [
        (scorer_runnable, "langchain_core.runnables", "langchain"),
        (llama_index_evaluator, "llama_index.core.evaluation", "llama-index"),
        (ragas_metric, "ragas.metrics.base", "ragas"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(make, package, extra, scorer, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"fractal-scores\[{extra}\]"):
        make(scorer)
