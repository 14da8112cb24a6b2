"""The paper's questions, asked of real sets: forms, priors, self-training, transfer, curriculum, gold, size, noise.

python -m benchmarks.questions                        all of them, resumably; then the tables
python -m benchmarks.questions forms priors --seeds 3
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed

import numpy as np

from benchmarks.accuracy.data import RealSet, load
from benchmarks.accuracy.methods import some_gold
from benchmarks.logbook import RESULTS, Logbook
from benchmarks.machine import cpu

os.environ.setdefault("OMP_NUM_THREADS", "1")

LOG, PAGE = RESULTS / "questions.jsonl", RESULTS / "questions.md"

MIN = ("faithbench", "qags", "processbench", "prm800k_subset", "prmbench")
MAX = ("wikiqa", "multispanqa_windows", "wice_windows", "absa16_reviews")
MEAN = ("realsumm_scu", "uss_satisfaction", "qa_feedback_bags")
WITH_CONTEXT = ("faithbench", "qags", "multispanqa_windows", "wikiqa", "qa_feedback_bags")
MOST = 1200  # training responses of a set, for time; where a question is about their number it says so

Changes = dict[str, object]


@dataclasses.dataclass(frozen=True)
class Variant:
    """One answer that is tried: options of the scorer, and what is done to the training data before."""

    options: Changes = dataclasses.field(default_factory=dict)
    plan: Changes = dataclasses.field(default_factory=dict)
    data: Callable[[RealSet, int], list] = lambda data, seed: data.bare()
    most: int | None = MOST
    tested_on: str = ""
    paper: Changes | None = None  # the paper's recipe with these options instead of the default


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked, of which sets, and every variant by name."""

    asked: str
    sets: tuple[str, ...]
    variants: dict[str, Variant]
    seeds: int = 2


def flipped(share: float) -> Callable[[RealSet, int], list]:
    """Turn round the labels of a share of the responses."""

    def change(data: RealSet, seed: int) -> list:
        drawn = np.random.default_rng(seed + 11).random(len(data.train)) < share
        return [
            dataclasses.replace(r, label=1.0 - r.label) if turn and r.label is not None else r
            for r, turn in zip(data.bare(), drawn, strict=True)
        ]

    return change


def with_columns(data: RealSet, seed: int) -> list:
    """Give every sentence a column of noise, and one that says the opposite of its similarity to the context."""
    from fractal.embedding import embed
    from fractal.encoders import ENCODERS, EmbeddingCache
    from fractal.features import prior_similarity

    bare = data.bare()
    near = prior_similarity(embed(bare, ENCODERS.build("minilm"), EmbeddingCache()))
    rng = np.random.default_rng(seed + 3)
    ends = np.cumsum([len(r.sentences) for r in bare])
    return [
        dataclasses.replace(
            r,
            columns={
                "noise": tuple(rng.random(len(r.sentences)).tolist()),
                "reversed": tuple((1 - near[end - len(r.sentences) : end]).tolist()),
            },
        )
        for r, end in zip(bare, ends, strict=True)
    ]


def gold(share: float) -> Callable[[RealSet, int], list]:
    """Show the sentence labels of a share of the responses."""
    return lambda data, seed: some_gold(data, share, seed) if share else data.bare()


COSINE, CORRELATION = "cosine(weight=0.2)", "correlation(weight=0.2)"
NOISE, REVERSED = "column('noise', weight=0.2)", "column('reversed', weight=0.2)"
PRIOR_SETS = {
    "none": (),
    "cosine": (COSINE,),
    "correlation": (CORRELATION,),
    "both": (COSINE, CORRELATION),
    "noise": (NOISE,),
    "reversed cosine": (REVERSED,),
}
ROUNDS = {"none": (0, True), "one, hard": (1, False), "one, soft": (1, True)}
MIN_FORMS = ("product", "min", "geometric_mean", "power_mean(exponent=-4)", "logsumexp", "softmin", "mean")
MAX_FORMS = ("noisy_or", "max", "softmax_pool", "mean")
CHOICES = (  # question, what the library takes by itself, how the variants begin that it could take
    ("auto", "auto", ""),
    ("recipes", "blend", ""),
    ("priors", "ours, auto", "ours"),
)
RECIPES = ("own", "relational", "vectors", "default", "own + vectors")


def _questions() -> dict[str, Question]:
    from fractal.self_training import SelfTraining

    ours = {**PRIOR_SETS, "auto": "auto"}
    priors = {f"ours, {name}": Variant({"priors": terms}, data=with_columns) for name, terms in ours.items()}
    bare = {
        f"paper's head, {name}": Variant(paper={"priors": terms}, data=with_columns)
        for name, terms in PRIOR_SETS.items()
    }
    rounds = {
        f"{name}; {most} responses": Variant({"self_training": SelfTraining(number, soft=soft)}, most=most)
        for most in (100, 300, MOST)
        for name, (number, soft) in ROUNDS.items()
    }
    return {
        "forms of MIN": Question("Which form of MIN?", MIN, {f: Variant({"aggregation": f}) for f in MIN_FORMS}),
        "forms of MAX": Question("Which form of MAX?", MAX, {f: Variant({"aggregation": f}) for f in MAX_FORMS}),
        "auto": Question(
            "Which sentence does the response's label tell of? Each answer by hand, and what 'auto' makes of it",
            (*MIN, *MAX),
            {form: Variant({"aggregation": form}) for form in ("product", "noisy_or", "mean", "auto")},
        ),
        "priors": Question("What do priors add? (weight 0.2 each)", WITH_CONTEXT, {**priors, **bare}),
        "first model": Question(
            "What does a round of self-training yield, after how good a first model? Kept only where held-out response "
            "labels gain by it",
            ("multispanqa_windows", "wikiqa", "processbench", "realsumm_scu"),
            rounds,
        ),
        "curriculum": Question(
            "Moving the priors' weight to the labels, every 5 epochs",
            ("multispanqa_windows", "wikiqa", "faithbench"),
            {
                "paper's head, held": Variant(paper={"priors": (COSINE, CORRELATION)}),
                "paper's head, curriculum": Variant(paper={"priors": (COSINE, CORRELATION)}, plan={"curriculum": 5}),
                "ours, held": Variant({"priors": (COSINE, CORRELATION)}),
                "ours, curriculum": Variant({"priors": (COSINE, CORRELATION)}, plan={"curriculum": 5}),
            },
        ),
        "transfer": Question(
            "Learned on the set of the row, tested on the set of the column",
            ("wikiqa", "wice_windows", "multispanqa_windows", "faithbench", "qags", "processbench", "prmbench"),
            {
                name: Variant(tested_on=name)
                for name in ("wikiqa", "wice_windows", "multispanqa_windows", "faithbench", "qags", "processbench")
            },
        ),
        "gold": Question(
            "Sentence labels of so many responses",
            ("wikiqa", "multispanqa_windows", "faithbench", "absa16_reviews", "qa_feedback_bags"),
            {f"{share:.0%}": Variant(data=gold(share)) for share in (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)},
        ),
        "responses": Question(
            "So many training responses",
            ("wikiqa", "wice_windows", "multispanqa_windows", "realsumm_scu", "processbench", "uss_satisfaction"),
            {str(most or "all"): Variant(most=most) for most in (100, 200, 500, 1000, None)},
        ),
        "label noise": Question(
            "So many response labels turned round",
            ("wikiqa", "multispanqa_windows", "wice_windows", "faithbench", "absa16_reviews"),
            {f"{share:.0%}": Variant(data=flipped(share)) for share in (0, 0.1, 0.2, 0.3, 0.4)},
        ),
        "recipes": Question(
            "One head on one recipe, beside the default's blend",
            (*MIN[:4], *MAX, *MEAN),
            {"blend": Variant(), **{recipe: Variant({"recipe": recipe}) for recipe in RECIPES}},
        ),
    }


def run_one(question: str, name: str, variant: str, seed: int) -> dict:
    """Fit one variant on one set, and judge it."""
    import torch

    from benchmarks.accuracy.judging import judge
    from fractal.baselines import BASELINES
    from fractal.estimator import SentenceScorer
    from fractal.training import TrainingPlan

    torch.set_num_threads(1)
    asked = _questions()[question].variants[variant]
    data = load(name, asked.most, seed)
    target = load(asked.tested_on) if asked.tested_on else data
    if asked.paper is None:
        options = {"aggregation": data.aggregation, **asked.options}
        scorer = SentenceScorer(**options, plan=TrainingPlan(seed=seed, **asked.plan))
    else:
        scorer = BASELINES["paper"](aggregation=data.aggregation, seed=seed, rounds=0).make()
        scorer.set_params(**asked.paper, **{f"plan__{key}": value for key, value in asked.plan.items()})
    used = time.process_time()
    scorer.fit(asked.data(data, seed))
    scored = scorer.score_responses([r.without_labels() for r in target.test])
    spent = time.process_time() - used
    found = judge(scored, target.test, target.name)
    kept = [choice.taken for choice in scorer.choices_ if choice.about.startswith("round")]
    where = {"question": question, "set": name, "variant": variant, "seed": seed}
    return {**where, **found, "cost": scorer.cost_, "kept": kept, "cpu_s": round(spent, 1)}


def main() -> None:
    """Run what is missing, write the tables."""
    questions = _questions()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", default=[], metavar="QUESTION", help=", ".join(questions))
    parser.add_argument("--seeds", type=int, help="2 where nothing is said")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    book = Logbook(LOG, "question", "set", "variant", "seed")
    wanted = [
        (title, name, variant, seed)
        for title in args.questions or questions
        for seed in range(args.seeds or questions[title].seeds)
        for name in questions[title].sets
        for variant in questions[title].variants
    ]
    missing = [cell for cell in wanted if cell not in book]
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for number, future in enumerate(as_completed([pool.submit(run_one, *cell) for cell in missing]), start=1):
            row = book.add(future.result())
            told = f"{row['question']}: {row['set']} · {row['variant']} · seed {row['seed']}"
            print(f"{number}/{len(missing)} {told}: AUC {row['auc']:.3f} in {row['cpu_s']:.0f} s", flush=True)
    write_page(book.rows, questions)


def write_page(rows: list[dict], questions: dict[str, Question]) -> None:
    """Write a table a question: sets × variants, mean AUC over seeds."""
    lines = [
        "# The paper's questions, on real sets",
        "",
        "Sentence ROC AUC on the test splits, learned from response labels alone where nothing else is said, mean over "
        f"the seeds; at most {MOST} training responses of a set, where their number is not the question. "
        f"Machine: {cpu()}, one thread a run. Command: `python -m benchmarks.questions`.",
        "",
    ]
    for title, question in questions.items():
        own = [row for row in rows if row["question"] == title]
        if own:
            seeds = len({row["seed"] for row in own})
            said = f"{question.asked.rstrip('?')}; {seeds} seed{'s' if seeds > 1 else ''}."
            lines += [f"## {title[0].upper()}{title[1:]}", "", said, "", *_table(own, question), ""]
    lines += _regret(rows)
    PAGE.write_text("\n".join(lines), encoding="utf-8")
    print(f"wrote {PAGE}")


def _table(rows: list[dict], question: Question) -> list[str]:
    """Variants as rows where there are many, sets as columns."""
    sets = [name for name in question.sets if any(row["set"] == name for row in rows)]
    lines = ["| | " + " | ".join(sets) + " | mean |", "|---|" + "---:|" * (len(sets) + 1)]
    for variant in question.variants:
        values = [_mean(rows, name, variant, "auc") for name in sets]
        lines.append(
            f"| {variant} | " + " | ".join(_shown(v) for v in values) + f" | {_shown(float(np.mean(values)))} |"
        )
    if question.variants and any(row["kept"] for row in rows):
        tried = [row for row in rows if row["kept"]]
        lines += ["", f"Kept in {np.mean([row['kept'][0] == 'after' for row in tried]):.0%} of {len(tried)} runs."]
    return lines


def _mean(rows: list[dict], name: str, variant: str, key: str) -> float:
    found = [row[key] for row in rows if (row["set"], row["variant"]) == (name, variant)]
    return float(np.mean(found)) if found else np.nan


def _shown(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def _regret(rows: list[dict]) -> list[str]:
    """What it costs to choose by held-out response labels instead of by the test sentences."""
    lines = [
        "## Choosing by response labels",
        "",
        "AUC lost by what the library chooses from response labels alone, against the best on the test sentences",
        "themselves (so a little of it is chance); mean over the seeds.",
        "",
        "| choice | set | its AUC | best by hand | its AUC | regret |",
        "|---|---|---:|---|---:|---:|",
    ]
    lost = []
    for title, taken, others in CHOICES:
        own = [row for row in rows if row["question"] == title and row["variant"].startswith(others)]
        for name in dict.fromkeys(row["set"] for row in own):
            auc = {variant: _mean(own, name, variant, "auc") for variant in {row["variant"]: 0 for row in own}}
            chosen = auc.pop(taken, np.nan)
            best = max(auc, key=lambda v: auc[v])
            lost.append(auc[best] - chosen)
            lines.append(f"| {title}: {taken} | {name} | {chosen:.3f} | {best} | {auc[best]:.3f} | {lost[-1]:+.3f} |")
    return [*lines, f"| **mean** | | | | | **{np.mean(lost):+.3f}** |", "", *_wider(rows)] if lost else []


def _wider(rows: list[dict]) -> list[str]:
    """Say what it would cost to choose one form out of all by held-out labels, which is why 'auto' does not."""
    lost = []
    for title in ("forms of MIN", "forms of MAX"):
        own = [row for row in rows if row["question"] == title]
        for name in dict.fromkeys(row["set"] for row in own):
            variants = {row["variant"]: 0 for row in own if row["set"] == name}
            auc = {variant: _mean(own, name, variant, "auc") for variant in variants}
            cost = {variant: _mean(own, name, variant, "cost") for variant in variants}
            lost.append(max(auc.values()) - auc[min(cost, key=lambda v: cost[v])])
    told = f"the form with the least held-out cost is {np.mean(lost):.3f} below the best" if lost else "not measured"
    return [
        f"Among all forms of MIN and of MAX, {told}: 'auto' tries one form of each direction, the product's kind.",
        "",
    ]


if __name__ == "__main__":
    main()
