"""Generated responses with one assumption of the method broken at a time, and the right choice made by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from fractal.datasets.synthetic import make_responses
from fractal.records import Response

Breaking = Callable[[list[Response], np.random.Generator], list[Response]]


@dataclasses.dataclass(frozen=True)
class Case:
    """What is generated and broken, what is assumed, which check should speak, and what one who knows would choose."""

    task: str = "summaries"
    rule: str | None = None
    noise: float = 0.0
    breaking: Breaking | None = None
    assumed: str = "product"
    speaks: str | None = None
    right: str = "product"
    priors: tuple[str, ...] = ()
    n: int = 500
    learnable: bool = True  # whether anything is left that a scorer could learn

    def made(self, seed: int, n: int | None = None, *, bare: bool = True) -> list[Response]:
        """Make responses as users have them; with their sentence labels if they are not to be bare."""
        made = make_responses(n or self.n, self.task, self.rule, seed=seed, noise=self.noise, difficulty=0.0)
        made = self.breaking(made, np.random.default_rng(seed)) if self.breaking else made
        made = [dataclasses.replace(response, extra={}) for response in made]
        return [_bare(response) for response in made] if bare else made


def _bare(response: Response) -> Response:
    return dataclasses.replace(response.without_labels(), label=response.label, columns=response.columns)


def turned(responses: list[Response], rng: np.random.Generator) -> list[Response]:
    """Call good what was bad, responses and sentences alike: what was near to its context is now bad."""
    return [
        dataclasses.replace(
            r,
            label=1 - (r.label or 0.0),
            sentences=tuple(dataclasses.replace(s, label=1 - (s.label or 0.0)) for s in r.sentences),
        )
        for r in responses
    ]


def shuffled(responses: list[Response], rng: np.random.Generator) -> list[Response]:
    """Give every response the context of another."""
    places = rng.permutation(len(responses))
    return [
        dataclasses.replace(r, context=responses[place].context) for r, place in zip(responses, places, strict=True)
    ]


def by_share(responses: list[Response], rng: np.random.Generator) -> list[Response]:
    """Rate a response as a reader does who looks at one sentence of it."""
    shares = [float(np.mean([s.label for s in r.sentences])) for r in responses]
    return [
        dataclasses.replace(r, label=float(rng.random() < share)) for r, share in zip(responses, shares, strict=True)
    ]


def by_length(responses: list[Response], rng: np.random.Generator) -> list[Response]:
    """Let two labels of five say which responses are short."""
    middle = float(np.median([len(r.text) for r in responses]))
    return [dataclasses.replace(r, label=float(len(r.text) < middle)) if rng.random() < 0.4 else r for r in responses]


def with_column(direction: float) -> Breaking:
    """Add a noisy column on the truth of sentences: towards it (1), away from it (−1), or without any relation (0)."""

    def add(responses: list[Response], rng: np.random.Generator) -> list[Response]:
        found = []
        for r in responses:
            truth = np.array([s.label for s in r.sentences], dtype=float)
            leads = 2 * direction * (truth - 0.5) + rng.normal(size=len(truth))
            found.append(dataclasses.replace(r, columns={"mine": tuple((1 / (1 + np.exp(-leads))).tolist())}))
        return found

    return add


SIMILARITY, MINE = "prior: similarity to the context", "prior: column 'mine'"
CASES = {
    "nothing": Case(),
    "nothing; labels are the best sentence's": Case("retrieval", assumed="noisy_or", right="noisy_or"),
    "aggregation: labels are the best sentence's": Case("retrieval", speaks="aggregation", right="noisy_or"),
    "aggregation: labels are the worst sentence's": Case(assumed="noisy_or", speaks="aggregation"),
    "aggregation: labels are the mean": Case("answers", speaks="aggregation", right="mean"),
    "aggregation: good with the chance of its share": Case(breaking=by_share, speaks="aggregation", right="mean"),
    "similarity without signal: contexts of others": Case(breaking=shuffled, speaks=SIMILARITY, learnable=False),
    "similarity the wrong way: labels turned round": Case(
        breaking=turned, assumed="noisy_or", speaks=SIMILARITY, right="noisy_or"
    ),
    "nothing; a column with signal": Case(breaking=with_column(1), priors=("column(column='mine')",)),
    "a column without signal": Case(breaking=with_column(0), speaks=MINE),
    "a column the wrong way": Case(breaking=with_column(-1), speaks=MINE),
    "20% of the labels flipped": Case(noise=0.2, n=1200, speaks="label noise"),
    "40% of the labels told by length": Case(breaking=by_length, speaks="length shortcut"),
}
CHOSEN = tuple(name for name, case in CASES.items() if case.speaks or case.priors)  # where 'auto' has to choose right
