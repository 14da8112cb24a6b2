"""Word problems solved step by step: one wrong step spoils the solution, and its number may be carried on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from fractal.datasets.synthetic.scenes import Scene, Written, capitalised, choose_fault, load_texts

POOLS = {
    "blunt": ("foreign number", "foreign number", "wrong operation", "wrong unit"),
    "subtle": ("wrong result", "misread number"),
    "grave": ("foreign number", "wrong operation"),
    "plain": ("wrong result", "misread number"),
    "slight": ("wrong unit",),
}
TURNED = {"add": "subtract", "subtract": "add", "multiply": "add", "divide": "subtract", "boxes": "add", "price": "add"}
LARGEST = 2000


@dataclasses.dataclass(frozen=True)
class Of:
    """The result of an earlier step, where a step builds on it."""

    step: int


@dataclasses.dataclass(frozen=True)
class Step:
    """One calculation of the solution: what is done with which two numbers, and what is counted."""

    operation: str
    left: int | Of
    right: int | Of
    unit: str


def _calculate(operation: str, left: int, right: int) -> int | None:
    """Return the result, or nothing where it is no natural number."""
    if operation in ("opening", "closing"):
        return right
    if operation == "divide":
        return left // right if right and left % right == 0 else None
    result = {"add": left + right, "subtract": left - right}.get(operation, left * right)
    return result if result > 0 else None


def _value(operand: int | Of, results: Sequence[int]) -> int:
    return results[operand.step] if isinstance(operand, Of) else operand


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A step as someone writes it down, right or wrong."""

    operation: str
    left: int
    right: int
    result: int
    unit: str


@dataclasses.dataclass(frozen=True)
class ProblemScene(Scene):
    """A story with numbers, the question at its end, and the steps that lead to the answer."""

    query: str
    context: tuple[str, ...]
    lengths: tuple[int, ...]
    hero: str
    steps: tuple[Step, ...]
    results: tuple[int, ...]
    difficulty: float
    graded: bool
    in_runs = True

    def write(self, truths: Sequence[float], rng: Random) -> list[Written]:
        spare = len(self.steps) - len(truths)  # the opening and the closing may go unsaid
        first = 1 if spare == 2 or (spare == 1 and rng.random() < 0.5) else 0
        stated = list(self.results)
        written: list[Written] = []
        for place, truth in enumerate(truths, start=first):
            step = self.steps[place]
            left, right = _value(step.left, self.results), _value(step.right, self.results)
            attempt, fault = Attempt(step.operation, left, right, self.results[place], step.unit), ""
            if truth < 1:
                attempt, fault = self._err(place, truth, stated, rng)
            stated[place] = attempt.result
            written.append(Written(self._put(attempt, fault, rng), fault))
        return written

    def _err(self, place: int, truth: float, stated: Sequence[int], rng: Random) -> tuple[Attempt, str]:
        """Carry an earlier wrong number on where there is one, or make a new mistake."""
        step = self.steps[place]
        left, right = _value(step.left, stated), _value(step.right, stated)
        result = _calculate(step.operation, left, right)
        carried = (left, right) != (_value(step.left, self.results), _value(step.right, self.results))
        if carried and result is not None and result != self.results[place] and rng.random() < 0.5:
            return Attempt(step.operation, left, right, result, step.unit), "carried on"
        for name in choose_fault(truth, self.graded, POOLS, self.difficulty, rng):
            for attempt in self._mistakes(name, place, rng):
                if attempt.result != self.results[place] or attempt.unit != step.unit:
                    return attempt, name
        raise AssertionError("a unit can always be wrong")

    def _mistakes(self, name: str, place: int, rng: Random) -> Iterator[Attempt]:
        step = self.steps[place]
        left, right = _value(step.left, self.results), _value(step.right, self.results)
        true = Attempt(step.operation, left, right, self.results[place], step.unit)
        if name == "wrong unit":
            others = [item for item in load_texts("arithmetic")["items"] if item not in self.context[0]]
            yield dataclasses.replace(true, unit=rng.choice(others))
        elif name == "wrong operation" and step.operation in TURNED:
            yield from self._recalculated(true, TURNED[step.operation], [right])
        elif name == "wrong result" and step.operation in TURNED:
            slips = [slip for slip in (-10, -2, -1, 1, 2, 10) if true.result + slip > 0]
            yield dataclasses.replace(true, result=true.result + rng.choice(slips))
        elif name == "misread number":
            numbers = self._story_numbers()
            yield from self._recalculated(true, step.operation, rng.sample(numbers, len(numbers)))
        elif name == "foreign number":
            drawn = [rng.randrange(2, 2 * right + 9) for _ in range(20)]
            taken = {*self._story_numbers(), *self.results}
            yield from self._recalculated(true, step.operation, [number for number in drawn if number not in taken])

    def _story_numbers(self) -> list[int]:
        """Return the numbers that stand in the story."""
        return [number for step in self.steps for number in (step.left, step.right) if isinstance(number, int)]

    def _recalculated(self, true: Attempt, operation: str, rights: Sequence[int]) -> Iterator[Attempt]:
        for right in rights:
            result = _calculate(operation, true.left, right)
            if result is not None:
                yield Attempt(operation, true.left, right, result, true.unit)

    def _put(self, attempt: Attempt, fault: str, rng: Random) -> str:
        words = load_texts("arithmetic")
        template = rng.choice(words[attempt.operation]["step"])
        text = template.format(hero=self.hero, unit=attempt.unit, a=attempt.left, b=attempt.right, r=attempt.result)
        doubt = 0.26 - 0.14 * self.difficulty if fault else 0.08
        fate = rng.random()
        if fate < doubt:
            return f"{rng.choice(words['hedges'])}, {text}"
        if fate < 0.5 and attempt.operation != "opening":
            return f"{rng.choice(words['connectives'])}, {text}"
        return capitalised(text)


def _next_step(current: int, rng: Random) -> tuple[str, int] | None:
    """Draw an operation that keeps the number whole and handy."""
    operation = rng.choice(("add", "add", "subtract", "subtract", "multiply", "divide", "boxes"))
    if operation == "divide":
        parts = [part for part in (2, 3, 4, 5, 6) if current % part == 0 and current // part >= 4]
        return (operation, rng.choice(parts)) if parts else None
    if operation == "multiply":
        factor = rng.randrange(2, 5)
        return (operation, factor) if current * factor <= LARGEST // 4 else None
    if operation == "subtract":
        return (operation, rng.randrange(2, current - 2)) if current > 6 else None
    return operation, rng.randrange(3, 60)


def _chain(count: int, item: str, rng: Random) -> Iterator[Step]:
    """Draw the steps of a solution: an opening, so many calculations, and the answer."""
    current = rng.randrange(8, 90)
    yield Step("opening", current, current, item)
    last, number = 0, 0
    while number < count:
        calculation = _next_step(current, rng)
        if calculation is None or (calculation[0] == "boxes" and number + 2 > count):
            continue
        operation, value = calculation
        if operation == "boxes":
            boxes, each = rng.randrange(2, 9), rng.randrange(3, 13)
            yield Step("boxes", boxes, each, item)
            yield Step("add", Of(last), Of(number + 1), item)
            current, number = current + boxes * each, number + 2
        else:
            yield Step(operation, Of(last), value, item)
            current, number = _calculate(operation, current, value) or current, number + 1
        last = number
    unit = item
    if rng.random() < 0.3:
        unit = "coins"
        yield Step("price", Of(last), rng.randrange(2, 10), unit)
        last += 1
    yield Step("closing", Of(last), Of(last), unit)


def _results(steps: Sequence[Step]) -> tuple[int, ...]:
    results: list[int] = []
    for step in steps:
        result = _calculate(step.operation, _value(step.left, results), _value(step.right, results))
        if result is None:
            raise AssertionError("the steps of a solution keep to natural numbers")
        results.append(result)
    return tuple(results)


def _tell(steps: Sequence[Step], names: Mapping[str, str], item: str, rng: Random) -> str:
    words = load_texts("arithmetic")
    days = load_texts("names")["weekday"]
    sentences = []
    for step in steps:
        if step.operation == "closing" or isinstance(step.right, Of):
            continue
        place = rng.choice(words["places"])
        template = rng.choice(words[step.operation]["story"])
        text = template.format(
            unit=item, things=item, a=step.left, b=step.right, day=rng.choice(days), place=place,
            place_=capitalised(place), **names,
        )  # fmt: skip
        sentences.append(capitalised(text))
    return " ".join(sentences)


def open_problem(rng: Random, difficulty: float, graded: bool) -> ProblemScene:
    """Draw a word problem of one to nine calculations."""
    words = load_texts("arithmetic")
    hero, friend = rng.sample(load_texts("names")["first"], 2)
    item = rng.choice(words["items"])
    steps = tuple(_chain(rng.randrange(1, 9), item, rng))
    names = {"hero": hero, "friend": friend}
    story = _tell(steps, names, item, rng)
    query = rng.choice(words["closing"]["ask"]).format(unit=steps[-1].unit, **names)
    if steps[-1].unit == "coins":
        query = f"How many coins does {hero} earn?"
    lengths = tuple(range(max(2, len(steps) - 2), len(steps) + 1))
    return ProblemScene(query, (story,), lengths, hero, steps, _results(steps), difficulty, graded)
