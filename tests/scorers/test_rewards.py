"""Rewards from sentence scores: plain texts and chats, and every form against hand-made scores."""

import dataclasses
import math
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.errors import BadData, BadSpec, UnknownName
from fractal.records import Response, ScoredResponse
from fractal.scorers.rewards import SpanReward, sentence_reward, token_rewards
from support.trainers import first_log


class WordScorer:
    """Scores a sentence 0.2 where it says 'wrong', else 0.9; keeps what it was asked."""

    splitter = "sentences"

    def __init__(self, spread: float = 0.1, rule: str = "min") -> None:
        self.spread, self.rule = spread, rule
        self.seen: list[Response] = []

    def score_responses(self, responses: Sequence[Response], /) -> list[ScoredResponse]:
        self.seen += responses
        return [self.scored(response) for response in responses]

    def scored(self, response: Response) -> ScoredResponse:
        scores = tuple(0.2 if "wrong" in sentence.text else 0.9 for sentence in response.sentences)
        return ScoredResponse(response, scores, math.prod(scores), (self.spread,) * len(scores), aggregation=self.rule)


class WordTokenizer:
    """Cuts before every word as byte-pair tokenizers do: the blank belongs to the word behind it."""

    def __call__(self, text: str, **options: bool) -> dict[str, list[tuple[int, int]]]:
        assert options == {"add_special_tokens": False, "return_offsets_mapping": True}
        return {"offset_mapping": [found.span() for found in re.finditer(r"\s*\w+|\s*[^\w\s]|\s+", text)]}


TEXT = "This is right. This is wrong."


def test_the_lowest_sentence_is_the_reward_unless_told_otherwise():
    assert sentence_reward(WordScorer())(["Ask"], [TEXT]) == [0.2]
    assert sentence_reward(WordScorer(), reduce="mean")(["Ask"], [TEXT]) == [pytest.approx(0.55)]
    assert sentence_reward(WordScorer(), reduce="implied")(["Ask"], [TEXT]) == [pytest.approx(0.18)]


def test_disagreement_between_heads_lowers_rewards():
    assert sentence_reward(WordScorer(), kappa=1.0)(["Ask"], [TEXT]) == [pytest.approx(0.1)]
    with pytest.raises(BadSpec, match="'max' or 'mean'"):
        sentence_reward(WordScorer(), kappa=1.0, reduce="implied")


@pytest.mark.parametrize(("rule", "reward"), [("min", 0.2), ("max", 0.9), ("mean", 0.55), ("", 0.18)])
def test_the_default_reward_follows_what_the_scores_were_learned_under(rule, reward):
    assert sentence_reward(WordScorer(rule=rule))(["Ask"], [TEXT]) == [pytest.approx(reward)]


def test_a_reward_that_cannot_serve_is_refused():
    with pytest.raises(BadSpec, match="learned under a max"):
        sentence_reward(WordScorer(rule="max"), reduce="min")(["Ask"], [TEXT])
    with pytest.raises(BadSpec, match="reduce='min', 'max' or 'mean'"):
        sentence_reward(WordScorer(rule=""), kappa=1.0)(["Ask"], [TEXT])
    for kappa in (-1.0, math.nan):
        with pytest.raises(BadSpec, match="kappa"):
            sentence_reward(WordScorer(), kappa=kappa)
        with pytest.raises(BadSpec, match="0 or more"):
            WordScorer().scored(Response.from_sentences("a", ["Fine."])).conservative(kappa)


class TwoAspects(WordScorer):
    """A record an aspect: 'sound' under a minimum, 'found' under a maximum with the scores turned."""

    scorers_ = ("sound", "found")

    def score_responses(self, responses: Sequence[Response], /) -> list[ScoredResponse]:
        records = []
        for response in responses:
            sound = dataclasses.replace(self.scored(response), aspect="sound")
            turned = tuple(1 - score for score in sound.sentence_scores)
            found = dataclasses.replace(sound, aspect="found", aggregation="max", sentence_scores=turned)
            records += [sound, found]
        return records


def test_rewards_of_several_aspects_are_combined_or_one_is_named():
    texts = [TEXT, "", "All is right."]
    assert sentence_reward(TwoAspects())(["Ask"] * 3, texts) == [
        pytest.approx(0.5), 0.0, pytest.approx(0.5)]  # fmt: skip
    assert sentence_reward(TwoAspects(), aspects="sound")(["Ask"] * 3, texts) == [0.2, 0.0, 0.9]
    assert sentence_reward(TwoAspects(), aspects="found")(["Ask"], [TEXT]) == [pytest.approx(0.8)]
    weighed = sentence_reward(TwoAspects(), aspects={"sound": 3, "found": 1})
    assert weighed(["Ask"], [TEXT]) == [pytest.approx(0.75 * 0.2 + 0.25 * 0.8)]
    (spans,) = sentence_reward(TwoAspects(), form="sentence", aspects={"sound": 3, "found": 1})(["Ask"], [TEXT])
    assert [span.reward for span in spans] == pytest.approx([0.75 * 0.9 + 0.25 * 0.1, 0.75 * 0.2 + 0.25 * 0.8])
    with pytest.raises(UnknownName, match="sound"):
        sentence_reward(TwoAspects(), aspects="sonud")
    for wrong in ({}, {"sound": 0.0}, {"sound": -1.0, "found": 2.0}):
        with pytest.raises(BadSpec, match="aspects="):
            sentence_reward(TwoAspects(), aspects=wrong)


def test_chats_and_plain_texts_earn_the_same():
    plain, chat = WordScorer(), WordScorer()
    parts = [{"type": "text", "text": TEXT}]
    assert sentence_reward(plain)(["Ask", "Ask"], [TEXT, TEXT]) == sentence_reward(chat)(
        [[{"role": "user", "content": "Ask"}]] * 2,
        [[{"role": "assistant", "content": TEXT}], [{"role": "assistant", "content": parts}]],
    )
    assert plain.seen == chat.seen


def test_only_the_assistant_of_a_longer_chat_is_scored():
    scorer = WordScorer()
    turns = [
        {"role": "assistant", "content": "I look it up."},
        {"role": "tool", "content": "wrong"},
        {"role": "assistant", "content": "It is so."},
    ]
    assert sentence_reward(scorer)(["Ask"], [turns]) == [0.9]
    assert scorer.seen[0].text == "I look it up.\n\nIt is so."


def test_a_context_column_reaches_the_scorer_and_others_are_let_by():
    scorer = WordScorer()
    sentence_reward(scorer)(
        prompts=["a", "b"], completions=[TEXT, TEXT], completion_ids=[[1], [2]], context=["One.", ["Two.", "Three."]]
    )
    assert [response.context for response in scorer.seen] == [("One.",), ("Two.", "Three.")]
    assert [response.query for response in scorer.seen] == ["a", "b"]


def test_silence_does_not_pay_and_does_not_shift_the_others():
    scorer = WordScorer()
    assert sentence_reward(scorer)(["a"] * 4, ["", "Fine.", "  \n", TEXT]) == [0.0, 0.9, 0.0, 0.2]
    assert sentence_reward(scorer, form="sentence")(["a"], [[]]) == [[]]
    assert sentence_reward(scorer)(["a"], [""]) == [0.0]


def test_sentence_rewards_say_where_they_stand():
    (spans,) = sentence_reward(WordScorer(), form="sentence", kappa=1.0)(["a"], [TEXT])
    assert [(TEXT[span.start : span.end], round(span.reward, 6)) for span in spans] == [
        ("This is right.", 0.8),
        ("This is wrong.", 0.1),
    ]


def test_tokens_carry_the_reward_of_their_sentence():
    reward = sentence_reward(WordScorer(), form="token", tokenizer=WordTokenizer())
    assert reward(["a"], [TEXT]) == [[0.9] * 4 + [0.2] * 4]
    last = sentence_reward(WordScorer(), form="token", tokenizer=WordTokenizer(), every_token=False)
    assert last(["a"], [TEXT]) == [[0, 0, 0, 0.9, 0, 0, 0, 0.2]]


@given(st.lists(st.text("ab .", min_size=1, max_size=6), min_size=1, max_size=6), st.integers(0, 4))
def test_tokens_agree_with_a_slow_search(pieces: list[str], gap: int):
    text, spans = "", []
    for number, piece in enumerate(pieces):
        text += " " * gap
        spans.append(SpanReward(len(text), len(text) + len(piece), float(number + 1)))
        text += piece
    for (start, end), reward in zip(
        WordTokenizer()(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"],
        token_rewards(text, spans, WordTokenizer()),
        strict=True,
    ):
        signs = [place for place in range(start, end) if not text[place].isspace()]
        inside = [span.reward for span in spans if signs and span.start <= signs[0] < span.end]
        assert reward == (inside[0] if inside else 0.0)


def test_real_offsets_line_up_with_a_real_tokenizer():
    tokenizers = pytest.importorskip("tokenizers", reason="the extra 'train' brings tokenizers")
    transformers = pytest.importorskip("transformers", reason="the extra 'train' brings transformers")
    raw = tokenizers.Tokenizer(tokenizers.models.BPE())
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    raw.train_from_iterator([TEXT], trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=raw)
    (rewards,) = sentence_reward(WordScorer(), form="token", tokenizer=fast)(["a"], [TEXT + " 🙂 wrong."])
    assert len(rewards) == len(fast(TEXT + " 🙂 wrong.", add_special_tokens=False)["input_ids"])
    inside = [reward for reward in rewards if reward]  # a token that is all blank earns nothing
    assert set(inside) == {0.9, 0.2}
    assert inside == sorted(inside, reverse=True)


def test_wrong_use_is_explained():
    with pytest.raises(UnknownName, match="Did you mean 'token'"):
        sentence_reward(WordScorer(), form="tokens")
    with pytest.raises(UnknownName, match="implied"):
        sentence_reward(WordScorer(), reduce="median")
    with pytest.raises(BadSpec, match="tokenizer"):
        sentence_reward(WordScorer(), form="token")
    with pytest.raises(BadData, match="2 prompts for 1 completions"):
        sentence_reward(WordScorer())(["a", "b"], [TEXT])


def test_the_reward_has_a_name_to_log_it_by():
    assert sentence_reward(WordScorer()).__name__ == "sentence_reward_response"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_real_trainer_learns_from_the_reward(tmp_path):
    scorer = WordScorer()
    row = {"prompt": "this is", "context": "it is right ."}
    log = first_log(sentence_reward(scorer, kappa=1.0), row, tmp_path)
    assert 0 <= log["rewards/sentence_reward_response/mean"] <= 0.8
    assert scorer.seen
    assert {(response.query, response.context) for response in scorer.seen} == {("this is", ("it is right .",))}
