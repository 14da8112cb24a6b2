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
MOST = 600  # training responses of a set, for time; where a question is about their number it says so
EPOCHS = 12  # of the curriculum: its steps come before the epoch that is kept

Changes = dict[str, object]


@dataclasses.dataclass(frozen=True)
class Variant:
    """One answer that is tried: options of the scorer, and what is done to the training data before.

    `teacher_noise`: noise on what the first model says of sentences before fresh heads learn it, in its own spreads.
    """

    options: Changes = dataclasses.field(default_factory=dict)
    plan: Changes = dataclasses.field(default_factory=dict)
    data: Callable[[RealSet, int], list] = lambda data, seed: data.bare()
    most: int | None = None  # other than the run's own
    whole: bool = False  # learn from all training responses
    teacher_noise: float | None = None
    tested_on: str = ""
    paper: Changes | None = None  # the paper's recipe with these options instead of the default


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked, of which sets, and every variant by name."""

    asked: str
    sets: tuple[str, ...]
    variants: dict[str, Variant]


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
    """Give every sentence columns: noise, the opposite of its similarity to the context, its words found there."""
    from fractal.encoders import ENCODERS, EmbeddingCache
    from fractal.encoders.embedding import embed
    from fractal.features import prior_similarity

    bare = data.bare()
    near = prior_similarity(embed(bare, ENCODERS.build("static"), EmbeddingCache()))
    rng = np.random.default_rng(seed + 3)
    ends = np.cumsum([len(r.sentences) for r in bare])
    return [
        dataclasses.replace(
            r,
            columns={
                "noise": tuple(rng.random(len(r.sentences)).tolist()),
                "reversed": tuple((1 - near[end - len(r.sentences) : end]).tolist()),
                "words": tuple(_found_in(" ".join(r.context) or r.query, s.text) for s in r.sentences),
            },
        )
        for r, end in zip(bare, ends, strict=True)
    ]


def _found_in(source: str, sentence: str) -> float:
    """Return the share of a sentence's words that its source has."""
    from fractal.features.words import words_of

    words = words_of(sentence).distinct
    return len(words & words_of(source).distinct) / max(len(words), 1)


def gold(share: float) -> Callable[[RealSet, int], list]:
    """Show the sentence labels of a share of the responses."""
    return lambda data, seed: some_gold(data, share, seed) if share else data.bare()


def everything(data: RealSet, seed: int) -> list:
    """Show every sentence label."""
    return data.train


COSINE, CORRELATION = "cosine(weight=0.2)", "correlation(weight=0.2)"
NOISE, REVERSED = "column(column='noise', weight=0.2)", "column(column='reversed', weight=0.2)"
WORDS = "column(column='words', weight=0.2)"
PRIOR_SETS = {
    "none": (),
    "cosine": (COSINE,),
    "correlation": (CORRELATION,),
    "both": (COSINE, CORRELATION),
    "word overlap": (WORDS,),
    "noise": (NOISE,),
    "reversed cosine": (REVERSED,),
}
TEACHERS = {  # of a round of self-training: noise on what it says, whether its labels are soft
    "as it is, soft": (0.0, True),
    "as it is, hard": (0.0, False),
    "noise 1, soft": (1.0, True),
    "noise 2, soft": (2.0, True),
    "noise 4, soft": (4.0, True),
}
MIN_FORMS = ("product", "min", "geometric_mean", "power_mean(exponent=-4)", "logsumexp", "softmin", "mean")
MAX_FORMS = ("noisy_or", "max", "softmax_pool", "mean")
RECIPES = ("own", "relational", "vectors", "default", "own + vectors")


def _both_heads(forms: tuple[str, ...]) -> dict[str, Variant]:
    """Return every form with our heads, and with the paper's head."""
    ours = {form: Variant({"aggregation": form}) for form in forms}
    return ours | {f"paper's head, {form}": Variant(paper={"aggregation": form, "priors": ()}) for form in forms}


def questions() -> dict[str, Question]:
    from fractal.ensemble.self_training import SelfTraining

    ours = {**PRIOR_SETS, "auto": "auto"}
    priors = {f"ours, {name}": Variant({"priors": terms}, data=with_columns) for name, terms in ours.items()}
    bare = {
        f"paper's head, {name}": Variant(paper={"priors": terms}, data=with_columns)
        for name, terms in PRIOR_SETS.items()
    }
    rounds = {
        f"round, {name}": Variant(
            {"self_training": SelfTraining(1, soft=soft, alone=True, always=True)}, teacher_noise=noise
        )
        for name, (noise, soft) in TEACHERS.items()
    }
    few_epochs = {"epochs": EPOCHS, "patience": EPOCHS}
    return {
        "forms of MIN": Question("Which form of MIN?", MIN, _both_heads(MIN_FORMS)),
        "forms of MAX": Question("Which form of MAX?", MAX, _both_heads(MAX_FORMS)),
        "auto": Question(
            "Which sentence does the response's label tell of? Each answer by hand, and what 'auto' makes of it",
            (*MIN, *MAX, "film_sentiment"),
            {form: Variant({"aggregation": form}) for form in ("product", "noisy_or", "mean", "auto")},
        ),
        "priors": Question("What do priors add? (weight 0.2 each)", WITH_CONTEXT, {**priors, **bare}),
        "first model": Question(
            "What does a round of self-training yield, after how good a first model? Noise of so many of its own "
            "spreads is added to what the first model says; fresh heads alone are kept, whatever held-out labels say",
            ("multispanqa_windows", "wikiqa", "processbench", "realsumm_scu"),
            {"first model alone": Variant(), **rounds},
        ),
        "curriculum": Question(
            f"Moving the priors' weight to the labels, in {EPOCHS} steps, one after every of {EPOCHS} epochs",
            ("multispanqa_windows", "wikiqa", "faithbench"),
            {
                f"{head}, {name}": Variant(
                    {} if paper else {"priors": (COSINE, CORRELATION)},
                    {**few_epochs, **moved},
                    paper={"priors": (COSINE, CORRELATION)} if paper else None,
                )
                for head, paper in (("paper's head", True), ("ours", False))
                for name, moved in (("held", {}), ("curriculum", {"curriculum": 1}))
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
        ),
        "responses": Question(
            "So many training responses",
            ("wikiqa", "wice_windows", "multispanqa_windows", "realsumm_scu", "processbench", "uss_satisfaction"),
            {str(most or "all"): Variant(most=most, whole=not most) for most in (50, 100, 300, 1000, None)},
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
