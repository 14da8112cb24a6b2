"""The benchmark of training with scores: the exact check, the sampler, the states, and the whole way once, tiny."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.downstream import arms, pretraining, selection, tables, training
from benchmarks.downstream.arms import ARMS, BEST, OUTCOME, advantages, step_of_token
from benchmarks.downstream.chains import (
    ANSWER_WIDTH,
    CODES,
    END,
    LONGEST,
    PAD,
    Chain,
    answer_codes,
    draw,
    judge,
    parsed,
    text_of,
)
from benchmarks.downstream.policy import Policy, Size
from benchmarks.downstream.pretraining import Pretraining, pretrain, prompt_codes
from benchmarks.downstream.scoring import ExactSteps, OnPolicyStates, PolicyStates, responses_of, with_prefixes

TINY = Size(width=32, layers=2, heads=2)
CHAIN = Chain(47, (("+", 8), ("-", 3), ("*", 2)))


def test_the_right_solution_is_right_in_every_step() -> None:
    for chain in draw(50, np.random.default_rng(0), 1, LONGEST):
        judged = judge(chain, "\n".join(chain.steps))
        assert judged.right
        assert judged.steps == (True,) * len(chain.operations)
        assert parsed(chain.prompt) == chain
        assert text_of(answer_codes(chain)) == "\n".join(chain.steps)


@pytest.mark.parametrize(
    ("answer", "right", "steps"),
    [
        ("47+8=55\n55-3=52\n52*2=4", True, (True, True, True)),  # 104 is 4 modulo 100
        ("47+8=54\n54-3=51\n51*2=2", False, (False, True, True)),  # an error counts once
        ("47+8=5\n5-3=2\n2*2=4", True, (False, True, True)),  # right by luck: 2 and 52 double to the same
        ("47+8=55\n55-3=52", False, (True, True)),  # a step is missing
        ("47+8=55\n55-3=52\n52*2=4\n4+1=5", False, (True, True, True, False)),  # a step too many
        ("47+8=55\n55-4=51\n51*2=2", False, (True, False, True)),  # not what was asked
        ("47+8=55\n54-3=51\n51*2=2", False, (True, False, True)),  # does not go on from the step before
        ("47+8=55\n\n55-3=52\n52*2=", False, (True, True, False)),  # a blank line is no step, half a one is wrong
        ("", False, ()),
    ],
)
def test_answers_are_checked_exactly(answer: str, right: bool, steps: tuple[bool, ...]) -> None:
    judged = judge(CHAIN, answer)
    assert (judged.right, judged.steps) == (right, steps)


def test_sampling_with_a_cache_draws_what_whole_passes_foretell() -> None:
    """Greedy answers are the likeliest tokens under one pass over all, whatever the padding of the prompts."""
    torch.manual_seed(0)
    policy = Policy(TINY)
    chains = draw(6, np.random.default_rng(1), 1, LONGEST)
    prompts = prompt_codes(chains, "cpu")
    codes = policy.sample(prompts, None, most=12)
    together = torch.cat([prompts, codes], 1)
    logits = policy.logits(policy.states(together, prompts.shape[1]))[:, prompts.shape[1] - 1 : -1]
    logits[..., [PAD, CODES["<begin>"]]] = -torch.inf
    is_open = (codes != PAD).cpu()
    assert torch.equal(logits.argmax(-1)[is_open], codes[is_open])
    alone = policy.sample(prompt_codes(chains[2:3], "cpu"), None, most=12)
    assert text_of(alone[0].tolist()) == text_of(codes[2].tolist())


def test_drawn_tokens_follow_their_probabilities() -> None:
    torch.manual_seed(0)
    policy = Policy(TINY)
    with torch.no_grad():
        policy.tokens.weight.mul_(20)
    prompts = prompt_codes([CHAIN] * 4000, "cpu")
    drawn = policy.sample(prompts, torch.Generator().manual_seed(0), most=1)[:, 0]
    share = torch.bincount(drawn, minlength=len(CODES)) / len(drawn)
    logits = policy.logits(policy.states(prompts[:1], prompts.shape[1])[:, -1])
    logits[:, [PAD, CODES["<begin>"]]] = -torch.inf
    assert torch.allclose(share, logits.softmax(-1)[0], atol=0.03)


def test_the_state_after_a_step_reads_nothing_that_follows() -> None:
    torch.manual_seed(0)
    states = PolicyStates(Policy(TINY))
    short, long, other = "47+8\n47+8=55", "47+8\n47+8=55\n55-3=52", "9*2-4\n9*2=18"
    together, alone = states.encode([long, short, other, ""]), states.encode([short])
    assert np.allclose(together[1], alone[0], atol=1e-6)
    assert not np.allclose(together[0], together[1], atol=1e-3)
    assert np.allclose(np.linalg.norm(together, axis=1), 1)


def test_confidence_adds_up_to_the_probability_of_the_answer() -> None:
    torch.manual_seed(0)
    policy = Policy(TINY)
    answer = responses_of([CHAIN], ["\n".join(CHAIN.steps)])
    (response,) = with_prefixes(answer, PolicyStates(policy), confidence=True)
    codes = torch.tensor([answer_codes(CHAIN)])
    tokens = policy.log_probabilities(prompt_codes([CHAIN], "cpu"), codes)[0]
    of_steps = tokens[: 6 * 3].view(3, 6)[:, :5].sum(1)  # without the line break, which ends the step
    assert torch.allclose(torch.tensor(response.columns["log_step"]), of_steps, atol=1e-4)
    assert torch.allclose(torch.tensor(response.columns["log_result"]), tokens[[4, 10, 16]], atol=1e-4)
    assert min(response.columns["entropy"]) >= 0


def test_tokens_belong_to_the_step_that_they_end_in() -> None:
    codes = answer_codes(CHAIN)[:18]
    text = text_of(codes)
    ends = [text.index("\n"), text.rindex("\n"), len(text)]
    assert step_of_token(codes, ends).tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert step_of_token([END], []).tolist() == [0]


@pytest.mark.parametrize("form", ["sum", "soft_worst", "potential", "centred"])
def test_every_form_pays_the_better_answer_more(form: str) -> None:
    """Of two answers the one with a wrong step earns less, and within it the wrong step least where steps are paid."""
    answers = ["47+8=55\n55-3=52\n52*2=4", "47+8=55\n55-3=51\n51*2=2"] * 2
    rows = [[code for step in answer.split("\n") for code in (*_line(step), CODES["\n"])] for answer in answers]
    codes = np.array([[*row[:-1], END] for row in rows])
    paid = advantages(
        arms.Arm("tried", form, "exact"), ExactSteps(), [CHAIN.prompt] * 4, answers, codes, np.array([1.0, 0, 1, 0])
    )
    assert paid[0].sum() > 0 > paid[1].sum()
    assert np.allclose(paid.sum(0), 0, atol=1e-9)
    assert np.allclose(paid[0], paid[2])
    if form == "potential":
        assert paid[1, 6:12].max() < paid[1, :6].min()


def _line(step: str) -> list[int]:
    before, _, rest = step.partition("+" if "+" in step else "-" if "-" in step else "*")
    operand, _, result = rest.partition("=")
    return [int(before), CODES[step[len(before)]], int(operand), CODES["="], int(result)]


@pytest.fixture
def few_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few prompts that a tiny policy learns a part of them by heart in a second or two."""
    pool = draw(12, np.random.default_rng(3), 3, 4)

    def drawn(count: int, rng: np.random.Generator, *_: int) -> list[Chain]:
        return [pool[place] for place in rng.integers(0, len(pool), count).tolist()]

    for module in (pretraining, training, selection):
        monkeypatch.setattr(module, "draw", drawn)


def test_the_whole_way_runs_once(few_chains: None, tmp_path: Path) -> None:
    plan = Pretraining(
        size=TINY, chains=64, batch=32, steps=600, every=20, looked_at=64, wanted=0.4, learning_rate=1e-2
    )
    policy, looks = pretrain(plan)
    assert 0.3 < looks[-1]["right"] < 0.95
    rows = [{"part": "pretraining", "name": "", "seed": 0, "looks": looks, "weights": 1, "s": 1.0, "machine": "here"}]
    shape = training.Plan(
        updates=3, warmup=2, prompts=4, answers=4, epochs=2, every=3, looked_at=16, remembered=2, minibatches=2
    )
    for name in (OUTCOME, BEST, "centred by outcome", "potential + outcome (refitted)", "prefix value + outcome"):
        for seed in (0, 1) if name in (OUTCOME, BEST) else (0,):
            arm = dataclasses.replace(ARMS[name], every=min(ARMS[name].every, 2))
            run = training.Run(arm, policy, shape, seed)
            facts = {"looks": list(run.looks()), "plan": dataclasses.asdict(shape)}
            assert [look["update"] for look in facts["looks"]] == [0, 3, 6]
            assert isinstance(run.scorer, OnPolicyStates) == (name != OUTCOME)
            assert any((a != b).any() for a, b in zip(run.policy.parameters(), run.reference.parameters(), strict=True))
            rows.append({"part": "many", "name": name, "seed": seed, **facts, "cpu_s": 1.0, "machine": "here"})
    few = selection.Plan(prompts=8, answers=4, test_prompts=6, test_answers=4, epochs=2)
    for name in ("fractal", "log_step"):
        row = selection.measure(policy, few, selection.draw_answers(policy, few, 0), name, 0)
        assert 0 <= row["roc_auc"] <= 1
        assert row["picks"]["random of 4"] <= row["picks"]["oracle of 4"]
        rows += [
            {"part": "selection", "name": name, "seed": seed, **row, "s": 1.0, "machine": "here"} for seed in (0, 1)
        ]
    assert json.loads(json.dumps(rows)) == rows
    tables.write(rows, tmp_path / "downstream.md")
    page = (tmp_path / "downstream.md").read_text(encoding="utf-8")
    assert page.index("written down before the runs") < page.index("not met**" if "not met**" in page else "met**")
    assert "centred by outcome" in page
    assert (tmp_path / "downstream.png").stat().st_size > 10_000


def test_arms_of_one_seed_share_prompts_and_first_batches(few_chains: None) -> None:
    """Until the scorer is there, every arm is the same to the last bit."""
    torch.manual_seed(0)
    policy = Policy(TINY)
    shape = training.Plan(updates=1, warmup=2, prompts=3, answers=4, every=1, looked_at=8, minibatches=2)
    first, second = (training.Run(ARMS[name], policy, shape, 5) for name in (OUTCOME, "exact + outcome"))
    for run in (first, second):
        assert len(list(run.looks())) == 3
    pairs = zip(first.policy.parameters(), second.policy.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [some.texts for some in first.seen] == [some.texts for some in second.seen]
    assert first.seen[0].codes.shape[1] <= ANSWER_WIDTH


def test_half_an_interval_is_students() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = [0.1, 0.3, 0.25, 0.2, 0.4]
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert tables.half_width(values) == pytest.approx((high - low) / 2, rel=1e-3)
