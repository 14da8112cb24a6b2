"""The other baselines: exact beliefs on trees, real models loaded, and better than chance where they should be."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fractal.datasets.synthetic import make_responses
from fractal.errors import BadData, BadSpec, UnknownName
from fractal.evaluation.metrics import METRICS
from fractal.records import Response, Sentence
from fractal.scorers.baselines import BASELINES, LearnedBaseline, belief_propagation
from fractal.scorers.baselines.gibbs import (
    Graph,
    Potentials,
    count_messages,
    label_potentials,
    marginals,
    nearest_neighbours,
)
from fractal.scorers.baselines.implicit_reward import sentence_log_ratios
from fractal.scorers.baselines.networks import per_bag
from support.baseline_models import causal_model, cross_encoder


def enumerated(field: Tensor, potentials: Potentials, graph: Graph) -> list[float]:
    """P(sentence = 1) by adding up all assignments, in plain Python."""
    total, good = 0.0, [0.0] * len(field)
    for labels in itertools.product((0, 1), repeat=len(field)):
        energy = sum(float(f) * y for f, y in zip(field, labels, strict=True))
        for i, j, coupling in zip(graph.first, graph.second, graph.coupling, strict=True):
            energy += float(coupling) * (labels[i] == labels[j])
        for rows, suits in potentials:
            for bag, suit in zip(rows, suits, strict=True):
                energy += float(suit[sum(labels[i] for i in bag)])
        weight = float(np.exp(energy))
        total += weight
        good = [g + weight * y for g, y in zip(good, labels, strict=True)]
    return [g / total for g in good]


OFFSETS = torch.tensor([0, 3, 5, 9, 10])
# edges between responses make a tree: 0–1, 1–2, 2–3
TREE = Graph(torch.tensor([1, 4, 6]), torch.tensor([3, 8, 9]), torch.tensor([1.5, 0.7, 2.0]))


@pytest.mark.parametrize("direction", ["min", "max", "mean"])
@pytest.mark.parametrize("damping", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_beliefs_are_exact_on_trees(direction: str, damping: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    field = torch.randn(10, generator=generator)
    labels = torch.tensor([1.0, 0.0, 0.25, torch.nan])
    potentials = label_potentials(direction, OFFSETS, labels)
    found = marginals(field, potentials, TREE, damping=damping, rounds=200, close=1e-7).sigmoid()
    assert found.tolist() == pytest.approx(enumerated(field, potentials, TREE), abs=2e-4)


def test_count_messages_equal_enumeration_for_any_potential() -> None:
    generator = torch.Generator().manual_seed(4)
    cavity, suits = torch.randn(3, 5, generator=generator), torch.randn(3, 6, generator=generator)
    found = count_messages(cavity, suits)
    none = Graph(torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long), torch.empty(0))
    rows = torch.arange(15).view(3, 5)
    beliefs = (cavity + found).sigmoid().flatten().tolist()
    for bag in range(3):
        exact = enumerated(cavity[bag], [(rows[:1], suits[bag : bag + 1])], none)
        assert beliefs[5 * bag : 5 * bag + 5] == pytest.approx(exact, abs=1e-5)


def test_count_messages_stay_finite_where_labels_are_impossible() -> None:
    cavity = torch.full((1, 40), -30.0)
    suits = label_potentials("mean", torch.tensor([0, 40]), torch.tensor([1.0]))[0][1]
    assert bool(count_messages(cavity, suits).isfinite().all())


def test_neighbours_are_the_most_similar_and_joined_once() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    graph = nearest_neighbours(vectors, 3)
    cosines = vectors @ vectors.T - 2 * torch.eye(30)
    wanted = {tuple(sorted((i, int(j)))) for i in range(30) for j in cosines[i].topk(3).indices}
    assert set(zip(graph.first.tolist(), graph.second.tolist(), strict=True)) == wanted
    assert len(graph.first) == len(wanted)
    assert graph.coupling.tolist() == pytest.approx(cosines[graph.first, graph.second].clamp(min=0).tolist(), abs=1e-6)


def test_one_sentence_has_no_neighbours() -> None:
    assert len(nearest_neighbours(torch.ones(1, 4), 10).first) == 0


def test_mean_over_known_sentences_of_each_response() -> None:
    found = per_bag(torch.tensor([1.0, torch.nan, 3.0, torch.nan]), torch.tensor([0, 3, 4]))
    assert found[0] == 2.0
    assert bool(found[1].isnan())


def sentence_auc(baseline: LearnedBaseline, test: list[Response]) -> float:
    scored = baseline.score_responses(test)
    truth = [label for response in test for label in response.sentence_labels]
    return METRICS.build("roc_auc")(truth, [score for one in scored for score in one.sentence_scores])


@pytest.mark.parametrize("name", ["attention", "belief_propagation", "curriculum", "dllp", "noisy_copy", "prototypes"])
def test_learns_sentences_from_response_labels(name: str) -> None:
    train, test = make_responses(300, seed=1, difficulty=0.0), make_responses(80, seed=2, difficulty=0.0)
    made = BASELINES[name](aggregation="product", encoder="hashing(dim=32)", cache=False)
    assert sentence_auc(made.fit(train), test) > 0.7


def test_refinements_go_on_while_held_out_labels_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later graphs are those of the network's hidden layer; beliefs are never told the labels that stop the rounds."""
    graphs, told = [], []

    def graph(vectors: Tensor, count: int, strength: float) -> Graph:
        graphs.append(vectors)
        return nearest_neighbours(vectors, count, strength)

    def potentials(direction: str, offsets: Tensor, labels: Tensor, strength: float) -> Potentials:
        told.append(labels)
        return label_potentials(direction, offsets, labels, strength)

    monkeypatch.setattr(belief_propagation, "nearest_neighbours", graph)
    monkeypatch.setattr(belief_propagation, "label_potentials", potentials)
    train, test = make_responses(300, seed=1, difficulty=0.0), make_responses(80, seed=2, difficulty=0.0)
    options = {"aggregation": "product", "encoder": "hashing(dim=32)", "cache": False}
    refined = BASELINES["belief_propagation"](refinements=4, **options).fit(train)
    costs = refined.held_out_costs
    assert 2 <= len(costs) <= 6
    assert list(costs[1:]) == sorted(costs[1:], reverse=True)
    assert [vectors.shape[1] for vectors in graphs[1:]] == [refined.hidden] * (len(graphs) - 1)
    assert len(graphs) == min(len(costs), 5)  # the first, one a refinement, and the last that gained nothing
    assert 0.1 < float(told[0].isnan().float().mean()) < 0.3
    assert sentence_auc(refined, test) > 0.7
    plain = BASELINES["belief_propagation"](**options).fit(train)
    assert not bool(told[1].isnan().any())
    assert len(plain.held_out_costs) == 2
    with pytest.raises(BadSpec, match="refinements=-1"):
        BASELINES["belief_propagation"](refinements=-1)


def test_aggregation_is_chosen_by_labels() -> None:
    bare = [dataclasses.replace(r, extra={}) for r in make_responses(200, "retrieval", seed=3, difficulty=0.0)]
    made = BASELINES["dllp"](encoder="hashing(dim=32)", cache=False)
    assert made.fit(bare).form.direction == "max"


RATED = [
    Response.from_sentences(
        f"r{i}",
        ["A cat sat there.", "Dogs bark loudly." if i % 2 else "Birds sing."],
        query="What did they do?",
        context=("A cat sat there. It was old.", "Dogs bark."),
        label=float(i % 2),
    )
    for i in range(40)
]
TEXTS = [RATED[0].text, RATED[1].text, *RATED[0].context, RATED[0].query]


@pytest.mark.parametrize("over_tokens", ["mean", "sum"])
def test_log_ratios_follow_the_definition(tmp_path: Path, over_tokens: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    names = [causal_model(tmp_path / str(seed), TEXTS, seed) for seed in (1, 2)]
    found = sentence_log_ratios(RATED[:1], *names, over_tokens)
    prompt = "\n".join((*RATED[0].context, RATED[0].query)) + "\n"
    means = []
    for name in names:
        tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModelForCausalLM.from_pretrained(name).eval()
        words = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        parts = [tokenizer(s.text, add_special_tokens=False)["input_ids"] for s in RATED[0].sentences]
        own = []
        for part in parts:
            logs = []
            for token in part:  # one token after the other
                with torch.inference_mode():
                    logs.append(float(model(torch.tensor([words])).logits[0, -1].double().log_softmax(-1)[token]))
                words = [*words, token]
            own.append(sum(logs) / (len(logs) if over_tokens == "mean" else 1))
        means.append(own)
    assert found.tolist() == pytest.approx((np.array(means[0]) - np.array(means[1])).tolist(), abs=1e-5)


def test_a_long_prompt_loses_its_beginning_only(tmp_path: Path) -> None:
    names = [causal_model(tmp_path / str(seed), TEXTS, seed) for seed in (1, 2)]
    long = dataclasses.replace(RATED[0], context=("cat " * 300,))
    assert np.isfinite(sentence_log_ratios([long], *names)).all()


def test_implicit_rewards_learn_from_models_and_from_columns(tmp_path: Path) -> None:
    names = [causal_model(tmp_path / str(seed), TEXTS, seed) for seed in (1, 2)]
    options = {"encoder": "hashing(dim=32)", "cache": False, "aggregation": "product"}
    by_models = BASELINES["implicit_reward"](policy=names[0], reference=names[1], **options).fit(RATED)
    ratios = [sentence_log_ratios([response], *names) for response in RATED]
    supplied = [
        dataclasses.replace(
            r,
            columns={
                "policy_log_probability": tuple(ratio.tolist()),
                "reference_log_probability": (0.0,) * len(ratio),
            },
        )
        for r, ratio in zip(RATED, ratios, strict=True)
    ]
    by_columns = BASELINES["implicit_reward"](**options).fit(supplied)
    for one, other in zip(by_models.score_responses(RATED), by_columns.score_responses(supplied), strict=True):
        assert one.sentence_scores == pytest.approx(other.sentence_scores, abs=1e-6)
    with pytest.raises(BadData, match="log_ratio"):
        BASELINES["implicit_reward"](**options).fit(RATED)


def test_implicit_rewards_may_add_up_the_tokens(tmp_path: Path) -> None:
    """Summed ratios add up to that of the whole text, however it is cut; what is supplied stays as it is."""
    names = [causal_model(tmp_path / str(seed), TEXTS, seed) for seed in (1, 2)]
    whole = dataclasses.replace(RATED[0], sentences=(Sentence(RATED[0].text, 0, len(RATED[0].text)),))
    parts, together = (sentence_log_ratios([response], *names, "sum") for response in (RATED[0], whole))
    assert parts.sum() == pytest.approx(together.sum(), abs=1e-6)
    options = {"encoder": "hashing(dim=32)", "cache": False, "aggregation": "product"}
    means, sums = (
        BASELINES["implicit_reward"](policy=names[0], reference=names[1], over_tokens=how, **options).fit(RATED)
        for how in ("mean", "sum")
    )
    assert means.score_responses(RATED)[0].sentence_scores != sums.score_responses(RATED)[0].sentence_scores
    with pytest.raises(UnknownName, match="middle"):
        BASELINES["implicit_reward"](over_tokens="middle", **options)


def test_entailment_takes_the_best_chunk(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    name = cross_encoder(tmp_path / "nli", TEXTS, ("contradiction", "entailment", "neutral"))
    made = BASELINES["nli"](model=name, aggregation="product", encoder="hashing(dim=32)", cache=False).fit(RATED)
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForSequenceClassification.from_pretrained(name).eval()
    sentence = RATED[0].sentences[0].text
    chances = []
    for chunk in RATED[0].context:
        with torch.inference_mode():
            logits = model(**tokenizer(chunk, sentence, return_tensors="pt")).logits
        chances.append(float(logits.softmax(-1)[0, 1]))
    assert made.score_responses(RATED[:1])[0].sentence_scores[0] == pytest.approx(max(chances), abs=1e-5)
    nothing = dataclasses.replace(RATED[0], context=(), query="")
    assert made.score_responses([nothing])[0].sentence_scores == (0.5, 0.5)


def test_a_classifier_without_entailment_is_refused(tmp_path: Path) -> None:
    name = cross_encoder(tmp_path / "other", TEXTS, ("good", "bad", "ugly"))
    made = BASELINES["nli"](model=name, aggregation="product", encoder="hashing(dim=32)", cache=False).fit(RATED)
    with pytest.raises(BadSpec, match="entailment"):
        made.score_responses(RATED[:1])
