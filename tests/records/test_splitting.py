"""Where sentences and steps end, where they must not, and that no text takes long."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fractal.errors import BadSpec
from fractal.records.splitting import SPLITTERS, Presplit, Sentences
from support.effort import few

CASES = Path(__file__).parents[2] / "benchmarks" / "splitting_cases.jsonl"


def cut(spec: str, text: str) -> list[str]:
    return [part.text for part in SPLITTERS.build(spec)(text)]


def test_accuracy_on_the_hard_cases_is_kept():
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    right = sum(cut("sentences", case["text"]) == case["sentences"] for case in cases)
    assert len(cases) >= 300
    assert right / len(cases) >= 0.95


def test_the_hard_cases_lose_no_text():
    for line in CASES.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        assert "".join("".join(case["sentences"]).split()) == "".join(case["text"].split()), case["id"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Dr. Ito left at 5 p.m. The room was empty.", ["Dr. Ito left at 5 p.m.", "The room was empty."]),
        ("It is known.[3] It is old.", ["It is known.[3]", "It is old."]),
        ("A list:\n- one\n- two", ["A list:", "- one", "- two"]),
        ("No stop here\n\nNext part", ["No stop here", "Next part"]),
        ("Run:\n```\na = 1.\n\nb = 2.\n```\nDone.", ["Run:", "```\na = 1.\n\nb = 2.\n```", "Done."]),
        ("```\nnever closed. Yes.\n\nStill code.", ["```\nnever closed. Yes.\n\nStill code."]),
        ("它很大。它很老！", ["它很大。", "它很老！"]),
        ("It rained.Then it stopped.", ["It rained.", "Then it stopped."]),
        ("See http://example.org/A.Page for it.", ["See http://example.org/A.Page for it."]),
    ],
)
def test_sentences(text, sentences):
    assert cut("sentences", text) == sentences


@pytest.mark.parametrize("blank", ["\xa0", "\x85", "\u2028", "\u3000", "\x1c"])
def test_any_blank_may_stand_before_a_stop(blank):
    assert (
        "".join(cut("sentences", f"Plan B{blank}. It is here.")).replace(" ", "").replace(blank, "")
        == "PlanB.Itishere."
    )


def test_half_a_character_is_kept():
    assert cut("sentences", "Bad \ud83d here. Good.") == ["Bad \ud83d here.", "Good."]


def test_a_closed_formula_is_not_cut():
    assert cut("sentences", r"We have \[ a. B \] here. Good.") == [r"We have \[ a. B \] here.", "Good."]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (
            "Step 1: add.\nIt gives 5.\n\nSo 5.\nStep 2: double.",
            ["Step 1: add.\nIt gives 5.\n\nSo 5.", "Step 2: double."],
        ),
        ("## Step 1\nadd\n## Step 2\ndouble", ["## Step 1\nadd", "## Step 2\ndouble"]),
        ("**Step 1:** a\n\n**Step 2:** b\n\nFinal answer: 4", ["**Step 1:** a", "**Step 2:** b", "Final answer: 4"]),
        ("1. Add.\n2. Double.\n   Twice.\n3. Stop.", ["1. Add.", "2. Double.\n   Twice.", "3. Stop."]),
        ("We add. It is 5.\n\nWe double.\n\nIt is 10.", ["We add. It is 5.", "We double.", "It is 10."]),
        ("We add 2 and 3\nThat is 5\nDouble it", ["We add 2 and 3", "That is 5", "Double it"]),
        ("### Sum\n\nIt is 5.\n\nDone.", ["### Sum\n\nIt is 5.", "Done."]),
        ("One paragraph. Two sentences.", ["One paragraph. Two sentences."]),
    ],
)
def test_steps(text, steps):
    assert cut("steps", text) == steps


@pytest.mark.parametrize(
    "block",
    [
        "$$\na = 1\n\n1. b\n$$",
        "\\[\na\n\nStep 2: b\n\\]",
        "\\begin{align}\na\n\nb\n\\end{align}",
        "```\nStep 1: x\n\nStep 2: y\n```",
    ],
)
def test_steps_keep_formulas_and_code_whole(block):
    steps = cut("steps", f"First we look.\n\nIt holds that:\n\n{block}\n\nwhere a is small.\n\nDone.")
    assert steps == ["First we look.", f"It holds that:\n\n{block}\n\nwhere a is small.", "Done."]


def test_lines_and_presplit():
    assert cut("lines", "a. B\r\n\n c \rd") == ["a. B", "c", "d"]
    assert cut("presplit", "a. B\n\nc\nd\n\n\n\ne") == ["a. B", "c\nd", "e"]
    assert [(part.text, part.start) for part in Presplit(" ||| ")("one ||| two")] == [("one", 0), ("two", 8)]


@pytest.mark.parametrize("spec", ["presplit(separator='')", "presplit(separator=3)", "sentences(language=3)"])
def test_an_option_that_cannot_be_is_refused(spec):
    with pytest.raises(BadSpec, match="give"):
        SPLITTERS.build(spec)


UNITS = {
    "prose": "The cat sat. ",
    "no stop": "word ",
    "no space": "a",
    "chinese": "字。",
    "newlines": "\n",
    "backticks": "`a. B ` c. ",
    "formulas": "\\[ a ",
    "brackets": "(a. B ",
    "lines": "a b,\nc d\n",
    "fences": "````\n```\n",
    "steps": "Step 1\n\nx\n\n",
}


@pytest.mark.parametrize("unit", UNITS.values(), ids=list(UNITS))
@pytest.mark.parametrize("spec", list(SPLITTERS))
def test_time_grows_with_the_text_not_with_its_square(spec, unit):
    """Twelve times the text takes nowhere near 144 times as long."""

    def seconds(size: int) -> float:
        text, splitter = unit * (size // len(unit)), SPLITTERS.build(spec)
        began = time.process_time()
        splitter(text)
        return time.process_time() - began

    short, long = (min(seconds(size) for _ in range(3)) for size in (5_000, 60_000))
    assert long < max(60 * short, 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS.values(), ids=list(UNITS))
def test_megabytes_on_one_line(unit):
    megabytes = few(1, 4)
    text = unit.replace("\n", " ") * (megabytes * 1_000_000 // len(unit.encode()))
    began = time.process_time()
    parts = Sentences()(text)
    assert time.process_time() - began < 12 * megabytes
    assert sum(len(part.text) - part.text.count(" ") for part in parts) == len(text) - text.count(" ")


def test_a_long_line_is_cut_as_its_sentences_are():
    text = "The cat, e.g. Tom, sat by Dr. Ito. " * 500
    assert cut("sentences", text) == ["The cat, e.g. Tom, sat by Dr. Ito."] * 500


def test_importing_splitting_is_light():
    code = "import sys, fractal.records.splitting; print(sorted({'torch', 'numpy', 'sentencex'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
