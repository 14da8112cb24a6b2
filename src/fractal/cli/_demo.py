"""The demonstration: made responses with known truth, two scorers trained without it, and how well they find it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fractal.records import Response, ScoredResponse

if TYPE_CHECKING:
    from fractal.evaluation import Evaluation
    from fractal.evaluation.findings import Finding
    from fractal.scorers.sentence import SentenceScorer

__all__ = ["Demo", "Part", "Telling", "run_demo"]

TASKS = ("summaries", "retrieval")
RESPONSES = 1_500
HELD_BACK = 3  # every third group of responses is kept to measure on

Train = Callable[["SentenceScorer", Sequence[Response]], object]
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Telling:
    """A sentence whose score says something that its response's label alone does not."""

    scored: ScoredResponse
    place: int  # of the sentence

    @property
    def text(self) -> str:
        """What the sentence says."""
        return self.scored.response.sentences[self.place].text

    @property
    def score(self) -> float:
        """What the scorer gives it."""
        return self.scored.sentence_scores[self.place]

    @property
    def truth(self) -> float | None:
        """Its known label."""
        return self.scored.response.sentences[self.place].label


@dataclasses.dataclass(frozen=True)
class Part:
    """One task of the demonstration: where things are, and how good the scores are."""

    task: str
    folder: Path
    trained_on: int
    scored: tuple[ScoredResponse, ...]
    evaluation: Evaluation
    aggregation: str
    checks: tuple[Finding, ...]


@dataclasses.dataclass(frozen=True)
class Demo:
    """The whole demonstration."""

    parts: tuple[Part, ...]
    report: Path
    seconds: float

    @property
    def telling(self) -> tuple[Telling, ...]:
        """The most telling sentences: those that stand out most clearly in an otherwise different response."""
        found = sorted((contrast(item) for part in self.parts for item in part.scored), key=lambda one: -one[0])
        return tuple(telling for _, telling in found[:3])


def run_demo(
    folder: str | Path,
    *,
    responses: int = RESPONSES,
    tasks: Sequence[str] = TASKS,
    seed: int = 0,
    train: Train | None = None,
    say: Say = lambda text: None,
    encoder: str = "minilm",
) -> Demo:
    """Make responses of every task, train a scorer on response labels alone, and measure it against the truth.

    `train` fits a scorer and may show how it goes; `say` is told every step.
    """
    started = time.perf_counter()
    parts = tuple(
        _part(Path(folder) / task, task, responses // len(tasks), seed, train or _silently, say, encoder)
        for task in tasks
    )
    report = _report(Path(folder), parts)
    return Demo(parts, report, time.perf_counter() - started)


def _part(folder: Path, task: str, count: int, seed: int, train: Train, say: Say, encoder: str) -> Part:
    from fractal.datasets.synthetic import make_responses
    from fractal.evaluation import evaluate
    from fractal.scorers.sentence import SentenceScorer
    from fractal.writers import write

    folder.mkdir(parents=True, exist_ok=True)
    made = make_responses(count, task, seed=seed)
    rated, kept = _divided(made)
    write(rated, folder / "ratings.jsonl")
    write([response.without_labels() for response in kept], folder / "answers.jsonl")
    write(kept, folder / "truth.jsonl")
    sentences = sum(len(response.sentences) for response in rated)
    say(f"{task}: {len(rated):,} rated responses ({sentences:,} sentences without labels), {len(kept):,} kept apart")
    scorer = SentenceScorer(encoder=encoder)
    train(scorer, rated)
    scorer.save_pretrained(folder / "scorer")
    scored = scorer.score_responses(response.without_labels() for response in kept)
    write(scored, folder / "scores.jsonl")
    known = tuple(dataclasses.replace(item, response=truth) for item, truth in zip(scored, kept, strict=True))
    found = evaluate(known)
    say(f"{task}: sentence AUC {found['roc_auc'].value:.3f} on the responses kept apart")
    return Part(task, folder, len(rated), known, found, str(scorer.ensemble_.config()["aggregation"]), scorer.checks_)


def _divided(made: Sequence[Response]) -> tuple[list[Response], list[Response]]:
    """Return the responses that are rated, and those that are kept apart; no group is in both."""
    groups = list(dict.fromkeys(response.split_group for response in made))
    apart = set(groups[::HELD_BACK])
    rated = [_rated(response) for response in made if response.split_group not in apart]
    return rated, [response for response in made if response.split_group in apart]


def _rated(response: Response) -> Response:
    """Return a response as a rater leaves it: one label on the whole, nothing on the sentences."""
    return dataclasses.replace(response.without_labels(), label=response.label, extra={})


def _silently(scorer: SentenceScorer, responses: Sequence[Response]) -> None:
    scorer.fit(responses)


def _report(folder: Path, parts: Iterable[Part]) -> Path:
    from fractal.reports import write_report

    named = {part.task: [_as_aspect(item, part.task) for item in part.scored] for part in parts}
    return write_report(
        folder / "report.html",
        [item for items in named.values() for item in items],
        title="Made responses, scored without one sentence label",
        evaluation={part.task: part.evaluation for part in parts},
        checks={part.task: part.checks for part in parts},
    )


def _as_aspect(item: ScoredResponse, task: str) -> ScoredResponse:
    """Let the report tell tasks apart as it does aspects."""
    label = item.response.label
    known = {} if label is None else {task: label}
    return dataclasses.replace(item, aspect=task, response=dataclasses.replace(item.response, aspects=known))


def contrast(item: ScoredResponse) -> tuple[float, Telling]:
    """Return how far the sentence furthest from the others' mean stands from it, and that sentence."""
    scores = item.sentence_scores
    if len(scores) < 3:
        return 0.0, Telling(item, 0)
    total, others = sum(scores), len(scores) - 1
    gaps = [abs(score - (total - score) / others) for score in scores]
    place = max(range(len(scores)), key=gaps.__getitem__)
    return gaps[place], Telling(item, place)
