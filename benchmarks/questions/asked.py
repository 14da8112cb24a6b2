"""Each question: the sets it is asked of, and every variant that is tried."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from benchmarks.accuracy.data import RealSet
from benchmarks.accuracy.methods import some_gold

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
    answer: str = ""  # what the table says, in words


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
    from fractal.encoders import ENCODERS, EmbeddingCache
    from fractal.encoders.embedding import embed
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


def everything(data: RealSet, seed: int) -> list:
    """Show every sentence label."""
    return data.train


COSINE, CORRELATION = "cosine(weight=0.2)", "correlation(weight=0.2)"
NOISE, REVERSED = "column(column='noise', weight=0.2)", "column(column='reversed', weight=0.2)"
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
RECIPES = ("own", "relational", "vectors", "default", "own + vectors")


GOLD_ANSWER = (
    "Over the five sets 2% bring 98.2% of supervision and 10% 98.6%, none 98.0%; most of the gain is that of "
    "`absa16_reviews` (.859, .876, .889). Under a mean of few sentences (`qa_feedback_bags`, 3.2 a response) the "
    "rating says nearly all, and few sentence labels cost: .705, .694, .688. "
    "It is the heads that lose, not the weights of experts: by the weights of the fit without sentence labels, heads "
    "that saw 10% have .679 on seed 0 (.674 by their own, .702 without). n labels in a response weigh as n ratings; "
    "at `gold_weight=0.2`, less than one rating a response, it is .708 (one fit). With the encoder `static` nothing is "
    "lost (.674 and .682 without, .676 and .715 with 10%), so the default stays as it is."
)


def questions() -> dict[str, Question]:
    from fractal.ensemble.self_training import SelfTraining

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
            (*MIN, *MAX, "film_sentiment"),
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
            "Sentence labels of so many responses, beside labels of all; supervised: all sentence labels alone",
            ("wikiqa", "multispanqa_windows", "faithbench", "absa16_reviews", "qa_feedback_bags"),
            {
                **{f"{share:.0%}": Variant(data=gold(share)) for share in (0, 0.02, 0.1, 1)},
                "supervised": Variant({"learn_from": "sentences"}, data=everything),
            },
            seeds=3,
            answer=GOLD_ANSWER,
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
