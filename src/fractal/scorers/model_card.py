"""The model card of a scorer: what it learned from, how it was chosen, how good it is, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CARD = """---
library_name: fractal-scores
tags: [fractal, sentence-scoring, multiple-instance-learning, process-reward]
---

# A scorer of sentences, learned from labels on whole responses

```python
from fractal import {kind}

scorer = {kind}.from_pretrained("this folder")
```

## What it learned from

{data}

## How it was made

{recipe}

## What held-out response labels decided

{choices}

## How good it is

{metrics}

## Limits

- Scores say how likely a sentence is good *as the raters of these responses understood it*,
  under the aggregation above.
- No sentence label was needed to train it; unless sentence labels are named above, none has checked it either.
- It reads what its encoder reads: other languages, much longer sentences and other kinds of text
  than those above lower its worth.
"""


def model_card(config: Mapping[str, Any]) -> str:
    """Write the card that a saved configuration calls for."""
    return _CARD.format(kind="SentenceScorer", **_sections(config))


def aspects_card(configs: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the card of a scorer of several aspects, from the configuration of each."""
    sections = {name or "whole response": _sections(config) for name, config in configs.items()}
    titles = next(iter(sections.values()))
    joined = {
        title: "\n\n".join(f"### {' '.join(name.split())}\n\n{texts[title]}" for name, texts in sections.items())
        for title in titles
    }
    return _CARD.format(kind="AspectScorer", **joined)


def _sections(config: Mapping[str, Any]) -> dict[str, str]:
    ensemble = config["ensemble"]
    experts = {
        f"expert {number + 1}": f"weight {weight:g}: {', '.join(f'`{word}`' for word in expert['recipe'])}"
        for number, (weight, expert) in enumerate(zip(ensemble["weights"], ensemble["experts"], strict=True))
    }
    recipe = {
        "encoder": f"`{config['encoder']}` ({config['encoder_fingerprint']})",
        "splitter": f"`{config['splitter']}`",
        "aggregation": f"`{ensemble['aggregation']}`",
        **experts,
        "plan": f"`{config['plan']}`",
    }
    nothing = "Nothing was held out, so nothing is said." if "groups" in config["data"] else ""
    return {
        "data": _listed(config["data"]),
        "recipe": _listed(recipe),
        "choices": _table(config["choices"]),
        "metrics": _listed(config["metrics"]) if config["metrics"] else nothing or _listed({}),
    }


def _listed(values: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {_plain(value)}" for name, value in values.items()) or "- nothing is recorded"


def _table(choices: list[Mapping[str, Any]]) -> str:
    if not choices:
        return "Nothing was left to choose."
    rows = [
        f"| {c['about']} | {', '.join(f'{k}: {v:.4f}' for k, v in c['costs'].items())} | {c['taken']} | {c['why']} |"
        for c in choices
    ]
    return "\n".join(["| choice | cost of each | taken | why |", "|---|---|---|---|", *rows])


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
