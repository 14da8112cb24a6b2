"""The head equals a plain network, member by member, and starts exactly at the prior."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle

import pytest
import torch
import torch.nn.functional as F

from fractal.errors import BadData
from fractal.mil.bags import Bags, Shared
from fractal.mil.fused_mlp import DRAWS, Fetcher, Workspace
from fractal.mil.head import Head, HeadShape, pick_members

SCHEMAS = [
    HeadShape(columns=5, shared=shared, members=members, hidden=hidden, thresholds=thresholds)
    for shared, members, hidden, thresholds in itertools.product(
        [(), (4,), (4, 2)], [1, 3], [(), (6,), (6, 30)], [1, 3]
    )
]
NAMES = [f"{s.shared}-{s.members}-{s.hidden}-{s.thresholds}" for s in SCHEMAS]


def make_bags(shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    bag = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2])
    row_offsets = torch.tensor([0, 1, 3, 4])  # the middle bag has two rows, such as chunks of context
    index = torch.tensor([0, 0, 1, 2, 1, 3, 3, 3, 3])
    return Bags.make(
        torch.randn(9, shape.columns, generator=generator, dtype=dtype),
        torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(bag).cumsum(0)]),
        shared=tuple(
            Shared(torch.randn(4, width, generator=generator, dtype=dtype), row_offsets, index)
            for width in shape.shared
        ),
        initial_logits=torch.randn(9, generator=generator, dtype=dtype),
    )


def make_head(shape, seed=0):
    """A head in double precision whose every parameter is random, the silenced ones too."""
    generator = torch.Generator().manual_seed(seed)
    head = Head(shape, generator).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(generator=generator)
    return head


def plainly(head, bags):
    """The same function with the shared vectors beside the columns and members one by one."""
    states = {name: head._by_member(name, parameter) for name, parameter in head.named_parameters()}
    members = []
    wide = torch.cat([bags.features, *(shared.rows[shared.index] for shared in bags.shared)], 1)
    shared = [f"enter_shared.{i}" for i in range(len(head.shape.shared))]
    for m in range(head.shape.members):
        enter = torch.cat([states["enter"][m], *(states[name][m] for name in shared)], 0)
        hidden = wide @ enter + states["enter_bias"][m]
        for layer in range(len(head.weights)):
            hidden = F.gelu(hidden) @ states[f"weights.{layer}"][m] + states[f"biases.{layer}"][m]
        members.append(hidden + states["shift"][m] + bags.initial_logits[:, None] * states["scale"][m])
    logits = torch.stack(members, -1)  # (sentence, level − 1, member)
    return logits.squeeze(1) if head.shape.thresholds == 1 else logits


@pytest.mark.parametrize("shape", SCHEMAS, ids=NAMES)
def test_split_batched_layers_are_a_plain_network_forward_and_backward(shape):
    head, bags = make_head(shape), make_bags(shape)
    pull = torch.randn(plainly(head, bags).shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for _ in range(2):  # the second time in the memory of the first
        found, plain = head(bags), plainly(head, bags)
        torch.testing.assert_close(found, plain)
        head.zero_grad()
        (found * pull).sum().backward()
        slopes = {name: parameter.grad.clone() for name, parameter in head.named_parameters()}
        head.zero_grad()
        (plain * pull).sum().backward()
        for name, parameter in head.named_parameters():
            torch.testing.assert_close(slopes[name], parameter.grad, msg=name)


@pytest.mark.parametrize("shape", SCHEMAS, ids=NAMES)
def test_the_start_is_the_prior_exactly(shape):
    bags = make_bags(shape, dtype=torch.float32)
    logits = Head(shape, torch.Generator().manual_seed(3))(bags)
    assert torch.equal(logits, bags.initial_logits.view(-1, *(1,) * (logits.dim() - 1)).expand_as(logits))
    free = Head(dataclasses.replace(shape, from_initial=False), torch.Generator().manual_seed(3))
    moved = dataclasses.replace(bags, initial_logits=bags.initial_logits + 1)
    assert torch.equal(free(bags), free(moved))
    assert not torch.equal(free(bags), logits)


def test_members_start_differently():
    head = Head(HeadShape(columns=5, members=3, from_initial=False), torch.Generator().manual_seed(0))
    logits = head(make_bags(head.shape, dtype=torch.float32))
    assert len({tuple(column.tolist()) for column in logits.T}) == 3


@pytest.mark.parametrize("shape", SCHEMAS, ids=NAMES)
def test_member_states_come_back_unchanged(shape):
    head, other = make_head(shape), make_head(shape, seed=9)
    states = head.member_states()
    assert all(len(value) == shape.members for value in states.values())
    other.load_member_states(states)
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), other.parameters(), strict=True))


def test_picked_members_score_as_before_and_own_their_weights():
    shape = SCHEMAS[NAMES.index("(4,)-3-(6,)-3")]
    head, bags = make_head(shape), make_bags(shape)
    picked = pick_members(head, [2, 0])
    before = head(bags)[..., [2, 0]]
    torch.testing.assert_close(picked(bags), before)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
    torch.testing.assert_close(picked(bags), before)


def test_scores_do_not_depend_on_the_other_bags():
    shape = SCHEMAS[NAMES.index("(4, 2)-3-(6, 30)-1")]
    head, bags = make_head(shape), make_bags(shape)
    alone = torch.cat([head(bags.take(torch.tensor([bag]))) for bag in range(3)])
    torch.testing.assert_close(head(bags), alone)


def test_bf16_products_stay_near_those_of_fp32():
    shape = HeadShape(columns=64, shared=(32,), members=2, hidden=(48, 24), from_initial=False)
    head, bags = Head(shape, torch.Generator().manual_seed(0)), make_bags(shape, dtype=torch.float32)
    exact, coarse = head(bags), head(bags, precision=torch.bfloat16)
    assert coarse.dtype == torch.float32
    assert not torch.equal(exact, coarse)
    torch.testing.assert_close(coarse, exact, rtol=0, atol=0.02)


def big_bags(columns=3, sentences=4000):
    features = torch.randn(sentences, columns, generator=torch.Generator().manual_seed(0))
    return Bags.make(features, torch.arange(0, sentences + 1, 4))


def test_dropout_is_drawn_from_the_generator_and_only_while_training():
    head = Head(HeadShape(columns=3, hidden=(16,), dropout=0.5, from_initial=False), torch.Generator().manual_seed(0))
    bags = big_bags()
    once, again, other = (head(bags, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    head.eval()
    assert torch.equal(head(bags, torch.Generator().manual_seed(1)), head(bags))


@pytest.mark.parametrize("dropout", [0.1, 0.25, 0.5])
def test_dropout_keeps_the_expectation_and_the_share(dropout):
    head = Head(
        HeadShape(columns=3, hidden=(64,), dropout=dropout, from_initial=False), torch.Generator().manual_seed(0)
    )
    bags, noise = big_bags(sentences=400), torch.Generator().manual_seed(1)
    with torch.no_grad():
        mean = torch.stack([head(bags, noise) for _ in range(600)]).mean(0)
    assert float((mean - head.eval()(bags).detach()).abs().mean()) < 0.015
    head.train()
    with torch.no_grad():
        head.enter.zero_(), head.enter_bias.fill_(30.0), head.weights[0].fill_(1 / 64), head.biases[0].zero_()
        kept = head(big_bags(), noise).mean() / 30.0  # every activation is 30: a dropped one is missing from the mean
    assert float(kept) == pytest.approx(1.0, abs=0.01)
    assert round(dropout * DRAWS) / DRAWS == pytest.approx(dropout, abs=1 / DRAWS)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_are_the_finite_differences_and_know_what_was_dropped(dropout):
    shape = HeadShape(columns=5, shared=(4, 2), hidden=(8, 20), members=2, thresholds=2, dropout=dropout)
    head, bags = make_head(shape), make_bags(shape)

    def cost():
        return head(bags, torch.Generator().manual_seed(5)).square().sum()

    cost().backward()
    for parameter in head.parameters():
        step = 1e-6 * torch.randn(parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
        with torch.no_grad():
            parameter += step
            above = cost()
            parameter -= 2 * step
            below = cost()
            parameter += step
        assert float((parameter.grad * step).sum()) == pytest.approx(float(above - below) / 2, rel=1e-4, abs=1e-9)


def test_the_way_back_is_gone_once():
    head = make_head(HeadShape(columns=5))
    cost = head(make_bags(head.shape)).sum()
    cost.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="run the head again"):
        cost.backward()


def test_two_passes_at_once_keep_apart():
    head = make_head(HeadShape(columns=5, hidden=(6,)))
    one, two = make_bags(head.shape, 1), make_bags(head.shape, 2)
    costs = [head(bags).square().sum() for bags in (one, two)]
    sum(costs).backward()
    found = head.enter.grad.clone()
    head.zero_grad()
    (plainly(head, one).square().sum() + plainly(head, two).square().sum()).backward()
    torch.testing.assert_close(found, head.enter.grad)


def test_copies_do_not_carry_the_workspace():
    head = make_head(HeadShape(columns=5))
    head(make_bags(head.shape)).sum().backward()
    assert head.workspace.free
    for twin in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        assert not twin.workspace.free
        assert torch.equal(twin(make_bags(head.shape)), head(make_bags(head.shape)))


def test_the_workspace_gives_the_smallest_piece_that_fits_and_keeps_few():
    space = Workspace()
    small, large = (space.take(size, torch.float32, torch.device("cpu")) for size in (10, 1000))
    space.give([large, small])
    assert space.take(5, torch.float32, torch.device("cpu")) is small
    assert space.take(5, torch.float32, torch.device("cpu")) is large
    assert space.take(5, torch.float64, torch.device("cpu")).dtype == torch.float64
    space.give([torch.empty(size) for size in range(100)])
    assert len(space.free) < 20


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_fetched_rows_are_those_that_were_asked_for(precision):
    fetch, block = Fetcher(precision), torch.randn(700, 3)
    for rows in (torch.arange(600), torch.tensor([5, 5, 1])):
        assert torch.equal(fetch(block, rows), block[rows].to(precision))


@pytest.mark.parametrize("wrong", [{"members": 0}, {"hidden": (0,)}, {"dropout": 1.0}, {"thresholds": 0}])
def test_an_impossible_shape_is_refused(wrong):
    with pytest.raises(ValueError, match=r"at least 1|dropout"):
        HeadShape(columns=2, **wrong)


def test_a_head_refuses_bags_without_its_shared_vectors():
    head = Head(HeadShape(columns=5, shared=(4,)))
    with pytest.raises(ValueError, match="0 blocks of shared vectors for a head of 1"):
        head(big_bags(columns=5))


CHUNKED = [
    HeadShape(columns=5, shared=(3, 4), members=members, hidden=hidden, thresholds=thresholds)
    for members, hidden, thresholds in itertools.product([1, 3], [(), (6,), (6, 30)], [1, 3])
]


def beside_every_chunk(shape, place, counts=(2, 1, 4)):
    """Return bags whose sentences stand beside every row of their bag in the block at this place."""
    bags = make_bags(shape)
    generator = torch.Generator().manual_seed(2)
    offsets = torch.tensor([0, *itertools.accumulate(counts)])
    rows = torch.randn(int(offsets[-1]), shape.shared[place], generator=generator, dtype=torch.float64)
    rows[1] = rows[0]  # a chunk that comes twice
    shared = list(bags.shared)
    shared[place] = Shared(rows, offsets, offsets[:-1][bags.sentence_bag], every=True)
    return dataclasses.replace(bags, shared=tuple(shared))


def beside_each_in_turn(head, bags):
    """Score each sentence beside each chunk of its bag, one by one, and take the largest of each output."""
    logits = []
    for sentence, bag in enumerate(bags.sentence_bag.tolist()):
        every = []
        for row in range(*bags.chunks.row_offsets[bag : bag + 2].tolist()):
            index = bags.chunks.index.clone()
            index[sentence] = row
            shared = tuple(dataclasses.replace(s, index=index) if s.every else s for s in bags.shared)
            every.append(plainly(head, dataclasses.replace(bags, shared=shared))[sentence])
        logits.append(torch.stack(every).amax(0))
    return torch.stack(logits)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("shape", CHUNKED, ids=str)
def test_the_largest_over_chunks_is_that_of_each_in_turn_forward_and_backward(shape, place):
    head, bags = make_head(shape), beside_every_chunk(shape, place)
    plain = beside_each_in_turn(head, bags)
    pull = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(head(bags), plain)
    with torch.no_grad():
        torch.testing.assert_close(head(bags), plain)
    (head(bags) * pull).sum().backward()
    slopes = {name: parameter.grad.clone() for name, parameter in head.named_parameters()}
    head.zero_grad()
    (plain * pull).sum().backward()
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(slopes[name], parameter.grad)


def test_the_largest_over_chunks_holds_across_tiles_blocks_and_batches(monkeypatch):
    from fractal.mil import head as module
    from fractal.mil.training import validation

    shape = CHUNKED[3]
    head, bags = make_head(shape), beside_every_chunk(shape, 0)
    whole = validation.predict_logits(head, bags)
    monkeypatch.setattr(validation, "SENTENCES_AT_ONCE", 3)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 2)
    torch.testing.assert_close(validation.predict_logits(head, bags), whole)
    torch.testing.assert_close(validation.steady_logits(head, bags), whole)
    order = torch.tensor([2, 0])
    rows = torch.cat([torch.arange(5, 9), torch.arange(2)])
    torch.testing.assert_close(head(bags.take(order)), whole[rows])


def test_a_bag_without_a_chunk_to_stand_beside_is_refused():
    bags = beside_every_chunk(CHUNKED[0], 0)
    empty = dataclasses.replace(bags.chunks, rows=bags.chunks.rows[:3], row_offsets=torch.tensor([0, 2, 3, 3]))
    with pytest.raises(BadData, match="no row for some bag"):
        Bags.make(bags.features, bags.offsets, shared=(empty,))
