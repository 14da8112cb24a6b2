"""Whether two final answers to a mathematical problem say the same: careful, so that it rather says no."""

from __future__ import annotations

import re
from fractions import Fraction

DROPPED = re.compile(
    r"\\left|\\right|\\[!,;: ]|\\%|\\\$|[$%\s]|\\text\{[^{}]*\}|\\mathrm\{[^{}]*\}|\^\\circ|\^\{\\circ\}"
)
FRACTION = re.compile(r"(-?)\\[dt]?frac\{(-?\d+)\}\{(-?\d+)\}")
SHORT_FRACTION = re.compile(r"(-?)\\[dt]?frac(\d)(\d)")
BY_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
NAMED = re.compile(r"#\s*Answer\s*\n+(.+?)\s*$", re.DOTALL)
BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")


def said_answer(step: str) -> str:
    """Return the answer with which a last step ends: behind `# Answer`, else in a box, else nothing."""
    named = NAMED.search(step)
    if named:
        return named[1]
    boxed = BOXED.findall(step)
    return boxed[-1] if boxed else ""


def same_answer(one: str, other: str) -> bool:
    """Whether the answers are the same number, or the same text but for blanks and units."""
    left, right = _plain(one), _plain(other)
    if left == right:
        return True
    first, second = _number(left), _number(right)
    return first is not None and first == second


def _plain(answer: str) -> str:
    text = DROPPED.sub("", answer.strip().rstrip("."))
    text = SHORT_FRACTION.sub(r"\1\\frac{\2}{\3}", text)
    return BY_THOUSANDS.sub("", text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac"))


def _number(text: str) -> Fraction | None:
    fraction = FRACTION.fullmatch(text)
    written = f"{fraction[1]}{fraction[2]}/{fraction[3]}" if fraction else text
    try:
        return Fraction(written.replace("--", ""))
    except (ValueError, ZeroDivisionError):
        return None
