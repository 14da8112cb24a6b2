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

__all__ = ["Demo", "Part", "Standout", "run_demo"]

TASKS = ("summaries", "retrieval")
RESPONSES = 1_500
HELD_BACK = 3  # every third group of responses is kept to measure on

Train = Callable[["SentenceScorer", Sequence[Response]], object]
Log = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Standout:
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
    def standouts(self) -> tuple[Standout, ...]:
        """The sentences that stand out most clearly in an otherwise different response."""
        standouts = sorted((contrast(item) for part in self.parts for item in part.scored), key=lambda one: -one[0])
        return tuple(standout for _, standout in standouts[:3])


def run_demo(
    folder: str | Path,
    *,
    responses: int = RESPONSES,
    tasks: Sequence[str] = TASKS,
    seed: int = 0,
    train: Train | None = None,
    log: Log = lambda text: None,
    encoder: str = "minilm",
) -> Demo:
    """Make responses of every task, train a scorer on response labels alone, and measure it against the truth.

    `train` fits a scorer and may show how it goes; `log` is told every step.
    """
    started = time.perf_counter()
    parts = tuple(
        _part(Path(folder) / task, task, responses // len(tasks), seed, train or _silently, log, encoder)
        for task in tasks
    )
    report = _report(Path(folder), parts)
    return Demo(parts, report, time.perf_counter() - started)


def _part(folder: Path, task: str, count: int, seed: int, train: Train, log: Log, encoder: str) -> Part:
    from fractal.datasets.synthetic import make_responses
    from fractal.evaluation import evaluate
    from fractal.scorers.sentence import SentenceScorer
    from fractal.writers import write

    folder.mkdir(parents=True, exist_ok=True)
    responses = make_responses(count, task, seed=seed)
    rated, held_out = _split(responses)
    write(rated, folder / "ratings.jsonl")
    write([response.without_labels() for response in held_out], folder / "answers.jsonl")
    write(held_out, folder / "truth.jsonl")
    sentences = sum(len(response.sentences) for response in rated)
    log(
        f"{task}: {len(rated):,} rated responses ({sentences:,} sentences without labels), {len(held_out):,} kept apart"
    )
    scorer = SentenceScorer(encoder=encoder)
    train(scorer, rated)
    scorer.save_pretrained(folder / "scorer")
    scored = scorer.score_responses(response.without_labels() for response in held_out)
    write(scored, folder / "scores.jsonl")
    labelled = tuple(dataclasses.replace(item, response=truth) for item, truth in zip(scored, held_out, strict=True))
    evaluation = evaluate(labelled)
    log(f"{task}: sentence AUC {evaluation['roc_auc'].value:.3f} on the responses kept apart")
    return Part(
        task, folder, len(rated), labelled, evaluation, str(scorer.ensemble_.config()["aggregation"]), scorer.checks_
    )


def _split(responses: Sequence[Response]) -> tuple[list[Response], list[Response]]:
    """Return the responses that are rated, and those that are kept apart; no group is in both."""
    groups = list(dict.fromkeys(response.split_group for response in responses))
    apart = set(groups[::HELD_BACK])
    rated = [_rated(response) for response in responses if response.split_group not in apart]
    return rated, [response for response in responses if response.split_group in apart]


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
    labels = {} if label is None else {task: label}
    return dataclasses.replace(item, aspect=task, response=dataclasses.replace(item.response, aspects=labels))


def contrast(item: ScoredResponse) -> tuple[float, Standout]:
    """Return how far the sentence furthest from the others' mean stands from it, and that sentence."""
    scores = item.sentence_scores
    if len(scores) < 3:
        return 0.0, Standout(item, 0)
    total, others = sum(scores), len(scores) - 1
    gaps = [abs(score - (total - score) / others) for score in scores]
    place = max(range(len(scores)), key=gaps.__getitem__)
    return gaps[place], Standout(item, place)
