"""PRM800K: solutions of MATH problems by a language model, each step rated −1, 0 or +1 by a person."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from fractal.datasets.published.common import LFS, chosen, field, files_in, joined
from fractal.datasets.published.final_answers import said_answer, same_answer
from fractal.errors import BadData
from fractal.readers.base import READERS, Reader
from fractal.readers.jsonl import decode_line
from fractal.readers.session import ReadSession, Record
from fractal.readers.sources import BadRow, Row, name_of, numbered_lines, open_bytes
from fractal.records import Response

NEUTRAL: Mapping[str, float | None] = {"good": 1.0, "bad": 0.0, "half": 0.5, "unknown": None}
Step = tuple[str, float | None]
UNFINISHED = ("bad_problem", "give_up")


@READERS.register("prm800k")
@dataclasses.dataclass(frozen=True)
class PRM800K(Reader):
    """PRM800K's phase 1 and 2: steps with their ratings along the chosen path, and the outcome.

    - Source: the repository `openai/prm800k` (2023), `phase1_train.jsonl`, `phase1_test.jsonl`, `phase2_train.jsonl`,
      `phase2_test.jsonl`, kept by Git LFS. Licence: MIT.
    - Task: reasoning. Aggregation: min over steps; a step is wrong (0) when it is rated −1.
    - Split by group: the problem; both phases hold the same problems.
    - Traps: the solution follows the *chosen* completion of each step, not the first. Phase 2 stops at the first wrong
      step, so the last step of a wrong solution is the wrong one: position alone solves it. Solutions served to every
      rater (screening, quality control) come many times over. A step written by the rater has no rating: it counts
      as right. Rating 0 is "neither wrong nor helpful".
    """

    neutral: str = "good"  # what rating 0 counts as: good, bad, half or unknown
    outcome: str = "steps"  # or "answer": the label is whether the final answer is right, of the whole solution
    unfinished: str = "drop"  # or "keep": broken problems, and those a rater gave up
    screening: str = "drop"  # or "keep": what was served to every rater

    def __post_init__(self) -> None:
        chosen(self.neutral, tuple(NEUTRAL), "neutral")
        chosen(self.outcome, ("steps", "answer"), "outcome")
        chosen(self.unfinished, ("drop", "keep"), "unfinished")
        chosen(self.screening, ("drop", "keep"), "screening")

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the rated solutions."""
        for file in files_in(source, ("phase*.jsonl", "phase*.jsonl.gz"), "phases"):
            stem = PurePath(name_of(file)).name.partition(".")[0]
            with open_bytes(file) as stream:
                for line, content in numbered_lines(stream, name_of(file)):
                    if isinstance(content, bytes) and content.startswith(LFS):
                        raise BadData("this is a pointer of Git LFS, not the file: see `fractal fetch prm800k`")
                    if isinstance(content, BadRow):
                        yield content
                    elif content.strip():
                        row = decode_line(line, content)
                        yield row if isinstance(row, BadRow) else Row(line, {**row.fields, "id": f"{stem}-{line}"})

    def records(self, source: Any, session: ReadSession) -> Iterator[Record]:
        """Yield the solutions that are to be kept."""
        left_out = {"unfinished": 0, "screening": 0}
        for row in self.rows(source):
            reason = "" if isinstance(row, BadRow) else self._reason(row.fields)
            if reason:
                left_out[reason] += 1
            else:
                yield from session.accept(row, self._solution)
        for reason, count in left_out.items():
            if count:
                session.report.note(f"left out {count:,} solutions for {reason}='drop'")

    def _reason(self, row: Mapping[str, Any]) -> str:
        label = row.get("label")
        finish = label.get("finish_reason") if isinstance(label, Mapping) else None
        if self.unfinished == "drop" and finish in UNFINISHED:
            return "unfinished"
        served = row.get("is_quality_control_question") or row.get("is_initial_screening_question")
        return "screening" if self.screening == "drop" and served else ""

    def _solution(self, row: Mapping[str, Any], session: ReadSession, line: int) -> Iterable[Record]:
        question, label = field(row, "question", Mapping), field(row, "label", Mapping)
        generated = [str(text) for text in field(question, "pre_generated_steps", list, [])]
        rated = field(label, "steps", list)
        steps = [self._step(step, generated[place : place + 1]) for place, step in enumerate(rated)]
        if self.outcome == "answer" and len(generated) > len(steps):
            steps += [(text, None) for text in generated[len(steps) :]]
        text, parts = joined([text for text, _ in steps], [value for _, value in steps], "\n")
        if not parts:
            raise BadData("the solution has no step", field="label.steps")
        problem = field(question, "problem", str)
        finish = label.get("finish_reason")
        good = self._whole([part.label for part in parts])
        if self.outcome == "answer":
            good = _outcome(question, steps, finish)
        extra = {"aggregation": "min", "finish_reason": finish, "generation": row.get("generation")}
        yield Response(row["id"], parts, text, problem, label=good, group=problem, extra=extra)

    def _step(self, step: Any, generated: Sequence[str]) -> Step:
        """Return the step of the path: the chosen completion, else the rater's own, else where the path ends."""
        if not isinstance(step, Mapping):
            raise BadData(f"found {repr(step)[:60]}: a step is an object", field="label.steps")
        completions = field(step, "completions", list, [])
        number = field(step, "chosen_completion", int, None)
        if number is not None:
            if not 0 <= number < len(completions):
                raise BadData(f"found {number} of {len(completions)} completions", field="chosen_completion")
            return self._rated(completions[number])
        written = step.get("human_completion")
        if written:
            return field(written, "text", str) if isinstance(written, Mapping) else str(written), 1.0
        if not completions:
            raise BadData("a step has no completion, chosen or not", field="completions")
        return self._rated(_end(completions, generated))

    def _rated(self, completion: Any) -> Step:
        rating = field(completion, "rating", int, None)
        if rating not in (-1, 0, 1, None):
            raise BadData(f"found {rating}: a rating is -1, 0 or 1", field="rating")
        value = None if rating is None else {-1: 0.0, 0: NEUTRAL[self.neutral], 1: 1.0}[rating]
        return field(completion, "text", str, ""), value

    def _whole(self, labels: Sequence[float | None]) -> float | None:
        rated = [label for label in labels if label is not None]
        if not rated or (len(rated) < len(labels) and min(rated) > 0):
            return None
        return min(rated)


def _end(completions: Sequence[Any], generated: Sequence[str]) -> Any:
    """Return what a path ends with where nothing was chosen: the generated step, else the first wrong one."""
    for completion in completions:
        if generated and isinstance(completion, Mapping) and completion.get("text") == generated[0]:
            return completion
    wrong = (one for one in completions if isinstance(one, Mapping) and one.get("rating") == -1)
    return next(wrong, completions[0])


def _outcome(question: Mapping[str, Any], steps: Sequence[Step], finish: Any) -> float | None:
    """Whether the final answer is right; unknown where the solution does not come to one."""
    final_answer = question.get("pre_generated_answer") or said_answer(steps[-1][0])
    truth = question.get("ground_truth_answer")
    if final_answer and truth:
        return float(same_answer(str(final_answer), str(truth)))
    return 1.0 if finish == "solution" else None
