"""Scores are the same bits alone and in any company, and a scorer the same whatever the order of its records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fractal import AspectScorer, SentenceScorer, make_responses  # noqa: E402
from fractal.encoders import ENCODERS  # noqa: E402
from fractal.mil.aggregations import AGGREGATIONS  # noqa: E402
from fractal.mil.aggregations.preferences import labels_given  # noqa: E402
from fractal.mil.inference.products import tiled_product  # noqa: E402
from fractal.mil.training.plan import TrainingPlan  # noqa: E402
from fractal.records import Preference, Response, ScoredResponse  # noqa: E402
from fractal.scorers.base import Scorer  # noqa: E402
from fractal.scorers.output import steady_runs  # noqa: E402
from fractal.scorers.runtime import RuntimeScorer, load_runtime  # noqa: E402

PLAN = TrainingPlan(epochs=2, members=5, folds=3, hidden=(16,))


def small(**options: object) -> SentenceScorer:
    return SentenceScorer(**{"encoder": "hashing(dim=64)", "cache": False, "plan": PLAN, **options})


def rated(count: int, seed: int, **changes: object) -> list[Response]:
    responses = make_responses(count, task="summaries", seed=seed)
    return [replace(r.without_labels(), label=r.label, **changes) for r in responses]


def with_aspects(responses: list[Response]) -> list[Response]:
    return [
        replace(r, label=None, aspects={"good": r.label or 0.0, "long": float(len(r.text) > 400)}) for r in responses
    ]


def pairs(count: int) -> list[Preference]:
    responses = rated(2 * count, 3)
    return [
        Preference(
            replace(a, label=None), replace(b, label=None, query=a.query, context=a.context), tie=a.label == b.label
        )
        for a, b in zip(responses[::2], responses[1::2], strict=True)
    ]


def numbers(scored: ScoredResponse) -> tuple[object, ...]:
    return scored.response.id, scored.aspect, scored.sentence_scores, scored.response_score, scored.sentence_spread


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


SCORERS = {
    "rules": lambda: small(aggregation="product").fit(rated(60, 1)),
    "mean": lambda: small(aggregation="mean").fit(rated(60, 1)),
    "the paper's columns": lambda: small(aggregation="min", recipe="paper").fit(rated(60, 1)),
    "pairs": lambda: small(aggregation="mean").fit(pairs(40)),
    "aspects": lambda: AspectScorer({"good": "product", "long": "mean"}, small()).fit(with_aspects(rated(60, 1))),
}


@pytest.fixture(scope="module", params=list(SCORERS))
def scorer(request: pytest.FixtureRequest) -> Scorer:
    fitted: Scorer = SCORERS[request.param]()
    return fitted


@pytest.fixture(scope="module")
def runtime(scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> RuntimeScorer:
    return load_runtime(scorer.save_pretrained(tmp_path_factory.mktemp("company") / "scorer"))


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_scores_are_the_same_bits_alone_and_in_any_company(kind: str, scorer: Scorer, runtime: RuntimeScorer) -> None:
    scorer = scorer if kind == "torch" else runtime
    responses = rated(70, 9)
    with threads(1):
        whole = list(map(numbers, scorer.score_responses(responses)))
    with threads(2):
        assert list(map(numbers, scorer.score_responses(responses))) == whole
        alone = [numbers(scored) for r in responses[:20] for scored in scorer.score_responses([r])]
    assert alone == whole[: len(alone)]
    each = len(whole) // len(responses)
    draw = np.random.default_rng(0)
    for size in (2, 3, 17, 64, 69):
        chosen = draw.permutation(len(responses))[:size].tolist()
        some = list(map(numbers, scorer.score_responses([responses[i] for i in chosen])))
        assert some == [whole[each * i + k] for i in chosen for k in range(each)]


@pytest.mark.parametrize("name", [*AGGREGATIONS.names(), "first_error(recovery=0.3)"])
def test_every_aggregation_gives_the_same_bits_in_any_company(name: str) -> None:
    aggregation = AGGREGATIONS.build(name)
    draw = torch.Generator().manual_seed(0)
    sizes = np.random.default_rng(0).integers(1, 12, 150)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    shape = (int(offsets[-1]), aggregation.thresholds, 5) if aggregation.thresholds > 1 else (int(offsets[-1]), 5)
    logits = 3 * torch.randn(shape, generator=draw)

    def scores(first: int, last: int) -> list[tuple[list[float], list[float]]]:
        part = logits[int(offsets[first]) : int(offsets[last])]
        out = []
        for run in steady_runs(part, offsets[first : last + 1] - offsets[first]):
            bags = aggregation.from_logits(run.logits, run.offsets).sigmoid()
            sentences = aggregation.sentence_scores(run.logits).std(-1, correction=0)
            for number in range(run.bags.stop - run.bags.start):
                rows = slice(int(run.offsets[number]), int(run.offsets[number + 1]))
                out.append((bags[number].tolist(), sentences[rows].tolist()))
        return out

    whole = scores(0, len(sizes))
    for first, last in ((0, 1), (5, 6), (3, 20), (100, 150), (1, 149)):
        assert scores(first, last) == whole[first:last]


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("name", [*AGGREGATIONS.names(), "first_error(recovery=0.3)"])
def test_labels_given_a_response_are_the_same_bits_in_any_company(name: str, soft: bool) -> None:
    """A response's posteriors do not depend on how long its neighbours are, nor on what is known of them."""
    aggregation = AGGREGATIONS.build(name)
    draw, generator = np.random.default_rng(1), torch.Generator().manual_seed(1)
    sizes = np.concatenate([draw.integers(1, 12, 100), draw.integers(1, 90, 40)])
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    count, levels = int(offsets[-1]), aggregation.thresholds
    logits = 3 * torch.randn((count, levels, 1) if levels > 1 else (count, 1), generator=generator)
    labels = torch.from_numpy(draw.integers(0, levels + 1, len(sizes)).astype(np.float32) / levels)
    labels[::7] = torch.nan
    labels[3::5] = torch.rand(len(labels[3::5]), generator=generator) if levels == 1 else labels[3::5]
    truths = torch.where(torch.rand(count, generator=generator) < 0.1, 1.0, torch.nan)

    def given(first: int, last: int) -> list[list[float]]:
        rows = slice(int(offsets[first]), int(offsets[last]))
        out = []
        for run in steady_runs(logits[rows], offsets[first : last + 1] - offsets[first]):
            known = torch.full((len(run.offsets) - 1,), torch.nan)
            here = labels[first:last][run.bags]
            known[: len(here)] = here
            of_sentences = torch.full((len(run.logits),), torch.nan)
            at = int(offsets[first + run.bags.start])
            size = int(offsets[first + run.bags.stop]) - at
            of_sentences[:size] = truths[at : at + size]
            scores = aggregation.probabilities(run.logits)
            values, _ = labels_given(aggregation, scores, run.offsets, known, None, of_sentences, soft=soft)
            out += [values[int(run.offsets[n]) : int(run.offsets[n + 1])].tolist() for n in range(len(here))]
        return out

    whole = given(0, len(sizes))
    alone = [(number, number + 1) for number in (0, 5, *range(90, 130))]
    for first, last in ((3, 20), (100, 140), (1, 139), *alone):
        assert given(first, last) == whole[first:last]


@pytest.mark.parametrize("threads_at_once", [1, 2])
def test_disaggregated_labels_are_the_same_bits_alone_and_in_company(scorer: Scorer, threads_at_once: int) -> None:
    responses = rated(60, 9)
    if isinstance(scorer, AspectScorer):
        responses = with_aspects(responses)

    def labelled(some: list[Response]) -> list[tuple[object, ...]]:
        return [(one.response.id, one.aspect, one.sentence_scores) for one in scorer.disaggregate(some)]

    with threads(threads_at_once):
        whole = labelled(responses)
        each = len(whole) // len(responses)
        for first, last in ((0, 1), (1, 2), (7, 8), (20, 21), (3, 30), (59, 60)):
            assert labelled(responses[first:last]) == whole[each * first : each * last]


@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 300])
def test_a_row_of_a_tiled_product_does_not_depend_on_the_others(rows: int) -> None:
    draw = np.random.default_rng(rows)
    values, matrix = draw.standard_normal((rows, 77)).astype(np.float32), draw.standard_normal((77, 33)).astype("f4")
    product = tiled_product(values, matrix, 64)
    np.testing.assert_allclose(product, values @ matrix, rtol=1e-4, atol=1e-4)
    for row in range(0, rows, 7):
        assert (tiled_product(values[row : row + 1], matrix, 64)[0] == product[row]).all()


@pytest.mark.parametrize("kind", ["rules", "pairs", "aspects"])
def test_shuffled_records_teach_the_same_scorer(kind: str) -> None:
    records = {"rules": rated(60, 1), "pairs": pairs(40), "aspects": with_aspects(rated(60, 1))}[kind]
    make = {
        "rules": lambda: small(),
        "pairs": lambda: small(aggregation="mean"),
        "aspects": lambda: AspectScorer({"good": "product", "long": "mean"}, small()),
    }[kind]
    shuffled = [records[i] for i in np.random.default_rng(5).permutation(len(records))]
    one, other = make().fit(records), make().fit(shuffled)
    responses = rated(15, 9)
    assert list(map(numbers, other.score_responses(responses))) == list(map(numbers, one.score_responses(responses)))
    assert one._saved().config == other._saved().config


def test_ids_that_count_places_do_not_matter() -> None:
    records = rated(50, 2)
    named = [replace(r, id=f"line {number}") for number, r in enumerate(reversed(records))]
    one, other = small(aggregation="product").fit(records), small(aggregation="product").fit(named)
    responses = rated(10, 9)
    assert list(map(numbers, other.score_responses(responses))) == list(map(numbers, one.score_responses(responses)))


def test_minilm_gives_a_text_the_same_bits_in_any_company() -> None:
    encoder = ENCODERS.build("minilm(device='cpu', dtype='float32')")
    texts = ["", *(s.text for r in rated(4, 5) for s in r.sentences)][:14]
    texts += [" ".join(texts)[:700], "cat " * 300]
    with threads(1):
        whole = encoder.encode_tokens(texts)
    with threads(2):
        for number in (0, 1, 5, len(texts) - 2, len(texts) - 1):
            alone = encoder.encode_tokens([texts[number]])
            first, last = whole.offsets[number : number + 2]
            assert (alone.vectors == whole.vectors[first:last]).all()
            assert (alone.pooled[0] == whole.pooled[number]).all()
            assert (encoder.encode([texts[number]])[0] == whole.pooled[number]).all()
    assert (encoder.encode(texts[::-1])[::-1] == whole.pooled).all()
