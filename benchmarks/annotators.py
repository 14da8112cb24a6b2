"""Simulated annotators in the studio: sentence AUC against the number of corrections, by its queue and at random.

    python -m benchmarks.annotators [--sets absa16_reviews,multispanqa_windows,wikiqa] [--seeds 3] [--most 400]

Everything goes through the studio's own database and worker: responses are imported with their labels alone, a scorer
is trained, an annotator answers the next sentences by the true labels, the scorer is trained anew. Judged on the test
responses, which the studio never holds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.accuracy.data import load
from benchmarks.accuracy.judging import judge
from benchmarks.logbook import Logbook, options
from benchmarks.machine import setting
from benchmarks.server import Bench
from fractal import Response
from fractal.server.corpus import load_responses, now, sentence_labels
from fractal.server.opinions import correct
from fractal.server.suggesting import dealt

SETS = ("absa16_reviews", "multispanqa_windows", "wikiqa")
STEPS = (0, 20, 50, 100, 200)  # corrections in all
WAYS = ("queue", "random")


def measure(name: str, way: str, seed: int, most: int, encoder: str) -> list[dict]:
    """Correct and train, step by step; one row a step."""
    data = load(name, most=most, seed=seed)
    truth = {r.id: [s.label for s in r.sentences] for r in data.train if isinstance(r, Response)}
    bare = [response.without_labels() for response in data.test]
    rng = np.random.default_rng(seed)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.bring([response for response in data.bare() if isinstance(response, Response)])
        done = 0
        for step in STEPS:
            if step:
                answer(bench, next_sentences(bench, way, step - done, rng), truth)
            done = step
            bench.train(rule=data.aggregation, encoder=encoder)
            version = bench.newest()
            scorer = bench.studio.scorers.load(version.folder_hash)
            figures = judge(scorer.score_responses(bare), data.test, name)
            held_out = version.evaluation["after"].get("responses", {}).get("auc")
            rows.append(
                {"set": name, "way": way, "seed": seed, "most": most, "encoder": encoder, "corrections": step}
                | {"auc": figures["auc"], "within": figures["within"], "held out": held_out}
            )
            print(rows[-1], flush=True)
        bench.studio.close()
    return rows


def next_sentences(bench: Bench, way: str, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return the sentences that the annotator sees next, as pairs of a response's row and a place."""
    with bench.studio.database.read() as session:
        if way == "queue":
            return [(one["response"], one["place"]) for one in dealt(session, bench.newest(), "annotator", count)]
        responses = load_responses(session, now(session, bench.project.id))
        judged = sentence_labels(session, list(responses))
    fresh = [(row, place) for row, r in responses.items() for place in range(len(r.sentences))]
    fresh = [key for key in fresh if key not in judged]
    return [fresh[number] for number in rng.permutation(len(fresh))[:count]]


def answer(bench: Bench, sentences: Sequence[tuple[int, int]], truth: dict[str, list[float | None]]) -> None:
    """Enter the true label of each sentence; one without a true label is skipped, as a person would."""
    with bench.studio.database.write() as session:
        responses = load_responses(session, now(session, bench.project.id))
        said = []
        for row, place in sentences:
            label = truth[responses[row].id][place]
            verdict = "skip" if label is None else "good" if label > 0.5 else "bad"
            said.append({"response": row, "place": place, "verdict": verdict})
        correct(session, bench.project.id, "annotator", said)


def table(rows: Sequence[dict]) -> list[str]:
    """Return the means over seeds, a line a set and way."""
    lines = ["| set | annotator sees | " + " | ".join(map(str, STEPS)) + " |", "|---|---|" + "---:|" * len(STEPS)]
    names = [*dict.fromkeys(row["set"] for row in rows)]
    for name in [*names, "**macro**"]:
        for way in WAYS:
            cells = []
            for step in STEPS:
                part = [
                    r for r in rows if r["way"] == way and r["corrections"] == step and name in (r["set"], "**macro**")
                ]
                areas = f"{np.mean([r['auc'] for r in part]):.3f} / {np.mean([r['within'] for r in part]):.3f}"
                cells.append(areas if part else "–")
            lines.append(
                f"| {name} | {'the queue' if way == 'queue' else 'any sentence'} | " + " | ".join(cells) + " |"
            )
    return lines


def conclusion(rows: Sequence[dict]) -> str:
    """Say what the table comes to, in words."""

    def gain(way: str, step: int, key: str) -> float:
        mean = {s: np.mean([r[key] for r in rows if r["way"] == way and r["corrections"] == s]) for s in (0, step)}
        return float(mean[step] - mean[0])

    parts = [
        f"after {step}, {gain('queue', step, 'auc'):+.3f} / {gain('queue', step, 'within'):+.3f} by the queue and "
        f"{gain('random', step, 'auc'):+.3f} / {gain('random', step, 'within'):+.3f} on any sentence"
        for step in (STEPS[1], STEPS[-1])
    ]
    return (
        f"What corrections bring on average: {'; '.join(parts)}. What the queue adds is small beside what correcting "
        "brings, and it is not there on every set: correct what you see, and by the queue where you may choose."
    )


def main() -> None:
    """Measure what is missing, and write the table."""
    parser = options(__doc__, "annotators", SETS, 3)
    parser.add_argument("--most", type=int, default=400)
    parser.add_argument("--encoder", default="static")
    args = parser.parse_args()
    book = Logbook(args.log, "set", "way", "seed", "most", "encoder", "corrections")
    for seed in range(args.seeds):
        for name in args.sets.split(","):
            for way in WAYS:
                if (name, way, seed, args.most, args.encoder, STEPS[-1]) not in book:
                    for row in measure(name, way, seed, args.most, args.encoder):
                        book.add(row)
    rows = [row for row in book.rows if row["most"] == args.most and row["encoder"] == args.encoder]
    head = [
        "# Simulated annotators in the studio",
        f"{setting(f'python -m benchmarks.annotators --most {args.most} --encoder {args.encoder}')}",
        "Sentence ROC AUC / that inside responses, on test responses, by the number of corrections; the first column "
        f"is the scorer of response labels alone. At most {args.most} training responses a set, "
        f"encoder `{args.encoder}`, {args.seeds} seeds, the rule given. An annotator answers by the true label.",
        "\n".join(table(rows)),
        conclusion(rows),
    ]
    args.out.write_text("\n\n".join(head) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
