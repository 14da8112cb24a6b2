"""What a failed run of an agent is put down to: its decisive step beside a passed run's, or a call that is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fractal.records import Response, ScoredResponse
from fractal.records.steps import MISSING_CALL, Step, call_name, step_of

__all__ = ["Decisive", "decisive", "decisive_number", "missing_call"]


@dataclass(frozen=True)
class Decisive:
    """The step that a failed run is put down to, and the step of a passed run of its task that comes nearest."""

    run: str
    task: str
    number: int
    score: float
    tool: str
    text: str
    passed_run: str = ""
    passed_step: str = ""
    missing: str = ""  # the tool that passed runs called and this one did not, where nothing wrong is seen

    @property
    def what(self) -> str:
        """Return in few words what the failure is: a call, a message, or something left out."""
        return f"no call of {self.missing}" if self.missing else self.tool or "a message"


def missing_call(item: ScoredResponse) -> str:
    """Return the tool whose call a failed run lacks, where that is what it is put down to."""
    tool = item.response.extra.get(MISSING_CALL, "")
    return tool if isinstance(tool, str) else ""


def decisive_number(item: ScoredResponse) -> int:
    """Return the place of the step to blame: the one that was labelled so, else the lowest score."""
    scores = item.sentence_scores
    marked = [place for place, label in enumerate(item.sentence_labels) if label < 0.5]
    return min(marked or range(len(scores)), key=lambda place: scores[place])


def decisive(item: ScoredResponse, passed: Mapping[str, Sequence[Response]]) -> Decisive:
    """Return the step to blame, with the step of a passed run of the task that has most words in common with it."""
    place = decisive_number(item)
    task, text = item.response.split_group, item.response.sentences[place].text
    step = step_of(text)
    tool = call_name(step.calls[0]) if step.calls else ""
    beside = _nearest(step, passed.get(task, ()))
    return Decisive(
        item.response.id, task, place + 1, item.sentence_scores[place], tool, text, *beside, missing_call(item)
    )


def _nearest(step: Step, passed: Sequence[Response]) -> tuple[str, str]:
    """Return the passed run and its step that has most words in common, those that call the same tool first."""
    best, run, beside = 0.0, "", ""
    words = _words_of(step)
    for other in passed:
        for sentence in other.sentences:
            theirs = _words_of(step_of(sentence.text))
            same_tool = bool(step.calls) == bool(theirs & {f"{tool}()" for tool in map(call_name, step.calls)})
            near = len(words & theirs) / max(len(words | theirs), 1) + same_tool
            if words and near > best:
                best, run, beside = near, other.id, sentence.text
    return run, beside


def _words_of(step: Step) -> set[str]:
    """Return what two steps are compared by: tools and arguments of calls, else the words of the message."""
    if step.calls:
        return {word for call in step.calls for word in [*call.split(), f"{call_name(call)}()"]}
    return {word.casefold() for word in step.agent.split()}
