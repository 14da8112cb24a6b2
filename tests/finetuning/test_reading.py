"""What a sentence's state depends on under each way of reading."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fractal.finetuning.backbone import load_backbone
from fractal.finetuning.inputs import FrozenStates, view_inputs
from fractal.finetuning.network import TunedNetwork, ViewHead
from fractal.finetuning.reading import read_columns
from fractal.finetuning.windows import Reader
from fractal.records import Response
from support.tuning_models import GOOD, PLAIN, reviews, tiny_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return load_backbone(str(tiny_model(tmp_path_factory.mktemp("bert")))).eval()


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return load_backbone(str(tiny_model(tmp_path_factory.mktemp("llama"), "llama"))).eval()


def reader_of(backbone, window=64, sentence_tokens=16):
    return Reader.of(backbone.tokenizer, causal=backbone.causal, window=window, sentence_tokens=sentence_tokens)


def states(backbone, view, responses):
    reader = reader_of(backbone)
    sequences = getattr(reader, view)(responses)
    return read_columns(TunedNetwork(backbone, (view,), 1), view, sequences, CPU, torch.float32)


def changed_last(response):
    texts = [s.text for s in response.sentences]
    return Response.from_sentences("other", [*texts[:-1], "dirty and rude staff today"], query=response.query)


def changed_first(response):
    texts = [s.text for s in response.sentences]
    return Response.from_sentences("other", ["dirty and rude", *texts[1:]], query=response.query)


def test_alone_a_sentence_does_not_depend_on_the_others_and_in_a_window_it_does(bert):
    one = reviews(1, query=True)[0]
    own = [states(bert, "own", [r])[:-1] for r in (one, changed_last(one))]
    full = [states(bert, "full", [r])[:-1] for r in (one, changed_last(one))]
    assert torch.allclose(*own, atol=1e-6)
    assert (full[0] - full[1]).abs().max() > 1e-3


def test_alone_a_sentence_depends_on_the_query(bert):
    one = reviews(1, query=True)[0]
    other = dataclasses.replace(one, query="what is food")
    assert (states(bert, "own", [one]) - states(bert, "own", [other])).abs().max() > 1e-3


def test_a_causal_model_knows_what_stands_before_a_sentence_and_nothing_after(llama):
    one = reviews(1, query=True)[0]
    before = states(llama, "full", [one])
    assert torch.allclose(before[:-1], states(llama, "full", [changed_last(one)])[:-1], atol=1e-6)
    assert (before[1:] - states(llama, "full", [changed_first(one)])[1:]).abs().max() > 1e-3


words = st.lists(st.sampled_from([*PLAIN, *GOOD]), min_size=1, max_size=40).map(" ".join)


@given(st.lists(st.lists(words, min_size=1, max_size=8), min_size=1, max_size=4), words | st.just(""))
def test_every_sentence_stands_once_where_its_range_says(bert, texts, query):
    responses = [Response.from_sentences(str(i), of, query=query) for i, of in enumerate(texts)]
    reader = reader_of(bert)
    flat = [text for of in texts for text in of]
    for sequences in (reader.own(responses), reader.full(responses)):
        assert sequences.lengths.max() <= 64
        assert len(sequences.row) == len(flat)
        for text, row, start, end in zip(flat, sequences.row, sequences.start, sequences.end, strict=True):
            tokens = bert.tokenizer(text, add_special_tokens=False)["input_ids"]
            kept = tokens if len(tokens) <= 16 else [*tokens[:11], *tokens[-5:]]
            assert list(sequences.ids[row][start:end]) == kept
        assert sequences.cut == sum(len(text.split()) > 16 for text in flat)


@given(st.lists(st.lists(words, min_size=1, max_size=8), min_size=1, max_size=4), words | st.just(""))
def test_no_sequence_is_longer_than_a_small_window(bert, texts, query):
    responses = [Response.from_sentences(str(i), of, query=query) for i, of in enumerate(texts)]
    reader = reader_of(bert, window=20)
    assert max(view(responses).lengths.max() for view in (reader.own, reader.full)) <= 20


def test_batches_give_the_states_of_sentences_read_one_by_one(bert):
    responses = reviews(9, query=True)
    for view in ("own", "full"):
        together = states(bert, view, responses)
        apart = torch.cat([states(bert, view, [response]) for response in responses])
        assert torch.allclose(together, apart, atol=1e-5)


def test_states_of_frozen_layers_give_what_the_whole_model_gives(bert):
    responses = reviews(6)
    sequences = reader_of(bert).full(responses)
    bert.freeze(0.5)
    assert bert.can_be_cut()
    kept = FrozenStates.of(bert, sequences, CPU, torch.float32)
    inputs = view_inputs(sequences, np.arange(len(sequences.row)), bert.filler)
    whole = bert(inputs.tokens, inputs.mask)
    from_kept = view_inputs(sequences, np.arange(len(sequences.row)), bert.filler, kept)
    bert.cut()
    parts = bert(from_kept.tokens, from_kept.mask)
    bert.join()
    real = inputs.mask.bool()
    assert torch.allclose(whole[real], parts[real], atol=5e-3)


def test_a_dimension_that_never_changes_does_not_rule_the_gradient():
    columns = torch.randn(50, 8)
    columns[:, 3] = 0.7 + 1e-31 * torch.randn(50)
    head = ViewHead(8, 1)
    head.learn_scale(columns)
    assert float(head.scale.max() / head.scale.median()) <= 5.01
    columns.requires_grad_()
    head(columns).sum().backward()
    assert float(columns.grad.abs().max()) < 10
