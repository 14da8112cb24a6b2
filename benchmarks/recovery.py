"""How much of full supervision response labels alone recover, on generated data with known truth, by label kind.

python -m benchmarks.recovery                       2,000 responses, 5 seeds
python -m benchmarks.recovery --responses 400 --seeds 1 --out /tmp/recovery.md
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from fractal.datasets.synthetic import make_responses, make_splits
from fractal.ensemble.self_training import SelfTraining
from fractal.evaluation.metrics import METRICS
from fractal.mil.training.plan import TrainingPlan
from fractal.records import Preference, Response
from fractal.scorers.sentence import SentenceScorer

KINDS = {  # label kind → what is generated, and the aggregation told to the scorer
    "binary, minimum": ({"task": "summaries", "aggregation": "min"}, "product"),
    "binary, maximum": ({"task": "retrieval", "aggregation": "max"}, "noisy_or"),
    "graded, mean": ({"task": "answers", "aggregation": "mean"}, "mean"),
    "counts": ({"task": "answers", "aggregation": "count"}, "count"),
    "levels, maximum": ({"task": "retrieval", "aggregation": "max_levels", "levels": 4}, "max_levels(levels=4)"),
    "preferences": ({"task": "answers", "preferences": True}, "mean"),
}
ENCODER = "hashing(dim=256)"


def bare(record: Response | Preference) -> Response | Preference:
    """Return what a user has: no sentence labels."""
    if isinstance(record, Preference):
        return dataclasses.replace(record, better=record.better.without_labels(), worse=record.worse.without_labels())
    return dataclasses.replace(record.without_labels(), label=record.label)


def responses_of(records: list[Response | Preference]) -> list[Response]:
    """Return every response once."""
    both = [(r.better, r.worse) if isinstance(r, Preference) else (r,) for r in records]
    return list({response.id: response for pair in both for response in pair}.values())


def measure(kind: str, responses: int, seed: int) -> dict[str, float]:
    """Return the sentence AUC (concordance, of levels) of full supervision and of response labels alone."""
    options, aggregation = KINDS[kind]
    train, test = make_splits(make_responses(responses, seed=seed, **options), (0.8, 0.2), seed)
    judged = responses_of(test)
    truth = np.array([sentence.label for response in judged for sentence in response.sentences], dtype=float)
    shared = {"aggregation": aggregation, "encoder": ENCODER, "cache": False, "plan": TrainingPlan(seed=seed)}
    scorers = {
        "supervised": SentenceScorer(**shared, learn_from="sentences").fit(responses_of(train)),
        "response labels": SentenceScorer(**shared).fit([bare(record) for record in train]),
        "with one round": SentenceScorer(**shared, self_training=SelfTraining(rounds=1)).fit([bare(r) for r in train]),
    }
    found = {}
    for name, scorer in scorers.items():
        scored = scorer.score_responses([response.without_labels() for response in judged])
        scores = np.array([score for one in scored for score in one.sentence_scores])
        found[name] = float(METRICS.build("concordance")(truth, scores))
    return found


def main() -> None:
    """Measure every kind and write the table."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "recovery.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "# Recovery on generated data",
        "",
        f"{args.responses} responses, a fifth of them for testing, mean over {args.seeds} seeds; encoder `{ENCODER}`; "
        f"sentence ROC AUC (concordance, of levels). Python {platform.python_version()}, torch {torch.__version__}, "
        f"one thread. Command: `python -m benchmarks.recovery --responses {args.responses} --seeds {args.seeds}`.",
        "",
        "| label kind | supervised | response labels | of supervised | lowest seed | with one round of self-training |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for kind in KINDS:
        runs = [measure(kind, args.responses, seed) for seed in range(args.seeds)]
        mean = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
        ratios = [run["response labels"] / run["supervised"] for run in runs]
        lines.append(
            f"| {kind} | {mean['supervised']:.3f} | {mean['response labels']:.3f} | {np.mean(ratios):.1%} "
            f"| {min(ratios):.1%} | {mean['with one round']:.3f} |"
        )
        print(lines[-1], flush=True)
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
