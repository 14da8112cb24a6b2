"""Rewards lie on the very tokens that a model drew, whatever its tokenizer, and in the shapes that trainers take."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from fractal import SentenceScorer, TrainingPlan, make_responses
from fractal.errors import BadData, BadSpec
from fractal.records import Response, ScoredResponse
from fractal.scorers.dense_rewards import DenseRewards
from fractal.scorers.rewards import sentence_reward
from fractal.scorers.token_places import places_of_ids

CORPUS = [response.text for response in make_responses(60, task="summaries", seed=1)]
TEXTS = [
    "This is right. This is wrong.",
    "Ünïcödé naïveté costs 5€. 北京很大 and wrong 🙂🙂. Done.",
    "  Leading blanks.\n\nThen a line that is wrong!  ",
    "One",
]


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<end>", "<pad>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def metaspace() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0)], unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<unk>", "<end>", "<pad>"], unk_token="<unk>")
    tokenizer.train_from_iterator([*CORPUS, *TEXTS], trainer)
    return tokenizer


BYTES = byte_level()


class WordScorer:
    """Scores a sentence 0.25 where it says 'wrong', else 0.75; keeps what it was asked."""

    splitter = "sentences"

    def __init__(self) -> None:
        self.seen: list[Response] = []

    def score_responses(self, responses: Sequence[Response], /) -> list[ScoredResponse]:
        self.seen += responses
        scores = [tuple(0.25 if "wrong" in s.text else 0.75 for s in r.sentences) for r in responses]
        return [ScoredResponse(r, s, min(s), aggregation="min") for r, s in zip(responses, scores, strict=True)]


def decoded(ids: list[int]) -> str:
    return str(BYTES.decode(ids, skip_special_tokens=True))


def odd_ids(text: str, seed: int) -> list[int]:
    """Cut a text otherwise than the tokenizer would: piece by piece at random places."""
    draw, ids, start = random.Random(seed), [], 0
    while start < len(text):
        end = start + draw.randint(1, 6)
        ids += BYTES.encode(text[start:end]).ids
        start = end
    return ids


@pytest.mark.parametrize("text", TEXTS)
def test_places_are_the_offsets_where_the_tokens_are_the_tokenizers_own(text: str) -> None:
    encoding = BYTES.encode(text)
    assert places_of_ids(encoding.ids, text, BYTES) == encoding.offsets


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("text", [*TEXTS, *CORPUS[:5]])
def test_places_hold_the_bytes_of_each_drawn_token(text: str, seed: int) -> None:
    ids = odd_ids(text, seed)
    places = places_of_ids(ids, text, BYTES)
    assert len(places) == len(ids)
    assert (places[0][0], places[-1][1]) == (0, len(text))
    for number, (start, end) in enumerate(places):
        own = BYTES.decode([ids[number]])
        if "\ufffd" in own:  # a part of a sign has the place of the whole sign
            assert end > start
        else:
            assert text[start:end] == own


def test_special_tokens_take_no_place_and_earn_nothing() -> None:
    end, pad = BYTES.token_to_id("<end>"), BYTES.token_to_id("<pad>")
    ids = BYTES.encode(TEXTS[0]).ids
    places = places_of_ids([end, *ids, end, pad, pad], TEXTS[0], BYTES)
    assert places[1:-3] == BYTES.encode(TEXTS[0]).offsets
    assert all(start == stop for start, stop in (places[0], *places[-3:]))
    reward = sentence_reward(WordScorer(), form="token", tokenizer=BYTES)
    (values,) = reward(["Ask"], [TEXTS[0]], completion_ids=[[*ids, end, pad]])
    assert len(values) == len(ids) + 2
    assert values[-2:] == [0.0, 0.0]


def test_every_truncation_of_a_completion_is_aligned() -> None:
    text = TEXTS[1]
    ids = BYTES.encode(text).ids
    reward = sentence_reward(WordScorer(), form="token", tokenizer=BYTES)
    for count in range(1, len(ids) + 1):
        (values,) = reward(["Ask"], [decoded(ids[:count])], completion_ids=[ids[:count]])
        assert len(values) == count
    assert set(values) >= {0.75, 0.25}, "a blank between sentences earns nothing"


def test_a_tokenizer_with_blanks_as_signs_is_aligned() -> None:
    tokenizer = metaspace()
    for text in TEXTS[:2]:
        encoding = tokenizer.encode(text)
        whole = tokenizer.decode(encoding.ids)
        places = places_of_ids(encoding.ids, whole, tokenizer)
        assert len(places) == len(encoding.ids)
        assert "".join(whole[start:end] for start, end in places) == whole


def test_a_text_whose_blanks_were_cleaned_up_is_met_and_another_text_refused() -> None:
    ids = BYTES.encode("This is right . This is wrong .").ids
    places = places_of_ids(ids, TEXTS[0], BYTES)
    signs = "".join(TEXTS[0][start:end] for start, end in places)
    assert signs.replace(" ", "") == TEXTS[0].replace(" ", "")
    with pytest.raises(BadData, match="tokenizer of the model"):
        places_of_ids(ids, "Something else", BYTES)
    with pytest.raises(BadData, match="2 rows for 1 completions"):
        sentence_reward(WordScorer(), form="token", tokenizer=BYTES)(["A"], [TEXTS[0]], completion_ids=[ids, ids])


def test_the_last_token_of_a_sentence_carries_its_reward_where_every_token_is_off() -> None:
    encoding = BYTES.encode(TEXTS[0])
    reward = sentence_reward(WordScorer(), form="token", tokenizer=BYTES, every_token=False)
    (values,) = reward(["Ask"], [TEXTS[0]], completion_ids=[encoding.ids])
    carrying = {encoding.offsets[place][1]: value for place, value in enumerate(values) if value}
    assert carrying == {14: 0.75, 29: 0.25}


def batch_of(completions: list[str], **others: Any) -> Any:
    """A batch in the shape that verl's reward managers are called with: prompts padded left, responses right."""
    pad, prompt = BYTES.token_to_id("<pad>"), BYTES.encode("What is it?").ids
    rows = [BYTES.encode(text).ids for text in completions]
    width = max(map(len, rows)) + 2
    responses = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
    prompts = torch.tensor([[pad] * 3 + prompt] * len(rows))
    before = torch.tensor([[0] * 3 + [1] * len(prompt)] * len(rows))
    after = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    mask = torch.cat([before, after], 1)
    batch = {"prompts": prompts, "responses": responses, "attention_mask": mask}
    arrays = {name: np.array(values, dtype=object) for name, values in others.items()}
    return SimpleNamespace(batch=batch, non_tensor_batch=arrays)


def test_a_reward_manager_of_verl_gets_a_reward_a_token() -> None:
    scorer = WordScorer()
    rewards = DenseRewards(sentence_reward(scorer, form="token", tokenizer=BYTES))
    facts = [{"context": ["A passage."]}, {"context": []}]
    data = batch_of([TEXTS[0], "All is right."], extra_info=facts)
    tensor = rewards(data)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == data.batch["responses"].shape
    count = len(BYTES.encode(TEXTS[0]).ids)
    assert set(tensor[0, :count].tolist()) == {0.75, 0.25}
    assert not tensor[0, count:].any(), "padding earns nothing"
    assert [response.query for response in scorer.seen] == ["What is it?"] * 2
    assert scorer.seen[0].context == ("A passage.",)
    told = rewards(data, return_dict=True)
    assert isinstance(told, dict)
    torch.testing.assert_close(told["reward_tensor"], tensor)
    assert told["reward_extra_info"]["lowest_token_reward"] == [0.25, 0.75]
    with pytest.raises(BadSpec, match="form='token'"):
        DenseRewards(sentence_reward(scorer))


def test_a_batch_and_a_reward_manager_of_verl_itself_serve() -> None:
    protocol = pytest.importorskip("verl.protocol")
    abstract = pytest.importorskip("verl.workers.reward_manager.abstract")
    rewards = DenseRewards(sentence_reward(WordScorer(), form="token", tokenizer=BYTES))
    made = batch_of([TEXTS[0], "All is right."])
    data = protocol.DataProto.from_dict(tensors=made.batch, non_tensors=made.non_tensor_batch)

    class Manager(abstract.AbstractRewardManager):  # type: ignore[misc, name-defined]
        def __init__(self, tokenizer: Any, num_examine: int, compute_score: Any, **options: Any) -> None:
            self.rewards = rewards

        def __call__(self, data: Any, return_dict: bool = False) -> Any:
            return self.rewards(data, return_dict)

    torch.testing.assert_close(Manager(BYTES, 0, None)(data), rewards(made))


def test_completions_are_kept_in_no_cache(tmp_path: Any) -> None:
    plan = TrainingPlan(epochs=1, members=2, folds=2, hidden=(4,))
    scorer = SentenceScorer("product", "own", encoder="hashing", plan=plan, cache=tmp_path).fit(
        make_responses(40, seed=1)
    )
    slow = dataclasses.replace(scorer._encoder(), dim=256)
    object.__setattr__(slow, "quick", False)
    scorer.carry_encoder(slow)
    scorer.score_responses(make_responses(2, seed=3))
    before = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert before, "the scorer itself keeps what it scores"
    sentence_reward(scorer)(["Ask"] * 3, [f"{text} {n}." for n, text in enumerate(CORPUS[:3])], context=["A."] * 3)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) == before
    assert scorer.cache == tmp_path


def test_a_reward_follows_its_scorer_when_that_is_fitted_anew() -> None:
    plan = TrainingPlan(epochs=2, members=2, folds=2, hidden=(4,))
    scorer = SentenceScorer("product", "own", encoder="hashing(dim=32)", plan=plan)
    reward = sentence_reward(scorer.fit(make_responses(40, "summaries", seed=1)))
    asked = {"prompts": ["Ask"] * 3, "completions": CORPUS[:3], "context": ["A."] * 3}
    before = reward(**asked)
    scorer.fit(make_responses(40, "summaries", seed=5))
    assert reward(**asked) == sentence_reward(scorer)(**asked) != before
