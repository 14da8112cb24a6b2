"""Which step broke an agent's run, learned from passes and failures alone: marks found first and among the first three.

python -m benchmarks.agents [--seeds 5] [--sets "disaggregate,score new tasks"]   resumable: what was measured is kept
python -m benchmarks.agents --page [--human]   writes the page; people's marks are read here, and here alone

Sets: agents_tau_retail, in both settings (runs of new tasks are scored; rated runs are disaggregated), by `meta.fold`,
and agents_tau_airline for transfer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.agent_page import page
from benchmarks.agent_runs import AIRLINE, RETAIL, bare, load, lowest_three
from benchmarks.logbook import Logbook, options
from fractal.records import Response, ScoredResponse

FOLDS = 5
EPOCHS = 60
FORM = "product"  # what aggregation="auto" takes on both sets, whose labels say "min"
SHARES = (0.1, 0.25, 0.5)  # of the tasks, for the learning curve
ORDERED = (
    "first_error",
    "first_error(recovery=0.1)",
    "first_error(recovery=0.4)",
    "prefix_value",
    "prefix_value(share=0)",
)


class Fitted:
    """What `recipe="auto"` learns from runs, without vectors, which its experts do not read, and without the checks."""

    def __init__(self, runs: Sequence[Response], seed: int, **changes: object) -> None:
        from fractal import SentenceScorer, TrainingPlan
        from fractal.encoders.block import texts_only
        from fractal.ensemble.fit import fit_ensembles
        from fractal.scorers.membership import HeldOutIndex

        plan = TrainingPlan(seed=seed, epochs=EPOCHS, batch_size=128, members=5, folds=5)
        options = SentenceScorer(plan=plan, **{"aggregation": FORM, **changes})
        corpus, config = options.prepare(list(runs))
        block = texts_only(corpus.responses)
        result = fit_ensembles(block, corpus, {"": options.forms(corpus)}, config)[""]
        self.cost, self.ensemble_ = result.cost, result.ensemble
        self.held_out = HeldOutIndex.of(corpus.responses, result.weights)

    def __call__(self, runs: Sequence[Response], *, disaggregate: bool = False) -> list[ScoredResponse]:
        """Score runs, or label the steps of rated ones by the heads that did not learn from their task."""
        import torch

        from fractal.encoders.block import texts_only
        from fractal.ensemble.experts import Predictor

        block = texts_only(runs)
        logits = self.ensemble_.logits(Predictor(block)).detach()
        share = torch.from_numpy(self.held_out.shares(runs, logits.shape[-1]))
        middle = (logits * share[torch.from_numpy(block.sentence_bag)]).sum(-1, keepdim=True)
        rule, offsets = self.ensemble_.aggregation, torch.from_numpy(block.offsets)
        scores = rule.probabilities(middle)
        if disaggregate:
            scores = rule.posterior(scores, offsets, torch.tensor([run.label for run in runs], dtype=torch.float32))
        whole = rule.from_logits(middle, offsets).sigmoid().squeeze(1).tolist()
        parts = np.split(scores.squeeze(1).double().clamp(0, 1).numpy(), block.offsets[1:-1])
        return [ScoredResponse(run, tuple(p.tolist()), w) for run, p, w in zip(runs, parts, whole, strict=True)]


def disaggregated(seed: int, share: float = 1.0, **changes: object) -> dict:
    """Learn from rated runs and label their steps: each by heads that did not learn from its task.

    With a share, only so many of the other tasks are rated: each fold of tasks is labelled by what the share of all
    tasks and its own runs teach, since a run's own task is always rated where runs are disaggregated.
    """
    from fractal.scorers.runs import run_verdicts

    runs = load(RETAIL)
    if share < 1:
        return _row(*_of_a_share(runs, seed, share))
    fitted = Fitted(bare(runs), seed, **changes)
    scored = fitted(bare(runs), disaggregate=True)
    verdicts = run_verdicts(fitted, scored)
    missing = [bool(verdict.missing) for verdict, run in zip(verdicts, runs, strict=True) if run.label == 0]
    return _row(runs, scored) | {"missing": np.flatnonzero(missing).tolist(), "cost": fitted.cost}


def _of_a_share(runs: Sequence[Response], seed: int, share: float) -> tuple[list[Response], list[ScoredResponse]]:
    """Rate a share of the tasks alone, and label their steps."""
    groups = sorted({str(run.group) for run in runs})
    chosen = set(np.random.default_rng(seed).permutation(groups)[: round(share * len(groups))].tolist())
    rated = [run for run in runs if run.group in chosen]
    return rated, Fitted(bare(rated), seed)(bare(rated), disaggregate=True)


def shuffled(seed: int) -> dict:
    """Shuffle the outcomes within each task, and do the same: what is left has not come from them."""
    runs = load(RETAIL)
    rng = np.random.default_rng(seed)
    labels = np.array([run.label for run in runs])
    groups = np.array([run.group for run in runs])
    for group in np.unique(groups):
        labels[groups == group] = rng.permutation(labels[groups == group])
    return _of_labels(runs, labels, seed)


def shuffled_all(seed: int) -> dict:
    """Shuffle the outcomes over all runs: not even a task's rate of passes is left."""
    runs = load(RETAIL)
    labels = np.random.default_rng(seed).permutation([run.label for run in runs])
    return _of_labels(runs, labels, seed)


def _of_labels(runs: Sequence[Response], labels: np.ndarray, seed: int) -> dict:
    mixed = [replace(run, label=float(label)) for run, label in zip(bare(runs), labels, strict=True)]
    return _row(runs, Fitted(mixed, seed)([replace(run, label=0.0) for run in mixed], disaggregate=True))


def new_tasks(seed: int, **changes: object) -> dict:
    """Score the runs of each fold by a scorer of the other folds: no run of the task was seen."""
    runs = load(RETAIL)
    folds = np.array([run.extra["meta"]["fold"] for run in runs])
    scored: list = [None] * len(runs)
    for fold in range(FOLDS):
        rest = [run for run, of_run in zip(bare(runs), folds, strict=True) if of_run != fold]
        places = np.flatnonzero(folds == fold)
        blind = [run.without_labels() for run in bare([runs[place] for place in places])]
        for place, item in zip(places, Fitted(rest, seed, **changes)(blind), strict=True):
            scored[place] = item
    return _row(runs, scored)


def transfer(learned: str, tested: str, seed: int) -> dict:
    """Learn from one set's runs, score the other's."""
    runs = load(tested)
    return _row(runs, Fitted(bare(load(learned)), seed)([run.without_labels() for run in bare(runs)]))


def inherited(seed: int) -> dict:
    """Teach every step its run's outcome, by the same features and heads; none learned from the task of a run."""
    runs = load(RETAIL)
    taught = [
        replace(run, sentences=tuple(replace(step, label=run.label) for step in run.sentences)) for run in bare(runs)
    ]
    return _row(runs, Fitted(taught, seed, learn_from="sentences")(bare(runs)))


def by_position(seed: int) -> dict:
    """Learn from where a step stands, and nothing else."""
    runs = load(RETAIL)
    return _row(runs, Fitted(bare(runs), seed, recipe="position")(bare(runs), disaggregate=True))


def _row(runs: Sequence[Response], scored: Sequence[ScoredResponse]) -> dict:
    """Return what is kept of a measurement: which runs, the three lowest steps of each, and what it says of the run."""
    lowest = lowest_three([item.sentence_scores for item in scored])
    by_id = {run.id: three for run, three in zip(runs, lowest, strict=True) if run.label == 0}
    return {"lowest": by_id, "outcomes": [round(item.response_score, 5) for item in scored]}


WAYS: dict[str, Callable[[int], dict]] = {
    "disaggregate": disaggregated,
    "shuffled within tasks": shuffled,
    "shuffled over all": shuffled_all,
    "score new tasks": new_tasks,
    "inherit": inherited,
    "position": by_position,
    "transfer to airline": lambda seed: transfer(RETAIL, AIRLINE, seed),
    "transfer to retail": lambda seed: transfer(AIRLINE, RETAIL, seed),
    **{f"disaggregate by {spec}": lambda seed, spec=spec: disaggregated(seed, aggregation=spec) for spec in ORDERED},
    **{f"{share:.0%} of the tasks": lambda seed, share=share: disaggregated(seed, share) for share in SHARES},
}


def main() -> None:
    """Measure what is missing, or write the page."""
    parser = options(__doc__, "agents", tuple(WAYS), 5)
    parser.add_argument("--page", action="store_true", help="write the page of what was measured, and measure nothing")
    parser.add_argument("--human", action="store_true", help="read the marks of people too: once, at the end")
    arguments = parser.parse_args()
    book = Logbook(arguments.log, "way", "seed")
    if arguments.page:
        arguments.out.write_text(page(book.rows, human=arguments.human), encoding="utf-8")
        return
    for seed in range(arguments.seeds):
        for way in arguments.sets.split(","):
            if (way, seed) not in book:
                book.add({"way": way, "seed": seed} | WAYS[way](seed))
                print(way, seed, flush=True)


if __name__ == "__main__":
    main()
