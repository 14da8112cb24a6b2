"""Where nothing that learns reads vectors, as in runs of agents, a training encodes no text, and says so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from features.test_passed_runs import tasks  # noqa: E402
from fractal import AspectScorer, SentenceScorer, TrainingPlan, make_responses  # noqa: E402
from fractal.encoders.base import TokenVectors, Vectors  # noqa: E402
from fractal.encoders.hashing import Hashing  # noqa: E402
from support.folders import digests  # noqa: E402

PLAN = TrainingPlan(epochs=2, members=2, folds=2)


@dataclass(frozen=True)
class Refusing(Hashing):
    """An encoder that must not be asked."""

    def encode(self, texts: Any, progress: Any = None) -> Vectors:
        raise AssertionError("encoded")

    def encode_tokens(self, texts: Any, progress: Any = None) -> TokenVectors:
        raise AssertionError("encoded")


def checks(scorer: SentenceScorer) -> dict[str, str]:
    return {finding.name: finding.sentence for finding in scorer.checks_}


def test_runs_of_agents_are_not_encoded_and_it_is_said(tmp_path):
    rated = tasks(45)
    scorer = SentenceScorer(encoder=Refusing(dim=16), plan=PLAN, cache=False).fit(rated)
    assert "runs of agents" in " ".join(choice.why for choice in scorer.choices_)
    assert "no text was encoded" in checks(scorer)["vectors"]
    assert not any(name == "prior: similarity to the context" for name in checks(scorer))
    assert scorer.learning_curve_.ratings
    folders = []
    for encoder in ("hashing(dim=16)", "hashing(dim=32)"):
        other = SentenceScorer(encoder=encoder, plan=PLAN, cache=False).fit(rated)
        folders.append(digests(other.save_pretrained(tmp_path / encoder))["head.safetensors"])
    assert folders[0] == folders[1]
    again = SentenceScorer.from_pretrained(tmp_path / encoder)
    assert [one.sentence_scores for one in again.score_responses(rated)] == [
        one.sentence_scores for one in scorer.score_responses(rated)
    ]


@pytest.mark.filterwarnings("ignore:vectors and columns", "ignore:texts take")
def test_columns_of_runs_are_laid_in_files_all_the_same(tmp_path):
    folders = []
    for workers, limit in ((1, 1e6), (1, 1e-6), (2, 1e-6)):
        options = {"plan": PLAN, "cache": False, "memory_limit": limit, "workers": workers}
        scorer = SentenceScorer("product", encoder="hashing(dim=16)", **options).fit(iter(tasks(14)))
        folders.append(digests(scorer.save_pretrained(tmp_path / f"{workers} {limit}")))
    assert folders[0] == folders[1] == folders[2]


@pytest.mark.parametrize("option", [{"priors": "cosine"}, {"priors": "auto"}, {"start": "auto"}, {"recipe": "own"}])
def test_what_reads_vectors_has_them_made(option):
    scorer = SentenceScorer("product", encoder=Refusing(dim=16), plan=PLAN, cache=False, **option)
    with pytest.raises(AssertionError, match="encoded"):
        scorer.fit(tasks(3))


def test_other_texts_are_encoded_as_before():
    scorer = SentenceScorer("product", encoder="hashing(dim=16)", plan=PLAN, cache=False).fit(make_responses(120))
    assert "vectors" not in checks(scorer)
    aspects = AspectScorer({"right": "product"}, SentenceScorer(encoder=Refusing(dim=16), plan=PLAN, cache=False))
    with pytest.raises(AssertionError, match="encoded"):
        aspects.fit(
            [replace(one, aspects={"right": float(number % 2)}) for number, one in enumerate(make_responses(20))]
        )
