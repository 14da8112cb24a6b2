"""Tiny models of every kind, made on the spot, so that encoders are tested without a download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WORDS = [
    "the",
    "cat",
    "dog",
    "sat",
    "on",
    "a",
    "mat",
    "paris",
    "is",
    "in",
    "france",
    "it",
    "has",
    "million",
    "people",
    "red",
    "blue",
    "green",
    "one",
    "two",
    "three",
]
TEXTS = (
    "",
    " ",
    "The cat sat on the mat.",
    "the cat sat on the mat",
    "Paris is in France.",
    "It has 90 million people!",
    "dog",
    "two red dogs, three blue cats",
    "Ein Hund saß auf der Matte.",
    "猫が座った。 🙂",
    "\ud800 a lone surrogate",
    "one\x00two",
    "[CLS] [SEP] the [PAD]",
    "the cat sat on a red mat in france " * 60,
)


def _tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys([*WORDS, *letters]), *(f"##{c}" for c in letters)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer, len(vocabulary)


def sentence_transformer(folder: Path, seed: int = 0) -> Path:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer, size = _tokenizer()
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **marks).save_pretrained(folder / "bert")
    config = BertConfig(
        vocab_size=size,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder / "bert")
    words = Transformer(str(folder / "bert"), max_seq_length=64)
    SentenceTransformer(modules=[words, Pooling(24, "mean")], device="cpu").save(str(folder / "model"))
    return folder / "model"


def static_model(folder: Path, seed: int = 0) -> Path:
    from model2vec import StaticModel

    tokenizer, size = _tokenizer()
    vectors = np.random.default_rng(seed).standard_normal((size, 24)).astype(np.float32)
    StaticModel(vectors, tokenizer, config={}).save_pretrained(str(folder / "static"))
    return folder / "static"


def vectors_file(folder: Path, seed: int = 0) -> Path:
    path = folder / "vectors.npz"
    texts = [text for text in TEXTS if text]
    vectors = np.random.default_rng(seed).standard_normal((len(texts), 24)).astype(np.float32)
    np.savez(path, texts=np.array(texts), vectors=vectors)
    return path
