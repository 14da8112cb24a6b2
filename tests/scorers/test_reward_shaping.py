"""Laws of shaped rewards: what a policy might try to earn more by, and what it must not gain from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal import SentenceScorer, TrainingPlan, make_responses
from fractal.errors import BadData, BadSpec, UnknownName
from fractal.records import Response, ScoredResponse
from fractal.scorers.reward_shaping import FORMS, TRANSFORMS, ShapedReward, WorstOfMembers
from support.trainers import first_log

TINY = 1e-9


class Reader:
    """Scores a sentence by the numbers that it consists of, one an aspect: 'S 30 90.' is 0.3 and 0.9."""

    splitter = "lines"

    def __init__(self, aspects: Sequence[str] = ("",), rule: str = "min", spread: float = 0.0) -> None:
        self.aspects, self.rule, self.spread = aspects, rule, spread

    def score_responses(self, responses: Sequence[Response], /) -> list[ScoredResponse]:
        return [self.scored(r, place) for r in responses for place in range(len(self.aspects))]

    def scored(self, response: Response, place: int) -> ScoredResponse:
        scores = tuple(int(sentence.text.split()[1 + place]) / 100 for sentence in response.sentences)
        spread = (self.spread,) * len(scores)
        return ScoredResponse(response, scores, 0.5, spread, aspect=self.aspects[place], aggregation=self.rule)


def text(*sentences: Sequence[int]) -> str:
    return "\n".join(" ".join(["S", *map(str, scores)]) for scores in sentences)


def one(scores: Sequence[int]) -> str:
    return text(*((score,) for score in scores))


LAWFUL = [(form, transform) for form in FORMS for transform in TRANSFORMS if (form, transform) != ("sum", "none")]
REWARDS = st.builds(
    lambda parts, reference, temperature, spread, kappa: ShapedReward(
        Reader(spread=spread), *parts, reference=reference, temperature=temperature, kappa=kappa
    ),
    st.sampled_from(LAWFUL),
    st.sampled_from([0.1, 0.5, 0.9]),
    st.sampled_from([0.01, 0.1, 1.0]),
    st.sampled_from([0.0, 0.2]),
    st.sampled_from([0.0, 1.0]),
)
SCORE = st.integers(0, 100)
SCORES = st.lists(SCORE, min_size=1, max_size=6)


def earn(reward: ShapedReward, *texts: str) -> list[float]:
    return reward(["ask"] * len(texts), list(texts))


@given(REWARDS, SCORE, st.integers(1, 5))
def test_a_longer_answer_of_equal_sentences_earns_no_more(reward, score, count):
    short, long = earn(reward, one([score] * count), one([score] * (count + 1)))
    assert long <= short + TINY


@given(REWARDS, SCORES, st.data())
def test_no_sentence_that_is_added_anywhere_raises_the_reward(reward, scores, data):
    added = data.draw(st.one_of(SCORE, st.sampled_from(scores)))  # new, or a good one said again
    place = data.draw(st.integers(0, len(scores)))
    before, after = earn(reward, one(scores), one([*scores[:place], added, *scores[place:]]))
    assert after <= before + TINY


@given(REWARDS, st.lists(st.integers(60, 100), min_size=1, max_size=6), st.integers(1, 30))
def test_a_bad_sentence_costs(reward, scores, bad):
    before, after = earn(reward, one(scores), one([*scores, bad]))
    # with spreads taken off, scores below the floor are all alike
    assert after < before


@given(REWARDS, SCORES, st.data())
def test_a_better_sentence_never_earns_less(reward, scores, data):
    place = data.draw(st.integers(0, len(scores) - 1))
    better = [*scores[:place], data.draw(st.integers(scores[place], 100)), *scores[place + 1 :]]
    before, after = earn(reward, one(scores), one(better))
    assert after >= before - TINY


@given(REWARDS, SCORES)
def test_sentences_share_what_the_response_earns(reward, scores):
    (spans,) = reward.spans(["ask"], [one(scores)])
    assert len(spans) == len(scores)
    assert sum(span.reward for span in spans) == pytest.approx(earn(reward, one(scores))[0])
    worst = min(range(len(scores)), key=lambda place: scores[place])
    if reward.transform != "none":
        assert spans[worst].reward == min(span.reward for span in spans)


@given(REWARDS, st.lists(SCORES, max_size=4))
def test_silence_never_earns_more_than_anything_said(reward, others):
    silent, *said = earn(reward, "", *map(one, others))
    assert all(silent <= other + TINY for other in said)
    assert silent <= earn(reward, one([0]))[0] + TINY


@given(st.lists(st.tuples(SCORE, SCORE), min_size=1, max_size=4), st.tuples(SCORE, SCORE))
def test_aspects_are_joined_by_a_logical_and(sentences, added):
    reward = ShapedReward(Reader(("sound", "kind")))
    before, after = earn(reward, text(*sentences), text(*sentences, added))
    assert after <= before + TINY
    alone = [ShapedReward(Reader(("sound", "kind")), aspects=name) for name in ("sound", "kind")]
    parts = [earn(part, text(*sentences))[0] for part in alone]
    assert before == pytest.approx(sum(parts) / 2)
    # a perfect aspect pays for nothing: the other's share stands
    assert before <= min(parts) / 2 + TINY


def test_log_sigmoid_pays_little_beyond_the_reference():
    reward = ShapedReward(Reader(), transform="log_sigmoid", reference=0.5)
    low, middle, high = (reward.utility(score) for score in (0.25, 0.5, 0.75))
    assert middle == pytest.approx(math.log(0.5))
    assert middle - low > high - middle
    strict = ShapedReward(Reader(), transform="log_sigmoid", reference=0.9)
    for score in (0.1, 0.5, 0.95):
        logit = math.log(score / (1 - score)) - math.log(9)
        assert strict.utility(score) == pytest.approx(-math.log1p(math.exp(-logit)))


@given(st.lists(st.tuples(st.sampled_from("ab"), SCORES, st.sampled_from([0.0, 1.0])), min_size=1, max_size=8))
def test_centred_rewards_have_no_mean_and_keep_their_order(rows):
    prompts, texts, outcomes = [row[0] for row in rows], [one(row[1]) for row in rows], [row[2] for row in rows]
    plain = ShapedReward(Reader())(prompts, texts)
    by_prompt = ShapedReward(Reader(), centre="prompt")(prompts, texts)
    for prompt in set(prompts):
        own = [place for place, other in enumerate(prompts) if other == prompt]
        assert math.fsum(by_prompt[place] for place in own) == pytest.approx(0, abs=1e-6)
    by_outcome = ShapedReward(Reader(), centre="outcome", outcome_weight=2.0)(prompts, texts, outcomes=outcomes)
    for place, (prompt, outcome) in enumerate(zip(prompts, outcomes, strict=True)):
        for other in range(len(rows)):
            if (prompts[other], outcomes[other]) == (prompt, outcome):
                same = by_outcome[place] - by_outcome[other] == pytest.approx(plain[place] - plain[other], abs=1e-9)
                assert same
    alone = ShapedReward(Reader(), centre="outcome")(["q"], [one([5])], outcomes=[1.0])
    assert alone == [1.0]


def test_what_breaks_a_law_is_refused_before_anything_is_scored():
    with pytest.raises(BadSpec, match="pays for every sentence"):
        ShapedReward(Reader(), form="sum", transform="none")
    with pytest.raises(BadSpec, match="leaves no spread"):
        ShapedReward(Reader(), members="worst", kappa=1.0)
    with pytest.raises(BadSpec, match="with its heads"):
        ShapedReward(Reader(), members="worst")
    for options in (
        {"reference": 1.0},
        {"temperature": 0.0},
        {"floor": 0.0},
        {"kappa": -1.0},
        {"outcome_weight": math.nan},
    ):
        with pytest.raises(BadSpec):
            ShapedReward(Reader(), **options)
    for name in ("form", "transform", "centre", "members"):
        with pytest.raises(UnknownName):
            ShapedReward(Reader(), **{name: "softmax"})
    with pytest.raises(BadSpec, match="any number of bad ones is free"):
        ShapedReward(Reader(rule="max"))(["ask"], [one([5])])
    with pytest.raises(BadData, match="outcomes"):
        ShapedReward(Reader(), centre="outcome")(["ask"], [one([5])])
    with pytest.raises(BadData, match="prompts"):
        ShapedReward(Reader(), centre="prompt")(None, [one([5])])


def test_the_worst_member_thinks_no_better_of_a_sentence_than_all_together():
    plan = TrainingPlan(epochs=4, members=3, folds=3)
    options = {"encoder": "hashing(dim=32)", "recipe": "own", "plan": plan, "cache": False}
    scorer = SentenceScorer(aggregation="product", **options).fit(make_responses(80, task="summaries", seed=1))
    new = make_responses(20, task="summaries", seed=2)
    for worst, mean in zip(WorstOfMembers(scorer).score_responses(new), scorer.score_responses(new), strict=True):
        assert all(
            low <= middle + TINY for low, middle in zip(worst.sentence_scores, mean.sentence_scores, strict=True)
        )
        assert max(mean.sentence_spread) > 0
        assert max(worst.sentence_spread) == 0
    texts, queries, contexts = ([r.text for r in new], [r.query for r in new], [r.context for r in new])
    plain, careful = (ShapedReward(scorer, members=members) for members in ("mean", "worst"))
    for low, middle in zip(
        careful(queries, texts, context=contexts), plain(queries, texts, context=contexts), strict=True
    ):
        assert low <= middle + TINY
    by_maximum = SentenceScorer(aggregation="noisy_or", **options).fit(make_responses(80, task="summaries", seed=1))
    with pytest.raises(BadSpec, match="learned under a maximum"):
        ShapedReward(by_maximum)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_real_trainer_learns_from_it(tmp_path):
    class WordScorer(Reader):
        splitter = "sentences"

        def scored(self, response: Response, place: int) -> ScoredResponse:
            scores = tuple(0.2 if "wrong" in sentence.text else 0.9 for sentence in response.sentences)
            return ScoredResponse(response, scores, min(scores), aggregation="min")

    reward = ShapedReward(WordScorer(), centre="outcome")
    log = first_log(reward, {"prompt": "this is", "outcomes": 1.0}, tmp_path)
    # one prompt, one outcome: centred, so the mean is the outcome itself
    assert log["rewards/shaped_reward_worst/mean"] == pytest.approx(1.0, abs=1e-5)
