"""Which step broke an agent's run, learned from passes and failures alone: marks found first and among the first three.

python -m benchmarks.agents [--seeds 2] [--human]      resumable: what was measured is kept

Sets: agents_tau_retail, in both settings (runs of new tasks are scored; rated runs are disaggregated), by `meta.fold`,
and agents_tau_airline for transfer. `--human` reads the marks of people too: once, at the end.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.logbook import Logbook, options
from benchmarks.machine import setting
from fractal.records import Response, ScoredResponse

FOLDS = 5
RESAMPLES = 1000
EPOCHS = 60
RETAIL, AIRLINE = "agents_tau_retail", "agents_tau_airline"
WAYS = ("disaggregate", "shuffled outcomes", "score new tasks", "transfer to airline", "transfer to retail")
RULES = (
    *("random", "first", "last", "longest", "first error", "cosine", "last call", "last writing call"),
    "writing call most unlike passed runs",
)
WRITES = (  # what the rules are told, and the scorer is not
    *(
        "cancel_",
        "modify_",
        "return_delivered",
        "exchange_",
        "update_",
        "book_",
        "send_certificate",
        "transfer_to_human",
    ),
)


def load(name: str) -> list[Response]:
    """Read every run of a set: a label, steps, the group of its task, and in `meta` what the set's page tells."""
    from benchmarks.accuracy.data import folder

    runs = []
    for split in ("train", "valid", "test"):
        with gzip.open(folder() / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                meta = row["meta"] | {
                    "human": human_mark(row),
                    "judged": any(x is not None for x in row["sentence_labels"]),
                }
                extra = {"aggregation": "min", "meta": meta}
                fields = {"query": first_turn(row["sentences"]), "label": float(row["label"]), "group": meta["group"]}
                runs.append(Response.from_sentences(row["id"], row["sentences"], **fields, extra=extra))
    return runs


def human_mark(row: dict) -> int | None:
    """Return the step that people marked, where they blame the agent or the user that it answered."""
    labels = row["sentence_labels"]
    return labels.index(0) if 0 in labels else None


def first_turn(steps: Sequence[str]) -> str:
    """Return the first thing the user says: all that production traces have of the task."""
    from fractal.records.steps import step_of

    return next((part.user for part in map(step_of, steps) if part.user), "")


def marks(run: Response, kind: str) -> int | None:
    """Return the marked step of a failed run; silver ones of runs that no person judged."""
    meta = run.extra["meta"]
    if run.label == 1:
        return None
    return meta["human"] if kind == "human" else (None if meta["judged"] else meta["silver_step"])


def hits(runs: Sequence[Response], scores: Sequence[Sequence[float]], kind: str) -> list[tuple[str, float, float]]:
    """Return for each marked run its group, and whether the mark is lowest, and among the lowest three."""
    found = []
    for run, values in zip(runs, scores, strict=True):
        mark = marks(run, kind)
        if mark is not None:
            place = int(np.flatnonzero(np.argsort(values, kind="stable") == mark)[0])
            found.append((str(run.group), float(place < 1), float(place < 3)))
    return found


def tops(found: Sequence[tuple[str, float, float]], seed: int = 0) -> dict[str, list[float]]:
    """Return the share of hits with an interval that is drawn by group."""
    groups = sorted({group for group, *_ in found})
    table = np.array([hit[1:] for hit in found])
    place = np.array([groups.index(group) for group, *_ in found])
    draws = np.random.default_rng(seed).multinomial(len(groups), [1 / len(groups)] * len(groups), RESAMPLES)
    weights = draws[:, place]
    means = weights @ table / np.maximum(weights.sum(1, keepdims=True), 1)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return {f"top{n}": [float(table[:, at].mean()), float(low[at]), float(high[at])] for at, n in enumerate((1, 3))}


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
        writes = np.array([any(tool.startswith(WRITES) for tool in step["tools"]) for step in steps])
        writes &= ~np.array([step["error"] for step in steps])
        unlike = np.array([unlikeness(run, at, by_group.get(str(run.group), ())) for at in range(len(steps))])
        scores["random"].append(rng.random(len(places)))
        scores["first"].append(places)
        scores["last"].append(-places)
        scores["longest"].append(-np.array([len(sentence.text) for sentence in run.sentences], float))
        scores["first error"].append(places - 1000 * np.array([step["error"] for step in steps]))
        scores["cosine"].append(cosine)
        scores["last call"].append(-places - 1000 * calls)
        scores["last writing call"].append(-places - 1000 * writes)
        scores["writing call most unlike passed runs"].append(-unlike - 1000 * writes + places / 1000)
    return scores


def unlikeness(run: Response, at: int, passed: Sequence[Response]) -> float:
    """Return 1 − the largest share of words that a step's calls have in common with a step of a passed run."""
    words = set(" ".join(parts_of(run, at)).split())
    best = 0.0
    for other in passed:
        if other.id != run.id and words:
            for place in range(len(other.sentences)):
                theirs = set(" ".join(parts_of(other, place)).split())
                best = max(best, len(words & theirs) / len(words | theirs))
    return 1 - best


_PARTS: dict[tuple[str, int], tuple[str, ...]] = {}


def parts_of(run: Response, at: int) -> tuple[str, ...]:
    """Return the calls of a step."""
    from fractal.records.steps import step_of

    if (run.id, at) not in _PARTS:
        _PARTS[run.id, at] = step_of(run.sentences[at].text).calls
    return _PARTS[run.id, at]


class Fitted:
    """What `recipe="auto"` learns from runs, without vectors, which its experts do not read, and without the checks."""

    def __init__(self, runs: Sequence[Response], seed: int) -> None:
        from fractal import SentenceScorer, TrainingPlan
        from fractal.ensemble.fit import fit_ensembles
        from fractal.scorers.membership import HeldOutIndex
        from fractal.scorers.runs import texts_only

        plan = TrainingPlan(seed=seed, epochs=EPOCHS, batch_size=128, members=5, folds=5)
        options = SentenceScorer(plan=plan)
        corpus, config = options.prepare(list(runs))
        block = texts_only(corpus.responses)
        result = fit_ensembles(block, corpus, {"": options.forms(corpus)}, config)[""]
        self.ensemble_ = result.ensemble
        self.held_out = HeldOutIndex.of(corpus.responses, result.weights)

    def __call__(self, runs: Sequence[Response], *, given: bool = False) -> list[ScoredResponse]:
        """Score runs, or label the steps of rated ones by the heads that did not learn from their task."""
        import torch

        from fractal.ensemble.experts import Predictor
        from fractal.scorers.runs import texts_only

        block = texts_only(runs)
        logits = self.ensemble_.logits(Predictor(block)).detach()
        share = torch.from_numpy(self.held_out.shares(runs, logits.shape[-1]))
        middle = (logits * share[torch.from_numpy(block.sentence_bag)]).sum(-1, keepdim=True)
        rule, offsets = self.ensemble_.aggregation, torch.from_numpy(block.offsets)
        scores = rule.probabilities(middle)
        if given:
            scores = rule.posterior(scores, offsets, torch.tensor([run.label for run in runs], dtype=torch.float32))
        whole = rule.from_logits(middle, offsets).sigmoid().squeeze(1).tolist()
        parts = np.split(scores.squeeze(1).double().clamp(0, 1).numpy(), block.offsets[1:-1])
        return [ScoredResponse(run, tuple(p.tolist()), w) for run, p, w in zip(runs, parts, whole, strict=True)]


def bare(runs: Sequence[Response]) -> list[Response]:
    """Leave nothing to learn from but texts, outcomes and groups."""
    return [replace(run, extra={"aggregation": "min"}) for run in runs]


def measure(way: str, seed: int, human: bool) -> dict:
    """Fit and score in one way, and return the hits."""
    runs, scored, verdicts = {
        "disaggregate": disaggregated,
        "shuffled outcomes": shuffled,
        "score new tasks": new_tasks,
        "transfer to airline": lambda seed: transfer(RETAIL, AIRLINE, seed),
        "transfer to retail": lambda seed: transfer(AIRLINE, RETAIL, seed),
    }[way](seed)
    from fractal.evaluation.metrics import METRICS

    scores = [item.sentence_scores for item in scored]
    row: dict = {
        "way": way,
        "seed": seed,
        "human": human,
        **{f"silver {k}": v for k, v in tops(hits(runs, scores, "silver")).items()},
    }
    if human and way in ("disaggregate", "score new tasks"):
        row |= {f"human {k}": v for k, v in tops(hits(runs, scores, "human")).items()}
        row["human marks"] = len(hits(runs, scores, "human"))
    if way not in ("disaggregate", "shuffled outcomes"):  # where the outcome is known there is nothing to tell
        row["outcome AUC"] = float(
            METRICS.build("roc_auc")([r.label for r in runs], [s.response_score for s in scored])
        )
        row |= best_of(runs, [item.response_score for item in scored])
    if verdicts is not None:
        row |= missing_shares(runs, verdicts)
    return row


def disaggregated(seed: int):
    """Learn from all rated runs and label their steps: each by heads that did not learn from its task."""
    from fractal.scorers.runs import run_verdicts

    runs = load(RETAIL)
    fitted = Fitted(bare(runs), seed)
    scored = fitted(bare(runs), given=True)
    return runs, scored, run_verdicts(fitted, scored)


def shuffled(seed: int):
    """Shuffle the outcomes within each task, and do the same: what is left has not come from them."""
    runs = load(RETAIL)
    rng = np.random.default_rng(seed)
    labels = np.array([run.label for run in runs])
    groups = np.array([run.group for run in runs])
    for group in np.unique(groups):
        labels[groups == group] = rng.permutation(labels[groups == group])
    mixed = [replace(run, label=float(label)) for run, label in zip(bare(runs), labels, strict=True)]
    scored = Fitted(mixed, seed)([replace(run, label=0.0) for run in mixed], given=True)
    return runs, scored, None


def new_tasks(seed: int):
    """Score the runs of each fold by a scorer of the other folds: no run of the task was seen."""
    runs = load(RETAIL)
    folds = np.array([run.extra["meta"]["fold"] for run in runs])
    scored: list = [None] * len(runs)
    for fold in range(FOLDS):
        rest = [run for run, own in zip(bare(runs), folds, strict=True) if own != fold]
        places = np.flatnonzero(folds == fold)
        ours = Fitted(rest, seed)([bare([runs[place]])[0].without_labels() for place in places])
        for place, item in zip(places, ours, strict=True):
            scored[place] = item
    return runs, scored, None


def transfer(learned: str, tested: str, seed: int):
    """Learn from one set's runs, score the other's."""
    runs = load(tested)
    fitted = Fitted(bare(load(learned)), seed)
    return runs, fitted([run.without_labels() for run in bare(runs)]), None


def best_of(runs: Sequence[Response], scores: Sequence[float]) -> dict[str, float]:
    """Return how often the picked run of a task passes: by score, at random, the shortest."""
    groups: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(str(run.group), []).append(place)
    several = [places for places in groups.values() if len(places) > 1]
    picks: dict[str, Callable[[list[int]], float]] = {
        "best of N": lambda places: runs[max(places, key=lambda p: scores[p])].label or 0.0,
        "random of N": lambda places: float(np.mean([runs[p].label for p in places])),
        "shortest of N": lambda places: runs[min(places, key=lambda p: len(runs[p].sentences))].label or 0.0,
    }
    return {name: float(np.mean([pick(places) for places in several])) for name, pick in picks.items()}


def missing_shares(runs: Sequence[Response], verdicts) -> dict[str, float]:
    """Return which share of failures is said to lack something: those without a wrong step, and the others."""
    failed = [(run, verdict) for run, verdict in zip(runs, verdicts, strict=True) if run.label == 0]
    without = [bool(v.missing) for run, v in failed if run.extra["meta"]["silver_step"] is None]
    others = [bool(v.missing) for run, v in failed if run.extra["meta"]["silver_step"] is not None]
    return {"missing: no wrong step": float(np.mean(without)), "missing: a wrong step": float(np.mean(others))}


def rule_rows(human: bool) -> list[dict]:
    """Return the hits of the simple rules."""
    runs = load(RETAIL)
    rows = []
    for name, scores in rules(runs).items():
        row = {"rule": name, **{f"silver {k}": v for k, v in tops(hits(runs, scores, "silver")).items()}}
        if human:
            row |= {f"human {k}": v for k, v in tops(hits(runs, scores, "human")).items()}
        rows.append(row)
    return rows


def page(rows: Sequence[dict], baselines: Sequence[dict], command: str) -> str:
    """Return the tables."""
    lines = ["# Which step broke the run", "", f"{setting(command)} {EXPLANATION}", ""]
    lines += [
        "| way | seeds | silver top-1 | silver top-3 | human top-1 | human top-3 | AUC of outcomes |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for rule in baselines:
        lines.append(f"| rule: {rule['rule']} | – | {_cells([rule])} | – |")
    for way in WAYS:
        of_way = [row for row in rows if row["way"] == way]
        if of_way:
            auc = [row["outcome AUC"] for row in of_way if "outcome AUC" in row]
            lines.append(
                f"| **{way}** | {len(of_way)} | {_cells(of_way)} | {np.mean(auc):.3f} |"
                if auc
                else f"| **{way}** | {len(of_way)} | {_cells(of_way)} | – |"
            )
    lines += ["", "## Something is missing", ""]
    for row in (row for row in rows if "missing: no wrong step" in row):
        lines.append(
            f"Seed {row['seed']}: of the failures without a wrong step {row['missing: no wrong step']:.0%} get the "
            f"answer that something is missing, of the others {row['missing: a wrong step']:.0%}."
        )
    lines += [
        "",
        "## Picking one of several runs",
        "",
        "| way | picked by score | at random | the shortest |",
        "|---|---:|---:|---:|",
    ]
    for way in WAYS:
        of_way = [row for row in rows if row["way"] == way and "best of N" in row]
        if of_way:
            means = [np.mean([row[name] for row in of_way]) for name in ("best of N", "random of N", "shortest of N")]
            lines.append(f"| {way} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
    return "\n".join(lines) + "\n"


EXPLANATION = """60 epochs, batches of 128, five members; experts, aggregation and blend as
`recipe="auto"` takes them for traces, without an encoder, as these experts read no vectors. Intervals of 95% are drawn
by task. Silver marks are a machine's (252 failed runs, those that people judged left out), human marks those of
AgentRx (28 runs). Nobody tells the scorer which tools change state; the rules that speak of writing calls are told."""


def _cells(rows: Sequence[dict]) -> str:
    cells = []
    for name in ("silver top1", "silver top3", "human top1", "human top3"):
        known = [row[name] for row in rows if name in row]
        middle, low, high = np.mean(known, axis=0) if known else (np.nan,) * 3
        cells.append(f"{middle:.3f} [{low:.2f}, {high:.2f}]" if known else "–")
    return " | ".join(cells)


def main() -> None:
    """Measure what is missing and write the page."""
    parser = options(__doc__, "agents", WAYS, 2)
    parser.add_argument("--human", action="store_true")
    arguments = parser.parse_args()
    book = Logbook(arguments.log, "way", "seed", "human")
    for way in arguments.sets.split(","):
        for seed in range(arguments.seeds):
            if (way, seed, arguments.human) not in book:
                print(book.add(measure(way, seed, arguments.human)), flush=True)
    rows = [row for row in book.rows if row["human"] == arguments.human]
    command = f"python -m benchmarks.agents --seeds {arguments.seeds}{' --human' if arguments.human else ''}"
    arguments.out.write_text(page(rows, rule_rows(arguments.human), command), encoding="utf-8")


if __name__ == "__main__":
    main()
