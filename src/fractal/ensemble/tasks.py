"""What responses are rated for, in a word: the direction that it stands for, and how its texts are cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fractal.ensemble.result import Choice
from fractal.errors import BadSpec, suggestion
from fractal.mil.aggregations import AGGREGATIONS, FORMS, ORDERED_FORMS, Aggregation

__all__ = ["TASKS", "Task", "forms_of", "task_choice", "task_of"]


@dataclass(frozen=True)
class Task:
    """A stated direction and the defaults that go with it."""

    aggregation: str
    splitter: str
    meaning: str


TASKS: Mapping[str, Task] = {
    "factuality": Task("product", "sentences", "an answer is bad because of one bad sentence"),
    "reasoning": Task("product", "steps", "a solution is wrong because of one wrong step"),
    "retrieval": Task("noisy_or", "sentences", "a text is good because of one good sentence"),
    "quality": Task("mean", "sentences", "an answer is as good as its sentences on average"),
}


def task_of(name: str, aggregation: str | Aggregation = "auto") -> Task:
    """Return the task of that name; an aggregation of another direction beside it is refused."""
    if name not in TASKS:
        raise BadSpec(f"task={name!r}: no such task.{suggestion(name, TASKS)} Known: {', '.join(TASKS)}.")
    task = TASKS[name]
    if aggregation != "auto":
        stated, other = (str(AGGREGATIONS.build(form).direction) for form in (task.aggregation, aggregation))
        if stated != other:
            raise BadSpec(
                f"task={name!r} means that {task.meaning} ({stated}), aggregation={aggregation!r} is of the direction "
                f"{other}: leave one of them out"
            )
    return task


def forms_of(
    aggregation: str | Aggregation, task: str | None, directions: Sequence[str], *, in_order: bool = False
) -> tuple[Aggregation, ...]:
    """Return the aggregations to try: the one asked for, the task's, or one of each direction that labels allow.

    Of sentences that stand in order, as steps do, also the forms that know it.
    """
    if task is not None:
        stated = task_of(task, aggregation)
        aggregation = stated.aggregation if aggregation == "auto" else aggregation
    if aggregation != "auto":
        return (AGGREGATIONS.build(aggregation),)
    specs = [FORMS[direction] for direction in directions]
    if in_order and FORMS["min"] in specs:
        specs += [spec for spec in ORDERED_FORMS if spec not in specs]
    return tuple(AGGREGATIONS.build(spec) for spec in specs)


def task_choice(task: str | None, taken: str) -> tuple[Choice, ...]:
    """Say what a task stood for."""
    if task is None:
        return ()
    return (Choice("task", {}, f"{task}: {taken}", f"As stated, {TASKS[task].meaning}."),)
