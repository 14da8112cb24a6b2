"""The runs of the customer-service sets, their marks, what simple rules say of them, and intervals by task."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fractal.records import Response
from fractal.records.steps import step_of

RESAMPLES = 1000
RETAIL, AIRLINE = "agents_tau_retail", "agents_tau_airline"
RULES = (
    *("random", "first", "last", "longest", "first error result", "cosine", "last call"),
    *("last writing call", "writing call most unlike passed runs"),
)
WRITES = (  # what the rules are told, and the scorer is not
    *("cancel_", "modify_", "return_delivered", "exchange_", "update_", "book_", "send_certificate"),
    "transfer_to_human",
)
Values = Sequence[Sequence[float]]  # of each run, of each step


def load(name: str) -> list[Response]:
    """Read every run of a set: a label, steps, the group of its task, and in `meta` what the set's page tells.

    The marks of people are in `meta["human"]`, read by `marked` alone.
    """
    from benchmarks.accuracy.data import folder

    runs = []
    for split in ("train", "valid", "test"):
        with gzip.open(folder() / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                labels = row["sentence_labels"]
                judged = any(label is not None for label in labels)
                meta = row["meta"] | {"human": labels.index(0) if 0 in labels else None, "judged": judged}
                query = next((part.user for part in map(step_of, row["sentences"]) if part.user), "")
                fields = {"query": query, "label": float(row["label"]), "group": meta["group"]}
                extra = {"aggregation": "min", "meta": meta}
                runs.append(Response.from_sentences(row["id"], row["sentences"], **fields, extra=extra))
    return runs


def bare(runs: Sequence[Response]) -> list[Response]:
    """Leave nothing to learn from but texts, outcomes and groups."""
    return [replace(run, extra={"aggregation": "min"}) for run in runs]


def marked(runs: Sequence[Response], kind: str) -> dict[int, int]:
    """Return the marked step of each failed run that has one, by the run's place.

    `silver` are a machine's, of runs that no person judged; `human` those of people; `agent` the ones among these that
    blame the agent, not the user that it answers.
    """
    marks = {}
    for place, run in enumerate(runs):
        meta = run.extra["meta"]
        if kind == "silver":
            mark = None if meta["judged"] else meta["silver_step"]
        else:
            blamed = (meta.get("annotation") or {}).get("fault")
            mark = meta["human"] if kind == "human" or blamed == "agent" else None
        if run.label == 0 and mark is not None:
            marks[place] = mark
    return marks


def lowest_three(scores: Values) -> list[list[int]]:
    """Return the three steps of each run with the lowest scores, the lowest first."""
    return [np.argsort(values, kind="stable")[:3].tolist() for values in scores]


def hit_rates(runs: Sequence[Response], lowest: Sequence[Sequence[Sequence[int]]], kind: str) -> tuple[list, ...]:
    """Return top-1 and top-3, each with an interval by task: of every seed the three lowest steps of each run."""
    marks = marked(runs, kind)
    places = list(marks)
    hits = np.array([[_hit(of_seed[place], marks[place]) for place in places] for of_seed in lowest]).mean(0)
    groups = [str(runs[place].group) for place in places]
    return tuple(with_interval(groups, lambda weights, at=at: _mean(hits[:, at], weights)) for at in (0, 1))


def _hit(lowest: Sequence[int], mark: int) -> tuple[bool, bool]:
    return lowest[0] == mark, mark in lowest


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float(weights @ values / max(weights.sum(), 1e-12))


def with_interval(groups: Sequence[str], value: Callable[[np.ndarray], float]) -> list[float]:
    """Return a figure of weighed cases, with its interval of 95% where the groups are drawn anew."""
    codes = np.unique(groups, return_inverse=True)[1]
    count = codes.max() + 1
    draws = np.random.default_rng(0).multinomial(count, [1 / count] * count, RESAMPLES)
    drawn = [value(weights[codes].astype(float)) for weights in draws]
    return [value(np.ones(len(codes))), *np.nanquantile(drawn, [0.025, 0.975]).tolist()]


def outcome_auc(runs: Sequence[Response], scores: Sequence[Sequence[float]]) -> list[float]:
    """Return the ROC AUC of passed against failed runs, mean over seeds, with an interval by task."""
    passed = np.array([run.label == 1 for run in runs])
    ranks = [np.unique(of_seed, return_inverse=True)[1] for of_seed in scores]

    def value(weights: np.ndarray) -> float:
        return float(np.mean([_auc(rank, passed, weights) for rank in ranks]))

    return with_interval([str(run.group) for run in runs], value)


def _auc(rank: np.ndarray, passed: np.ndarray, weights: np.ndarray) -> float:
    """Return the share of weight of pairs in order; equal scores are half in order."""
    good = np.bincount(rank, weights * passed)
    bad = np.bincount(rank, weights * ~passed)
    below = np.cumsum(bad) - bad
    whole = good.sum() * bad.sum()
    return float(good @ (below + bad / 2) / whole) if whole else float("nan")


def best_of_runs(runs: Sequence[Response], scores: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    """Return how often the run picked of a task passes: by score, at random, the shortest; with intervals by task."""
    groups: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(str(run.group), []).append(place)
    several = [places for places in groups.values() if len(places) > 1]
    label = np.array([run.label or 0.0 for run in runs])
    length = np.array([len(run.sentences) for run in runs])
    picks = {
        "by score": np.mean([[label[max(p, key=lambda at: one[at])] for p in several] for one in scores], axis=0),
        "at random": np.array([label[places].mean() for places in several]),
        "the shortest": np.array([label[places][np.argmin(length[places])] for places in several]),
        "the best there is": np.array([label[places].max() for places in several]),
    }
    names = [str(at) for at in range(len(several))]
    return {name: with_interval(names, lambda weights, v=v: _mean(v, weights)) for name, v in picks.items()}


def rules(runs: Sequence[Response], seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Return the scores of the simple rules, the lowest for the step that each blames."""
    from fractal.encoders import ENCODERS
    from fractal.encoders.embedding import embed
    from fractal.features.similarity import similarities

    rng = np.random.default_rng(seed)
    by_group: dict[str, list[Response]] = {}
    for run in runs:
        if run.label == 1:
            by_group.setdefault(str(run.group), []).append(run)
    block = embed(list(runs), ENCODERS.build("hashing"), None, late=False)
    near = np.split(similarities(block).closeness, block.offsets[1:-1])
    scores: dict[str, list[np.ndarray]] = {name: [] for name in RULES}
    for run, cosine in zip(runs, near, strict=True):
        steps, places = run.extra["meta"]["steps"], np.arange(len(run.sentences), dtype=float)
        calls = np.array([bool(step["tools"]) for step in steps])
        errors = np.array([step["error"] for step in steps])
        writes = np.array([any(tool.startswith(WRITES) for tool in step["tools"]) for step in steps]) & ~errors
        passed = by_group.get(str(run.group), ()) if run.label == 0 else ()
        unlike = np.array([unlikeness(run, at, passed) for at in range(len(steps))])
        scores["random"].append(rng.random(len(places)))
        scores["first"].append(places)
        scores["last"].append(-places)
        scores["longest"].append(-np.array([len(sentence.text) for sentence in run.sentences], float))
        scores["first error result"].append(places - 1000 * errors)
        scores["cosine"].append(cosine)
        scores["last call"].append(-places - 1000 * calls)
        scores["last writing call"].append(-places - 1000 * writes)
        scores["writing call most unlike passed runs"].append(-unlike - 1000 * writes + places / 1000)
    return scores


def unlikeness(run: Response, at: int, passed: Sequence[Response]) -> float:
    """Return 1 − the largest share of words that a step's calls have in common with a step of a passed run."""
    words = _words(run, at)
    best = 0.0
    for other in passed:
        if other.id != run.id and words:
            for place in range(len(other.sentences)):
                theirs = _words(other, place)
                best = max(best, len(words & theirs) / len(words | theirs))
    return 1 - best


_CALL_WORDS: dict[tuple[str, int], frozenset[str]] = {}


def _words(run: Response, at: int) -> frozenset[str]:
    """Return the words of a step's calls."""
    if (run.id, at) not in _CALL_WORDS:
        _CALL_WORDS[run.id, at] = frozenset(" ".join(step_of(run.sentences[at].text).calls).split())
    return _CALL_WORDS[run.id, at]
