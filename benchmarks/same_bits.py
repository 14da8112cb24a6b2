"""Whether a change of the code changed what is fitted: four small scorers, their heads and scores as digests.

    python -m benchmarks.same_bits --write FOLDER      # before the change
    python -m benchmarks.same_bits --against FOLDER    # after it: the same machine, the same libraries

`--write` keeps the saved scorers too, so that `--against` also says whether they still load with equal scores. Sentence
scores are held to the last bit; the calibration curve of response scores is an optimiser's, and may move by 1e-4.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from fractal import AspectScorer, Preference, Response, ScoredResponse, SentenceScorer, make_responses

RULES = {"sound": "product", "wrong": "mean"}
MOST_MOVED = 1e-4


def small(**options: object) -> SentenceScorer:
    """A scorer with every default but the encoder, at a few epochs."""
    scorer = SentenceScorer(encoder="hashing(dim=64)", cache=False, **options)
    return scorer.set_params(plan__epochs=6, plan__members=3, plan__folds=3)


def rated(count: int, seed: int) -> list[Response]:
    return make_responses(count, task="summaries", seed=seed)


def two_aspects(count: int, seed: int) -> list[Response]:
    responses = []
    for response in rated(count, seed):
        truths = [float(sentence.label or 0.0) for sentence in response.sentences]
        labels = {"sound": min(truths), "wrong": 1 - sum(truths) / len(truths)}
        responses.append(replace(response.without_labels(), aspects=labels, extra={}))
    return responses


def pairs(count: int, seed: int) -> list[Preference]:
    """Two answers to one question each: the better one has fewer untrue sentences."""
    by_query: dict[str, list[Response]] = {}
    for response in make_responses(4 * count, task="answers", seed=seed):
        by_query.setdefault(response.query, []).append(response)
    answers = [response for group in by_query.values() for response in group]
    found = []
    for first, second in zip(answers[::2], answers[1::2], strict=False):
        shared = replace(second, query=first.query, context=first.context)
        one, two = sorted((first, shared), key=lambda r: -(r.label or 0.0))
        found.append(Preference(one.without_labels(), two.without_labels(), tie=one.label == two.label))
    return found[:count]


CASES: dict[str, Callable[[], object]] = {
    "one label": lambda: small().fit(rated(150, 1)),
    "pairs": lambda: small(aggregation="mean").fit(pairs(120, 2)),
    "aspects": lambda: AspectScorer(RULES, small()).fit(two_aspects(150, 1)),
    "self-training": lambda: _self_training().fit(rated(150, 1)),
}


def _self_training() -> SentenceScorer:
    from fractal import SelfTraining  # type: ignore[attr-defined, unused-ignore]

    return small(aggregation="product", priors=("correlation(weight=0.1)",), self_training=SelfTraining(rounds=1))


def scores(scorer: object) -> list[ScoredResponse]:
    responses = rated(40, 9)
    return [*scorer.score_responses(responses), *scorer.disaggregate(rated(150, 1)[:40])]  # type: ignore[attr-defined]


def digest(values: Iterable[object]) -> str:
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:16]


def of_scores(scored: Iterable[ScoredResponse]) -> str:
    return digest((s.aspect, s.response_score, s.sentence_scores, s.sentence_spread) for s in scored)


def of_sentences(scored: Iterable[ScoredResponse]) -> str:
    return digest((s.aspect, s.sentence_scores, s.sentence_spread) for s in scored)


def main() -> None:
    """Fit every case and write, or compare, what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("--write", type=Path)
    either.add_argument("--against", type=Path)
    options = parser.parse_args()
    folder: Path = options.write or options.against
    file = folder / "digests.json"
    fitted = {}
    for name, fit in CASES.items():
        scorer = fit()
        fitted[name] = scores(scorer)
        print(f"{name}: {of_scores(fitted[name])}", flush=True)
        if options.write:
            scorer.save_pretrained(folder / name)  # type: ignore[attr-defined]
    if options.write:
        file.write_text(json.dumps({name: of_scores(scored) for name, scored in fitted.items()}, indent=1) + "\n")
        return
    sys.exit(_compare(json.loads(file.read_text()), fitted, folder))


def _compare(before: dict[str, str], fitted: dict[str, list[ScoredResponse]], folder: Path) -> int:
    from fractal import load_scorer  # type: ignore[attr-defined, unused-ignore]

    wrong, moved = [], 0.0
    for name, now in fitted.items():
        old = scores(load_scorer(folder / name, cache=False))
        wrong += [f"{name}, saved before, scores otherwise"] if of_scores(old) != before[name] else []
        wrong += [f"{name} is fitted otherwise"] if of_sentences(old) != of_sentences(now) else []
        moved = max(moved, *(abs(a.response_score - b.response_score) for a, b in zip(old, now, strict=True)))
    if moved > MOST_MOVED:
        wrong.append(f"response scores moved by up to {moved:.1e}")
    note = f"; response scores moved by up to {moved:.1e}" if moved else ""
    print("\n".join(wrong) or f"the same bits, and saved scorers load with equal scores{note}")
    return 1 if wrong else 0


if __name__ == "__main__":
    main()
