"""Tiny language models and cross-encoders with random weights, made on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

__all__ = ["causal_model", "cross_encoder"]


def _tokenizer(folder: Path, texts: Sequence[str]) -> int:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in texts for word, _ in pre_tokenizers.Whitespace().pre_tokenize_str(text)})
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[SEP]", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", sep_token="[SEP]", model_max_length=64
    )
    made.save_pretrained(folder)
    return len(vocabulary)


def causal_model(folder: Path, texts: Sequence[str], seed: int) -> str:
    """Save a causal model that knows the words of the texts."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    size = _tokenizer(folder, texts)
    GPT2LMHeadModel(GPT2Config(vocab_size=size, n_positions=64, n_embd=16, n_layer=1, n_head=2)).save_pretrained(folder)
    return str(folder)


def cross_encoder(folder: Path, texts: Sequence[str], labels: Sequence[str]) -> str:
    """Save a classifier of pairs of texts."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    size = _tokenizer(folder, texts)
    names = dict(enumerate(labels))
    shape = BertConfig(
        vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, id2label=names, label2id={name: n for n, name in names.items()},
    )  # fmt: skip
    BertForSequenceClassification(shape).save_pretrained(folder)
    return str(folder)
