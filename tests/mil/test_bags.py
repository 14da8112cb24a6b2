"""Bags: taking and batching keep every row with its bag, and what does not fit together is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal.errors import BadData
from fractal.mil.bags import Bags, SentencePairs, Shared

sizes = st.lists(st.integers(1, 5), min_size=1, max_size=12)


def build(sizes, pairs=None, seed=0):
    """Bags in which every value tells its bag, or its sentence."""
    generator = torch.Generator().manual_seed(seed)
    count = len(sizes)
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    rows = int(offsets[-1])
    sentence = torch.arange(rows, dtype=torch.float32)
    bag = torch.repeat_interleave(torch.arange(count), torch.tensor(sizes))
    chunks = torch.randint(1, 4, (count,), generator=generator)
    row_offsets = torch.cat([torch.zeros(1, dtype=torch.long), chunks.cumsum(0)])
    index = row_offsets[bag] + (torch.rand(rows, generator=generator) * chunks[bag]).long()
    shared = Shared(torch.repeat_interleave(torch.arange(count), chunks).float().unsqueeze(1), row_offsets, index)
    sentence_pairs = [(i, j) for i in range(rows) for j in range(i + 1, rows) if bag[i] == bag[j]]
    table = torch.tensor(sentence_pairs, dtype=torch.long).reshape(-1, 2)
    pair_counts = torch.tensor([size * (size - 1) // 2 for size in sizes])
    pair_offsets = torch.cat([torch.zeros(1, dtype=torch.long), pair_counts.cumsum(0)])
    similarity = (table[:, 0] * 100 + table[:, 1]).float()
    return Bags.make(
        torch.stack([sentence, bag.float()], dim=1),
        offsets,
        torch.arange(count) / count,
        shared=(shared,),
        targets={"gold": sentence},
        vectors=sentence.unsqueeze(1),
        initial_logits=sentence,
        pairs=pairs,
        weights=torch.arange(count, dtype=torch.float32).unsqueeze(1).expand(-1, 2),
        sentence_pairs=SentencePairs(table[:, 0], table[:, 1], similarity, pair_offsets),
    )


def check_rows(bags, whole):
    """Every value still stands with its bag; returns the original number of every bag."""
    original = (bags.labels * len(whole)).round().long()
    sentence = bags.features[:, 0].long()
    assert torch.equal(bags.features[:, 1].long(), original[bags.sentence_bag])
    assert torch.equal(whole.features[sentence], bags.features)
    for values in (bags.targets["gold"], bags.initial_logits, bags.vectors[:, 0]):
        assert torch.equal(values.long(), sentence)
    assert torch.equal(bags.weights[:, 1].long(), original)
    shared, sentence_pairs = bags.shared[0], bags.sentence_pairs
    assert torch.equal(shared.rows[shared.index, 0].long(), original[bags.sentence_bag])
    old = whole.shared[0]
    place = shared.index - shared.row_offsets[bags.sentence_bag]
    assert torch.equal(place, (old.index - old.row_offsets[whole.sentence_bag])[sentence])
    named = sentence[sentence_pairs.first] * 100 + sentence[sentence_pairs.second]
    assert torch.equal(named, sentence_pairs.similarity.long())
    assert torch.equal(sentence_pairs.offsets.diff(), bags.offsets.diff() * (bags.offsets.diff() - 1) // 2)
    assert torch.equal(bags.sentence_bag[sentence_pairs.first], bags.sentence_bag[sentence_pairs.second])
    return original


@settings(max_examples=30)
@given(sizes=sizes, seed=st.integers(0, 10**6))
def test_take_keeps_everything_together(sizes, seed):
    whole = build(sizes, seed=seed)
    chosen = torch.randint(len(sizes), (len(sizes),), generator=torch.Generator().manual_seed(seed))
    taken = whole.take(chosen)
    assert torch.equal(check_rows(taken, whole), chosen)
    sentences = [whole.features[whole.offsets[i] : whole.offsets[i + 1], 0] for i in chosen]
    assert torch.equal(taken.features[:, 0], torch.cat(sentences))


@settings(max_examples=30)
@given(sizes=sizes, seed=st.integers(0, 10**6), size=st.integers(1, 6))
def test_batches_hold_every_bag_once(sizes, seed, size):
    whole = build(sizes, seed=seed)
    batches = list(whole.batches(size, torch.Generator().manual_seed(seed)))
    seen = torch.cat([check_rows(batch, whole) for batch in batches])
    assert sorted(seen.tolist()) == list(range(len(sizes)))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)


@settings(max_examples=40)
@given(sizes=sizes.filter(lambda s: len(s) > 1), seed=st.integers(0, 10**6), size=st.integers(1, 6), data=st.data())
def test_batches_hold_every_pair_once_with_both_of_its_bags(sizes, seed, size, data):
    bag = st.integers(0, len(sizes) - 1)
    drawn = st.tuples(bag, bag, st.integers(0, 1)).filter(lambda pair: pair[0] != pair[1])
    pairs = data.draw(st.lists(drawn, min_size=1, max_size=8))
    whole = build(sizes, torch.tensor(pairs), seed)
    found, bags = [], []
    for batch in whole.batches(size, torch.Generator().manual_seed(seed)):
        original = check_rows(batch, whole)
        assert len(original.unique()) == len(original) <= size + 1
        bags += original.tolist()
        better, worse, tie = batch.pairs.unbind(1)
        found += list(zip(original[better].tolist(), original[worse].tolist(), tie.tolist(), strict=True))
    assert sorted(found) == sorted(pairs)
    assert set(bags) == set(range(len(sizes)))
    unpaired = set(range(len(sizes))) - {end for pair in pairs for end in pair[:2]}
    assert all(bags.count(i) == 1 for i in unpaired)


def test_take_drops_pairs_with_a_bag_that_is_left_out():
    whole = build([1, 2, 1, 3], torch.tensor([[0, 1, 0], [2, 3, 1], [3, 0, 0]]))
    assert whole.take(torch.tensor([3, 2, 1])).pairs.tolist() == [[1, 0, 1]]


def test_batches_are_the_same_for_a_seed_and_differ_between_epochs():
    whole = build([1] * 20)
    generator = torch.Generator().manual_seed(3)
    first, second = (torch.cat([b.labels for b in whole.batches(4, generator)]) for _ in range(2))
    again = torch.cat([b.labels for b in whole.batches(4, torch.Generator().manual_seed(3))])
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_features_may_lie_in_a_mapped_file(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "features.npy", mode="w+", dtype=np.float32, shape=(6, 2))
    mapped[:] = np.arange(12).reshape(6, 2)
    whole = Bags.make(torch.from_numpy(mapped), torch.tensor([0, 2, 3, 6]))
    assert whole.take(torch.tensor([2, 0])).features[:, 0].tolist() == [6, 8, 10, 0, 2]
    assert whole.features.data_ptr() == mapped.ctypes.data  # no copy was made


def test_to_moves_every_part():
    whole = build([2, 3], torch.tensor([[0, 1, 0]]))
    moved = whole.to("meta")
    parts = [moved.features, moved.labels, moved.pairs, moved.targets["gold"], moved.shared[0].index]
    assert {part.device.type for part in [*parts, moved.sentence_pairs.similarity, moved.weights]} == {"meta"}


def test_with_targets_adds_and_replaces():
    whole = build([2, 3])
    other = whole.with_targets(pseudo=torch.ones(5), gold=torch.zeros(5))
    assert set(other.targets) == {"gold", "pseudo"}
    assert whole.targets["gold"].sum() == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": torch.tensor([0, 2, 2, 5])}, "bag 1 has 0 rows"),
        ({"offsets": torch.tensor([0, 2, 4])}, "for 5 rows"),
        ({"offsets": torch.tensor([0.0, 5.0])}, "int64"),
        ({"labels": torch.zeros(3)}, "labels has 3 rows for 2 bags"),
        ({"labels": torch.tensor([0.0, 5.0])}, r"\[0, 1\]"),
        ({"targets": {"gold": torch.zeros(4)}}, r"targets\['gold'\] has 4 rows for 5 sentences"),
        ({"initial_logits": torch.zeros(2)}, "initial_logits"),
        ({"vectors": torch.zeros(2, 1)}, "vectors"),
        ({"weights": torch.zeros(5, 1)}, "weights"),
        ({"pairs": torch.tensor([[0, 1]])}, r"\(pair, 3\)"),
        ({"pairs": torch.tensor([[0, 2, 0]])}, "there are 2 bags"),
        ({"shared": (Shared(torch.zeros(2, 1), torch.tensor([0, 1, 2]), torch.tensor([0, 0, 0, 1, 1])),)}, "own bag"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    whole = build([2, 3])
    fields = {field.name: getattr(whole, field.name) for field in dataclasses.fields(whole)}
    with pytest.raises(BadData, match=message):
        Bags.make(**{**fields, "sentence_pairs": None, **change})
