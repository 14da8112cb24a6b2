"""Makes realistic responses of our own invention, with planted faults and known sentence labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import NamedTuple

from fractal.datasets.synthetic.answers import open_answer
from fractal.datasets.synthetic.arithmetic import open_problem
from fractal.datasets.synthetic.retrieval import open_question
from fractal.datasets.synthetic.scenes import Scene
from fractal.datasets.synthetic.splits import make_splits
from fractal.datasets.synthetic.summaries import open_summary
from fractal.datasets.synthetic.truths import AGGREGATION_NAMES, LabelRule, label_rule
from fractal.errors import BadData, UnknownName
from fractal.records import Preference, Response

__all__ = ["AGGREGATION_NAMES", "TASKS", "Task", "make_preferences", "make_responses", "make_splits"]

MOST_DRAWS = 10_000


class Task(NamedTuple):
    """What is to be written, and the aggregation by which its sentences naturally make up the response."""

    open_scene: Callable[[Random, float, bool], Scene]
    aggregation: str


TASKS: Mapping[str, Task] = {
    "retrieval": Task(open_question, "max"),
    "answers": Task(open_answer, "mean"),
    "summaries": Task(open_summary, "min"),
    "arithmetic": Task(open_problem, "min"),
}


def make_responses(
    n: int = 1000,
    task: str = "summaries",
    aggregation: str | None = None,
    *,
    noise: float = 0.0,
    seed: int = 0,
    difficulty: float = 0.5,
    levels: int | None = None,
) -> list[Response]:
    """Make n responses to a task: retrieval, answers, summaries or arithmetic.

    Sentence labels are the truth. The response's label is made from them by the aggregation (the task's natural one
    unless told), and a share `noise` of the responses gets another label instead. `difficulty` runs from 0, where
    faults are plain to see, to 1. With `levels`, labels have so many grades. `extra["faults"]` names the fault of each
    sentence.
    """
    plan = _Plan.of(n, task, aggregation, noise, seed, difficulty, levels)
    scenes = plan.scenes()
    responses = [plan.respond(scene, group, variant) for (group, variant, scene), _ in zip(scenes, range(n))]  # noqa: B905
    rng = plan.generator("noise")
    for place in rng.sample(range(n), round(noise * n)):
        response = responses[place]
        label = plan.rule.spoil(response.label or 0.0, len(response.sentences), rng)
        responses[place] = dataclasses.replace(response, label=label)
    return responses


def make_preferences(
    n: int = 1000,
    task: str = "answers",
    aggregation: str | None = None,
    *,
    noise: float = 0.0,
    seed: int = 0,
    difficulty: float = 0.5,
    levels: int | None = None,
    ties: float = 0.1,
) -> list[Preference]:
    """Make n pairs of responses to the same query and context; the better one has the higher label.

    A share of about `ties` is equally good. A share `noise` of the other pairs is turned round. The responses carry
    sentence labels and no label of their own, as preference data do.
    """
    plan = _Plan.of(n, task, aggregation, noise, seed, difficulty, levels)
    _check_share(ties, "ties")
    rng = plan.generator("ties")
    pairs = [plan.compare(scene, group, rng.random() < ties) for group, _, scene in plan.scenes(most=1, limit=n)]
    clear = [place for place, pair in enumerate(pairs) if not pair.tie]
    for place in rng.sample(clear, round(noise * len(clear))):
        pair = pairs[place]
        pairs[place] = dataclasses.replace(pair, better=pair.worse, worse=pair.better)
    return pairs


def _check_share(value: float, field: str) -> None:
    if not 0.0 <= value <= 1.0:
        raise BadData(f"found {value!r}: give a number from 0 to 1", field=field)


@dataclasses.dataclass
class _Plan:
    """What was ordered, and the generator from which everything is drawn."""

    task: str
    rule: LabelRule
    difficulty: float
    seed: int
    rng: Random

    @classmethod
    def of(
        cls, n: int, task: str, aggregation: str | None, noise: float, seed: int, difficulty: float, levels: int | None
    ) -> _Plan:
        if task not in TASKS:
            raise UnknownName("task", task, TASKS)
        if n < 0:
            raise BadData(f"found {n}: give how many responses to make, 0 or more", field="n")
        _check_share(noise, "noise")
        _check_share(difficulty, "difficulty")
        rule = label_rule(aggregation or TASKS[task].aggregation, levels)
        return cls(task, rule, difficulty, seed, Random(f"{task} {seed}"))

    def generator(self, purpose: str) -> Random:
        """Return a generator of its own, so that one purpose does not disturb another."""
        return Random(f"{self.task} {self.seed} {purpose}")

    def scenes(self, most: int = 4, limit: int | None = None) -> Iterator[tuple[int, int, Scene]]:
        """Open scene after scene; each serves up to `most` responses, which form a group."""
        group = 0
        while limit is None or group < limit:
            scene = TASKS[self.task].open_scene(self.rng, self.difficulty, self.rule.levels > 2)
            for variant in range(self.rng.randrange(1, most + 1)):
                yield group, variant, scene
            group += 1

    def draw(self, scene: Scene) -> tuple[float, ...]:
        """Draw the sentence labels of a response."""
        return self.rule.draw(self.rng, self.rng.choice(scene.lengths), scene.in_runs)

    def respond(self, scene: Scene, group: int, variant: int, truths: tuple[float, ...] | None = None) -> Response:
        """Write a response whose label is true."""
        truths = truths or self.draw(scene)
        written = scene.write(truths, self.rng)
        name = f"{self.task}-{self.seed}-{group:05d}"
        return Response.from_sentences(
            f"{name}-{variant}",
            [sentence.text for sentence in written],
            labels=truths,
            query=scene.query,
            context=scene.context,
            label=self.rule.aggregate(truths),
            group=name,
            extra={"faults": [sentence.fault for sentence in written]},
        )

    def compare(self, scene: Scene, group: int, tie: bool) -> Preference:
        """Write two responses, equally good if and only if a tie is wanted."""
        for _ in range(MOST_DRAWS):
            one, other = self.draw(scene), self.draw(scene)
            apart = self.rule.aggregate(one) - self.rule.aggregate(other)
            if (abs(apart) < 1e-9) == tie:
                break
        responses = [self.respond(scene, group, place, truths) for place, truths in enumerate((one, other))]
        bare = [dataclasses.replace(response, label=None) for response in responses]
        better, worse = bare if tie or apart > 0 else reversed(bare)
        return Preference(better, worse, tie=tie, id=f"{self.task}-{self.seed}-{group:05d}")
