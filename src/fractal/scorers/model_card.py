"""The model card of a scorer: what it learned from, how it was chosen, how good it is, and where it ends."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fractal.encoders.weights import MPNET_REPOSITORY, REPOSITORY
from fractal.records import ScoredResponse
from fractal.registry import parse

__all__ = ["CardFacts", "aspects_card", "model_card"]

TAGS = ("fractal", "sentence-scoring", "multiple-instance-learning", "process-reward")
METRIC_TYPES = {  # the Hub's names of what is measured on held-out responses
    "held-out response ROC AUC": "roc_auc",
    "held-out response concordance": "concordance",
    "held-out log-loss": "log_loss",
    "held-out preference accuracy": "accuracy",
}

_CARD = """---
{front}
---

# A scorer of sentences, learned from labels on whole responses

```python
from fractal import {kind}

scorer = {kind}.from_pretrained({place})
scorer.score_text("An answer. It has sentences.", context=["What it is held against."])   # a score for every sentence
```

{example}

## What it learned from

{data}

## How it was made

{recipe}

## What held-out response labels decided

{choices}

## How good it is

{metrics}

## Licence

{license}

## Limits

- Scores say how likely a sentence is good *as the raters of these responses understood it*,
  under the aggregation above.
- No sentence label was needed to train it; unless sentence labels are named above, none has checked it either.
- It reads what its encoder reads: other languages, much longer sentences and other kinds of text
  than those above lower its worth.
{limits}"""
_UNKNOWN = (
    "- New responses that are unlike those of training are not marked: there were too few, or of too few questions.\n"
)


@dataclasses.dataclass(frozen=True)
class CardFacts:
    """What a card can say only if it is told: none of it follows from the scorer."""

    name: str = ""  # its repository on the Hub
    license: str = ""  # of the scorer, as the Hub writes it: apache-2.0, cc-by-nc-4.0, other
    dataset: str = ""  # the data set that it learned from, where that is on the Hub
    example: tuple[ScoredResponse, ...] = ()  # scores to show, one record an aspect


def model_card(config: Mapping[str, Any], facts: CardFacts | None = None) -> str:
    """Write the card that a saved configuration calls for."""
    return _card("SentenceScorer", {"": config}, _sections(config), facts or CardFacts())


def aspects_card(configs: Mapping[str, Mapping[str, Any]], facts: CardFacts | None = None) -> str:
    """Write the card of a scorer of several aspects, from the configuration of each."""
    sections = {name or "whole response": _sections(config) for name, config in configs.items()}
    titles = next(iter(sections.values()))
    joined = {
        title: "\n\n".join(f"### {' '.join(name.split())}\n\n{texts[title]}" for name, texts in sections.items())
        for title in titles
    }
    return _card("AspectScorer", configs, joined, facts or CardFacts())


def _card(kind: str, configs: Mapping[str, Mapping[str, Any]], sections: Mapping[str, str], facts: CardFacts) -> str:
    base = base_model(next(iter(configs.values()))["encoder"])
    license = facts.license or "none is stated: ask whoever published this scorer"
    of_encoder = (
        f" The encoder `{base}` is another work and has its own; its weights are not in this folder." if base else ""
    )
    front = [*_front(configs, base, facts)]
    return _CARD.format(
        front="\n".join(front),
        kind=kind,
        place=json.dumps(facts.name or "this folder", ensure_ascii=False),
        example=_example(facts.example),
        license=f"Licence of the scorer: {license}.{of_encoder}",
        limits="".join(_warnings(configs)),
        **sections,
    )


def base_model(encoder: str) -> str:
    """Return the repository of the Hub that an encoder's weights are from; nothing where there is none."""
    name, options = parse(encoder, "encoder")
    if name in ("minilm", "base"):
        return REPOSITORY
    if name == "mpnet":
        return MPNET_REPOSITORY
    model = str(options.get("model", ""))
    is_repository = model.count("/") == 1 and not model.startswith((".", "/", "~")) and not Path(model).exists()
    return model if is_repository else ""


def _front(configs: Mapping[str, Mapping[str, Any]], base: str, facts: CardFacts) -> Iterator[str]:
    """Yield the lines of the card's head in YAML, as the Hub reads it; every value is quoted as JSON quotes it."""
    if facts.license:
        yield f"license: {json.dumps(facts.license)}"
    yield "library_name: fractal-scores"
    yield f"tags: [{', '.join(TAGS)}]"
    if base:
        yield f"base_model: {json.dumps(base)}"
    if facts.dataset:
        yield f"datasets: [{json.dumps(facts.dataset)}]"
    results = [(name, config) for name, config in configs.items() if config["metrics"]]
    if not results:
        return
    yield from (
        "model-index:",
        f"- name: {json.dumps(facts.name or 'fractal scorer', ensure_ascii=False)}",
        "  results:",
    )
    for aspect, config in results:
        yield from _result(aspect, config["metrics"], facts.dataset)


def _result(aspect: str, metrics: Mapping[str, Any], dataset: str) -> Iterator[str]:
    """Yield what held-out responses say of one aspect, as an entry of the model index."""
    which = f", {' '.join(aspect.split())}" if aspect else ""
    task = json.dumps(f"telling whole responses apart{which}", ensure_ascii=False)
    data = json.dumps(f"held-out responses of the training data{which}", ensure_ascii=False)
    yield f"  - task: {{type: text-classification, name: {task}}}"
    yield f"    dataset: {{type: {json.dumps(dataset or 'training-data')}, name: {data}}}"
    yield "    metrics:"
    for name, value in metrics.items():
        plain = METRIC_TYPES.get(name, name.replace(" ", "_"))
        yield f"    - {{type: {json.dumps(plain)}, name: {json.dumps(name)}, value: {json.dumps(value)}}}"


def _example(records: Iterable[ScoredResponse]) -> str:
    """Show what the scorer gives of one response."""
    blocks = []
    for record in records:
        lines = [
            f"{score:.2f}  {' '.join(sentence.text.split())}"
            for score, sentence in zip(record.sentence_scores, record.response.sentences, strict=True)
        ]
        title = f"{record.aspect}: " if record.aspect else ""
        blocks.append(
            "\n".join(["```text", *lines, f"{title}{record.response_score:.2f} for the whole response", "```"])
        )
    return "What it gives:\n\n" + "\n\n".join(blocks) if blocks else "No text of the training data is shown here."


def _warnings(configs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield as limits what was not learned of training responses, and the checks of assumptions that did not pass."""
    if any(config.get("profile", {}) is None for config in configs.values()):  # configurations of before have none
        yield _UNKNOWN
    for aspect, config in configs.items():
        for check in config.get("checks", ()):
            if check["verdict"] != "ok":
                which = f"{' '.join(aspect.split())}, " if aspect else ""
                yield f"- Check *{which}{check['name']}* ({check['verdict']}): {check['sentence']}\n"


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
