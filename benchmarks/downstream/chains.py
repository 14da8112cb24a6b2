"""Chained arithmetic modulo 100: prompts such as `47+8-3*2`, solutions that write every step, and the exact check."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

MODULUS = 100
OPERATIONS = ("+", "-", "*")
OPERANDS = range(2, 10)
SHORTEST, TRAINED, LONGEST = 3, 8, 10  # steps: reinforcement learning sees 3 to 8, pretraining 3 to 10

SYMBOLS = (*map(str, range(MODULUS)), *OPERATIONS, "=", "\n", "<begin>", "<end>", "<pad>")
CODES = {symbol: code for code, symbol in enumerate(SYMBOLS)}
EQUALS, NEWLINE, BEGIN, END, PAD = (CODES[name] for name in ("=", "\n", "<begin>", "<end>", "<pad>"))
PROMPT_WIDTH = 2 * LONGEST + 2  # a number, so many operations with their operands, and the sign to begin
ANSWER_WIDTH = 6 * (LONGEST + 2)  # a step is six tokens; two steps more than any prompt asks for can be written

_STEP = re.compile(r"(\d{1,2})([-+*])(\d{1,2})=(\d{1,2})")


@dataclasses.dataclass(frozen=True)
class Chain:
    """A number and what is done to it, one operation after another."""

    start: int
    operations: tuple[tuple[str, int], ...]

    @property
    def prompt(self) -> str:
        """What the policy reads."""
        return str(self.start) + "".join(f"{sign}{operand}" for sign, operand in self.operations)

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of the right solution."""
        value, written = self.start, []
        for sign, operand in self.operations:
            result = apply(value, sign, operand)
            written.append(f"{value}{sign}{operand}={result}")
            value = result
        return tuple(written)

    @property
    def result(self) -> int:
        """The true result."""
        value = self.start
        for sign, operand in self.operations:
            value = apply(value, sign, operand)
        return value

    def codes(self) -> list[int]:
        """Return the tokens of the prompt, padded on the left."""
        tokens = [self.start, *(code for sign, operand in self.operations for code in (CODES[sign], operand)), BEGIN]
        return [PAD] * (PROMPT_WIDTH - len(tokens)) + tokens


def apply(value: int, sign: str, operand: int) -> int:
    """Return what a step should give."""
    result = {"+": value + operand, "-": value - operand, "*": value * operand}[sign]
    return result % MODULUS


def draw(count: int, rng: np.random.Generator, shortest: int = SHORTEST, longest: int = LONGEST) -> list[Chain]:
    """Draw chains of evenly many lengths."""
    lengths = rng.integers(shortest, longest + 1, count)
    return [
        Chain(
            int(rng.integers(MODULUS)),
            tuple((str(rng.choice(OPERATIONS)), int(rng.choice(OPERANDS))) for _ in range(length)),
        )
        for length in lengths.tolist()
    ]


def answer_codes(chain: Chain) -> list[int]:
    """Return the tokens of the right solution, padded on the right."""
    tokens = [code for step in chain.steps for code in (*_step_codes(step), NEWLINE)]
    return [*tokens[:-1], END] + [PAD] * (ANSWER_WIDTH - len(tokens))


def text_of(codes: Sequence[int]) -> str:
    """Write an answer out, as far as its end."""
    some = list(codes)
    return "".join(SYMBOLS[code] for code in (some[: some.index(END)] if END in some else some) if code != PAD)


@dataclasses.dataclass(frozen=True)
class Judged:
    """What is true of an answer: whether it ends in the right number, and which of its steps are right."""

    right: bool
    steps: tuple[bool, ...]


def judge(chain: Chain, answer: str) -> Judged:
    """Check an answer exactly: a step is right where it goes on from the step before, as asked, and computes truly.

    So an error counts once: what follows it is held against the number that was written. The answer is right where it
    has as many steps as the prompt asks for and its last one ends in the true result. Blank lines are no steps.
    """
    steps, value = [], chain.start
    lines = [line for line in answer.split("\n") if line]
    written: int | None = None
    for place, line in enumerate(lines):
        step, asked = _STEP.fullmatch(line), chain.operations[place : place + 1]
        written = None
        if step is not None:
            operation = (step[2], int(step[3]))
            written = int(step[4])
            goes_on = int(step[1]) == value and asked == (operation,)
            steps.append(goes_on and apply(value, *operation) == written)
            value = written
        else:
            steps.append(False)
    return Judged(len(lines) == len(chain.operations) and written == chain.result, tuple(steps))


def parsed(prompt: str) -> Chain:
    """Read a prompt back."""
    start, *operations = re.findall(r"\d+|[-+*]\d+", prompt)
    return Chain(int(start), tuple((operation[0], int(operation[1:])) for operation in operations))


def _step_codes(step: str) -> list[int]:
    before, sign, operand, result = re.findall(r"\d+|[-+*]", step)
    return [int(before), CODES[sign], int(operand), EQUALS, int(result)]
