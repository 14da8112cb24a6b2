"""A tiny language model that a real trainer of TRL rewards by any reward function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest


def first_log(reward: Callable[..., Any], row: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """Train two steps of GRPO on four copies of a row, its `prompt` in words below; return what was logged first."""
    trl = pytest.importorskip("trl", reason="trl is not installed")
    datasets = pytest.importorskip("datasets", reason="the extra 'data' brings datasets")
    import tokenizers
    import transformers

    words = {word: place for place, word in enumerate(["<pad>", "<eos>", "this", "is", "right", "wrong", "."])}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<pad>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>")
    tiny = transformers.GPT2Config(
        vocab_size=len(words), n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=1, eos_token_id=1
    )
    options = trl.GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=6,
        max_steps=2,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = trl.GRPOTrainer(
        model=transformers.GPT2LMHeadModel(tiny),
        processing_class=tokenizer,
        reward_funcs=[reward],
        args=options,
        train_dataset=datasets.Dataset.from_list([dict(row)] * 4),
    )
    trainer.train()
    log: dict[str, float] = trainer.state.log_history[0]
    return log
