"""A tuned encoder as a plain token classifier of transformers: the mean over a sentence's tokens is its log-odds."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import torch
from torch import nn

from fractal.errors import BadSpec
from fractal.finetuning.expert import TunedExpert
from fractal.finetuning.network import TunedNetwork

__all__ = ["export_token_classifier"]

CLASSIFIERS = ("classifier", "score")  # what transformers calls the last layer
TOLERANCE = 1e-3


def export_token_classifier(
    expert: TunedExpert, folder: str | PathLike[str], *, view: str = "", member: int = 0
) -> Path:
    """Write one member's head on one view as a model for `AutoModelForTokenClassification`, and its tokeniser.

    On the sequence that the view reads, the mean of its logits over a sentence's tokens is the head's log-odds of the
    sentence. The reading `twin` compares sentences with other texts, which such a model cannot.
    """
    from transformers import AutoModelForTokenClassification

    network = expert.networks[member]
    view = view or network.views[0]
    if view not in network.views or network.compared:
        raise BadSpec(f"view={view!r}: give one of {', '.join(network.views)}; a 'twin' cannot be exported")
    backbone, head = network.backbone, network.head(view)
    backbone.join()
    config = type(backbone.network.config).from_dict(
        {**backbone.network.config.to_dict(), "num_labels": network.outputs}
    )
    model = AutoModelForTokenClassification.from_config(config, dtype=torch.float32).eval()
    base = getattr(model, model.base_model_prefix)
    base.load_state_dict(backbone.network.state_dict(), strict=False)
    last = next(
        (getattr(model, name) for name in CLASSIFIERS if isinstance(getattr(model, name, None), nn.Linear)), None
    )
    if last is None:
        raise BadSpec(f"{type(model).__name__} has no linear last layer: it cannot be exported")
    weight = (head.linear.weight * head.scale).detach().cpu()
    with torch.no_grad():
        last.weight.copy_(weight)
        last.bias.copy_(head.linear.bias.detach().cpu() - weight @ head.mean.cpu())
    _check(model, network, view)
    model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
    return Path(folder)


def _check(model: nn.Module, network: TunedNetwork, view: str) -> None:
    """Refuse a model that is not what it was made from: some put a layer of their own before the last."""
    tokens = torch.arange(8, 20).view(2, 6) % int(network.backbone.network.config.vocab_size)
    network.to("cpu").eval()
    inputs = {
        "tokens": tokens,
        "mask": torch.ones_like(tokens),
        "rows": torch.arange(12),
        "offsets": torch.tensor([0, 6, 12]),
        "companions": torch.zeros(0, 2, dtype=torch.long),
    }
    with torch.inference_mode():
        expected = network(view, inputs).view(2, -1)
        logits = model(input_ids=tokens, attention_mask=inputs["mask"]).logits.mean(1)
    if float((expected - logits).abs().max()) > TOLERANCE:
        raise BadSpec(f"{type(model).__name__} computes more than a linear last layer: it cannot be exported")
