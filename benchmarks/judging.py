"""What judging whole responses once costs and brings, against judging every sentence: judges of stated accuracy.

python -m benchmarks.judging [--sets processbench,absa16_reviews] [--seeds 1]      resumable: what was measured is kept

No model is called: a judge is simulated on the real labels, right with the stated accuracy on each thing it is asked.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.accuracy.data import RealSet, load
from benchmarks.logbook import Logbook, options
from benchmarks.machine import setting
from fractal.records import Response

SETS = ("processbench", "wikiqa", "absa16_reviews")
COUNTS = (300, 1000)
ACCURACIES = (0.7, 0.8, 0.9, 1.0)
ENCODER = "fast"
WAYS = ("responses, once", "every sentence")


def judged(responses: Sequence[Response], way: str, accuracy: float, seed: int) -> list[Response]:
    """Return responses with what a judge says: of each as a whole, or of each of its sentences."""
    draw = np.random.default_rng([seed, round(100 * accuracy)])

    def said(label: float | None) -> float | None:
        return None if label is None else float(label if draw.random() < accuracy else 1 - label)

    if way == "responses, once":
        return [replace(response.without_labels(), label=said(response.label)) for response in responses]
    return [
        replace(response, label=None, sentences=tuple(replace(s, label=said(s.label)) for s in response.sentences))
        for response in responses
    ]


def bill(responses: Sequence[Response], way: str) -> tuple[int, int]:
    """Return the calls and the tokens that a judge takes, by the estimate of `fractal rate`."""
    from fractal.datasets.judges import ANSWER_TOKENS, CHARACTERS_A_TOKEN, RUBRIC, prompt_for

    calls = tokens = 0
    for response in responses:
        asked = len(prompt_for(response, RUBRIC))
        prompts = [asked] if way == "responses, once" else [asked + len(s.text) for s in response.sentences]
        calls += len(prompts)
        tokens += sum(-(-prompt // CHARACTERS_A_TOKEN) + ANSWER_TOKENS for prompt in prompts)
    return calls, tokens


def measure(name: str, count: int, accuracy: float, way: str, seed: int) -> dict:
    """Learn from what a judge says of so many responses, and score the sentences of the test split."""
    from fractal import SentenceScorer, TrainingPlan

    data = load(name, count, seed)
    train = [record for record in data.train if isinstance(record, Response)]
    learn_from = "responses" if way == "responses, once" else "sentences"
    scorer = SentenceScorer(
        encoder=ENCODER, aggregation=data.aggregation, learn_from=learn_from, plan=TrainingPlan(seed=seed)
    )
    scorer.fit(judged(train, way, accuracy, seed))
    calls, tokens = bill(train, way)
    row = {"set": name, "count": count, "accuracy": accuracy, "way": way, "seed": seed, "responses": len(train)}
    return row | {"calls": calls, "tokens": tokens, "auc": sentence_auc(scorer, data)}


def sentence_auc(scorer, data: RealSet) -> float:
    """Return the ROC AUC of the sentences of the test split."""
    from fractal.evaluation.metrics import METRICS

    scored = scorer.score_responses([response.without_labels() for response in data.test])
    labels = [sentence.label for response in data.test for sentence in response.sentences]
    scores = [score for item in scored for score in item.sentence_scores]
    known = [(label, score) for label, score in zip(labels, scores, strict=True) if label is not None]
    return float(METRICS.build("roc_auc")(*map(list, zip(*known, strict=True))))


def page(rows: Sequence[dict]) -> str:
    """Return the table."""
    seeds = 1 + max(row["seed"] for row in rows)
    lines = ["# Judging responses once, or every sentence", ""]
    lines += [f"{setting(f'python -m benchmarks.judging --seeds {seeds}')} Shared with other work.", "", *ABOUT, ""]
    heads = ("set", "responses", "judge's accuracy", "responses once: calls", "tokens", "**sentence AUC**")
    heads += ("every sentence: calls", "tokens", "AUC, learned from", "AUC of the judge on a sentence", "seeds")
    lines += [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    cells = dict.fromkeys((row["set"], row["count"], row["accuracy"]) for row in rows)
    for name, count, accuracy in sorted(cells, key=lambda cell: (SETS.index(cell[0]), *cell[1:])):
        by_way = {
            way: [
                row
                for row in rows
                if (row["set"], row["count"], row["accuracy"], row["way"]) == (name, count, accuracy, way)
            ]
            for way in WAYS
        }
        once, each = (by_way[way] for way in WAYS)
        parts = [
            name,
            f"{(once or each)[0]['responses']:,}",
            f"{accuracy:g}",
            *_cost(once)[:2],
            f"**{_cost(once)[2]}**",
        ]
        lines.append(f"| {' | '.join([*parts, *_cost(each), f'{accuracy:.3f}', str(len(once))])} |")
    lines += ["", *conclusion(rows)]
    return "\n".join(lines) + "\n"


def conclusion(rows: Sequence[dict]) -> list[str]:
    """Say what the table comes to, in words."""
    by_cell = {(row["set"], row["count"], row["accuracy"], row["seed"], row["way"]): row for row in rows}
    lines = []
    for accuracy in sorted({row["accuracy"] for row in rows}):
        pairs = [
            (once, by_cell[(*key[:4], WAYS[1])])
            for key, once in by_cell.items()
            if key[2] == accuracy and key[4] == WAYS[0] and (*key[:4], WAYS[1]) in by_cell
        ]
        areas = [float(np.mean([pair[side]["auc"] for pair in pairs])) for side in (0, 1)]
        share = np.mean([once["tokens"] / each["tokens"] for once, each in pairs])
        lines.append(
            f"- A judge of accuracy {accuracy:g}: judging responses once takes {share:.0%} of the tokens that judging "
            f"every sentence of them takes, and its scorer has {areas[0]:.3f} for {areas[1]:.3f}."
        )
    return lines


def _cost(rows: Sequence[dict]) -> tuple[str, str, str]:
    if not rows:
        return "–", "–", "not run"
    return f"{rows[0]['calls']:,}", f"{rows[0]['tokens']:,}", f"{np.mean([row['auc'] for row in rows]):.3f}"


ABOUT = (
    "A judge is simulated on the real labels: right with the stated accuracy, good or bad, on each thing it is asked.",
    f"Encoder `{ENCODER}`, the set's own aggregation, the default plan. *Responses once*: one call a response, then",
    "`fractal train`. *Every sentence*: one call a sentence, with its response and context; *learned from*: a scorer",
    "taught these sentence labels, which takes that many calls once; *the judge on a sentence*: no scorer, each new",
    "sentence is judged, a call each. Tokens by the estimate of `fractal rate` (a token is 4 characters).",
)


def main() -> None:
    """Measure what is missing and write the page."""
    parser = options(__doc__, "judging", SETS, 1)
    parser.add_argument("--accuracies", default=",".join(map(str, ACCURACIES)))
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)))
    arguments = parser.parse_args()
    book = Logbook(arguments.log, "set", "count", "accuracy", "way", "seed")
    for seed in range(arguments.seeds):
        for name in arguments.sets.split(","):
            for count in map(int, arguments.counts.split(",")):
                for accuracy in map(float, arguments.accuracies.split(",")):
                    for way in WAYS:
                        if (name, count, accuracy, way, seed) not in book:
                            print(book.add(measure(name, count, accuracy, way, seed)), flush=True)
    arguments.out.write_text(page(book.rows), encoding="utf-8")


if __name__ == "__main__":
    main()
