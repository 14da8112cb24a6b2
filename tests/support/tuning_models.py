"""Tiny random transformers models with a tokeniser, as folders: what is tuned in tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fractal.evaluation.folds import member_weights
from fractal.mil.bags import Bags
from fractal.records import Response
from fractal.records.corpus import gather

GOOD, BAD = ("fresh", "tasty", "kind", "quick", "warm"), ("cold", "rude", "slow", "stale", "dirty")
PLAIN = ("the", "soup", "staff", "room", "was", "and", "is", "food", "here", "today", "place", "what", "how")


def tiny_model(folder: Path, kind: str = "bert", *, layers: int = 2, dropout: float = 0.1) -> Path:
    """Write a random model of two layers and 32 dimensions, and a tokeniser of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *PLAIN, *GOOD, *BAD]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = {"bos_token": "[CLS]"} if kind == "llama" else {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", model_max_length=256, **marks
    )
    sizes = {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 64}
    sizes |= {"vocab_size": len(words), "max_position_embeddings": 256, "pad_token_id": 0}
    if kind in ("bert", "deberta-v2"):
        sizes |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    if kind == "deberta-v2":
        sizes |= {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 32}
    if kind == "llama":
        sizes |= {"num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": None}
    if kind == "modernbert":
        sizes |= {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
        sizes |= {"global_attn_every_n_layers": 2, "local_attention": 16}
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(kind, **sizes)).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def reviews(count: int, seed: int = 0, *, query: bool = False, sentences: int = 4) -> list[Response]:
    """Reviews that are bad where one of their sentences is."""
    rng = np.random.default_rng(seed)
    out = []
    for number in range(count):
        bad = rng.random(sentences) < 0.25
        texts = [
            f"the {rng.choice(PLAIN[1:4])} was {rng.choice(BAD if one else GOOD)} {rng.choice(PLAIN[8:11])}"
            for one in bad
        ]
        out.append(
            Response.from_sentences(
                f"r{number}",
                texts,
                labels=[1.0 - float(one) for one in bad],
                label=float(not bad.any()),
                query=f"how was the {rng.choice(PLAIN[1:4])}" if query else "",
                group=f"g{number}",
            )
        )
    return out


def review_bags(responses: list[Response], members: int = 1, folds: int = 4, *, gold: bool = False) -> Bags:
    """Lay the labels of responses as bags without columns, member m blind to fold m."""
    corpus = gather(responses)
    offsets = torch.tensor([0, *np.cumsum([len(response.sentences) for response in responses])])
    labels = [float("nan") if s.label is None else s.label for response in responses for s in response.sentences]
    return Bags.make(
        torch.zeros(int(offsets[-1]), 0),
        offsets,
        torch.from_numpy(corpus.labels.astype(np.float32)),
        targets={"gold": torch.tensor(labels)} if gold else {},
        weights=torch.from_numpy(member_weights(corpus.groups, corpus.labels, members, folds, 0)),
    )
