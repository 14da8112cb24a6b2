"""Whether the sums that a reasoning step writes down are right."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.block import EncodedBlock
from fractal.features.base import FEATURES, Columns, per_block, scalars

LONGEST = 120  # characters of a side; longer ones are not sums
_SPELLINGS = (
    (re.compile(r"\\(?:times|cdot)\b|[×·⋅]"), "*"),
    (re.compile(r"(?<=[\d)]) ?[xX] ?(?=[\d(])"), "*"),
    (re.compile(r"\\div\b|÷"), "/"),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"\\[dt]?frac\{([^{}]{1,40})\}\{([^{}]{1,40})\}"), r"((\1)/(\2))"),
    (re.compile(r"\\(?:left|right|,|;|!|quad)|\\?\$|\\[()\[\]]"), " "),
    (re.compile(r"\^\{([^{}]{1,20})\}"), r"^(\1)"),
    (re.compile(r"(?<=\d),(?=\d{3}\b)"), ""),
    (re.compile(r"(?<=[\d)])\*\*(?=[\d(-])"), "^"),
    (re.compile(r"\*\*"), " "),
    (re.compile(r"(?:^|\n)[ \t]*[-*•][ \t]+|\.?\n|\.[ \t]+"), ";"),  # list items, lines and sentences stand apart
)
_RUN = re.compile(r"[-+*/^().\d \t=]{3,}")
_ATTACHED = re.compile(r"[\w.)}\]|√\\%!]$")  # what a first side may continue: f(2) = 4, 2x + 3 = 7, √4 = 2
_VARIABLE = re.compile(
    r"(?<!\w)\w$|[)}\]|]$|\bof$|\\[A-Za-z]+$"
)  # x 3 + 4 = 7: one letter is no word; 1% of 50 = 0.01 * 50
_CONTINUED = re.compile(r"[\w{\[√%!]")  # what makes a last side more than a number: = 7x, = 3\pi
_MORE = re.compile(r"\\|(?:with a |, )?remainder", re.IGNORECASE)  # … = 2 \pi, 9 / 7 = 1 with a remainder of 2
_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d*)?|\.\d+)|(.))")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "~": 3, "^": 4}  # ~ is the sign


def value(expression: str) -> float | None:
    """Work out a sum of numbers, + − * / ^ and brackets; None where it is not one."""
    numbers: list[float] = []
    waiting: list[str] = []
    operand = True  # an operand must follow
    for digits, sign in _TOKEN.findall(expression.strip()):
        if operand != bool(digits or sign == "(" or (operand and sign == "-")):
            return None
        if digits:
            numbers.append(float(digits))
        elif sign == "(" or operand:
            waiting.append("(" if sign == "(" else "~")
        elif sign == ")":
            if not _close(numbers, waiting):
                return None
        elif sign not in _PRECEDENCE:
            return None
        else:
            _apply_while(numbers, waiting, _PRECEDENCE[sign], right=sign == "^")
            waiting.append(sign)
        operand = not (digits or sign == ")")
    if operand or "(" in waiting:
        return None
    _apply_while(numbers, waiting, 0)
    return numbers[0] if math.isfinite(numbers[0]) else None


def _close(numbers: list[float], waiting: list[str]) -> bool:
    _apply_while(numbers, waiting, 0)
    return bool(waiting) and waiting.pop() == "("


def _apply_while(numbers: list[float], waiting: list[str], precedence: int, right: bool = False) -> None:
    """Work out the operators that bind at least as tightly (more tightly, for one that groups from the right)."""
    while waiting and waiting[-1] != "(" and _PRECEDENCE[waiting[-1]] >= precedence + right:
        sign = waiting.pop()
        last = numbers.pop()
        numbers.append(-last if sign == "~" else _applied(sign, numbers.pop(), last))


def _applied(sign: str, left: float, right: float) -> float:
    if sign == "^":
        small = abs(right) <= 64 and abs(left) <= 1e4 and (left > 0 or (right == int(right) and right >= 0))
        return left**right if small else math.nan
    if sign == "/":
        return left / right if right else math.nan
    return left + right if sign == "+" else left - right if sign == "-" else left * right


def sums(text: str) -> Iterator[tuple[str, str, bool]]:
    """Find `left = right` with numbers only, at least one side of which is to be worked out, and say if it is right."""
    if "=" not in text:
        return
    for pattern, plain in _SPELLINGS:
        text = pattern.sub(plain, text)
    for run in _RUN.finditer(text):
        if "=" not in run.group():
            continue
        for left, right in pairwise(_sides(run, text)):
            if max(len(left), len(right)) <= LONGEST and (_is_sum(left) or _is_sum(right)):
                one, other = value(left), value(right)
                if one is not None and other is not None:
                    yield left, right, abs(one - other) <= max(_tolerance(left), _tolerance(right))


def _sides(run: re.Match[str], text: str) -> list[str]:
    """Return what stands between the equals signs, without an end that belongs to something that is no number."""
    written = run.group()
    sides = [side.strip() for side in re.split("=+", written)]
    before, after = text[max(0, run.start() - 12) : run.start()], text[run.end() : run.end() + 20]
    attached = _ATTACHED.search(before) is not None and (written[0] not in " \t" or sides[0][:1] == "-")
    if attached or _VARIABLE.search(before) or sides[0][:1] in tuple("+*/^)"):
        sides = sides[1:]
    if (written[-1] not in " \t" and _CONTINUED.match(after)) or _MORE.match(after):
        sides = sides[:-1]
    return sides


def _is_sum(side: str) -> bool:
    return any(sign in side[1:] for sign in "+-*/^")


def _tolerance(side: str) -> float:
    """Return a unit of the last decimal where a side is one number, cut or rounded."""
    if _is_sum(side):
        return 1e-9
    _, _, decimals = side.strip("-() ").partition(".")
    return 1.01 * 10.0 ** -len(decimals) if decimals else 1e-6


@per_block
def _checked(block: EncodedBlock) -> NDArray[np.float32]:
    """Count the sums that every sentence writes down, and those that are wrong: (sentence, 2)."""
    checked = np.zeros((len(block.sentences), 2), np.float32)
    texts = (sentence.text for response in block.responses for sentence in response.sentences)
    for row, text in enumerate(texts):
        if "=" in text:
            for _, _, right in sums(text):
                checked[row] += (1, not right)
    return checked


@FEATURES.register("arithmetic")
def arithmetic(block: EncodedBlock) -> Columns:
    """How many sums such as 3 * 4 = 12 the sentence writes down, and how many of them are wrong."""
    count, wrong = _checked(block).T
    return scalars(
        "arithmetic", {"count": np.log1p(count), "wrong": np.log1p(wrong), "share_wrong": wrong / np.maximum(count, 1)}
    )
