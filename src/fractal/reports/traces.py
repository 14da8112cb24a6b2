"""What a report says of agents' runs: the decisive step beside a passed run's, failures that recur, slices."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fractal.records import Response, ScoredResponse
from fractal.records.steps import AGENT, CALL, RESULT, USER, Step, call_name, is_step, step_of
from fractal.reports.decisive_steps import Decisive, decisive, decisive_number, missing_call
from fractal.reports.recurring_failures import Recurring, recurring_failures
from fractal.reports.summary import label_of

__all__ = ["RunLine", "RunReport", "Slice", "failed", "is_run", "run_report", "timeline"]

SHOWN_RUNS = 40  # failed runs whose timelines a page holds, the worst first
SHOWN_SLICES = 20
SHOWN_FAILURES = 30  # rows of failures that recur
FOLDED = 100  # characters of a call that stay in sight


@dataclass(frozen=True)
class RunLine:
    """One step of a timeline: what stays in sight, and what is folded."""

    number: int
    score: float
    parts: tuple[tuple[str, str], ...]  # (part, text)
    tool: str
    decisive: bool

    @property
    def headline(self) -> str:
        """Return the step in one line: its call or its message."""
        part, text = next((pair for pair in self.parts if pair[0] in (CALL, AGENT)), self.parts[0])
        short = " ".join(text.split())
        return f"{part}: {short if len(short) <= FOLDED else short[: FOLDED - 1] + '…'}"


@dataclass(frozen=True)
class Slice:
    """The runs of one agent or one task."""

    name: str
    runs: int
    failed: int
    tool: str  # what its failures are most often: a call, a message, something left out


@dataclass(frozen=True)
class RunReport:
    """All of it."""

    runs: int
    failed: int
    missing: int  # failed runs in which nothing wrong is seen and something is missing
    recurring: tuple[Recurring, ...]
    recurring_left_out: int  # rows
    agents: tuple[Slice, ...]
    tasks: tuple[Slice, ...]
    timelines: tuple[tuple[ScoredResponse, Decisive, tuple[RunLine, ...]], ...]


def is_run(response: Response) -> bool:
    """Whether a response is a run of an agent."""
    return is_step(response.sentences[0].text)


def run_report(scored: Sequence[ScoredResponse], threshold: float = 0.5) -> RunReport | None:
    """Return what there is to say of the runs among scored responses; nothing where there are none."""
    runs = [item for item in scored if is_run(item.response)]
    if not runs:
        return None
    failures = [item for item in runs if failed(item, threshold)]
    passed = _by_task(item for item in runs if not failed(item, threshold))
    found = {id(item): decisive(item, passed) for item in failures}
    worst = sorted(failures, key=lambda item: min(item.sentence_scores))[:SHOWN_RUNS]
    recurring = recurring_failures([found[id(item)] for item in failures])
    return RunReport(
        len(runs),
        len(failures),
        sum(bool(step.missing) for step in found.values()),
        tuple(recurring[:SHOWN_FAILURES]),
        max(len(recurring) - SHOWN_FAILURES, 0),
        _slices(runs, found, lambda item: _meta(item).get("agent", "")),
        _slices(runs, found, lambda item: item.response.group or ""),
        tuple((item, found[id(item)], timeline(item)) for item in worst),
    )


def failed(item: ScoredResponse, threshold: float) -> bool:
    """Whether a run failed: by its label, else by its score."""
    label = label_of(item)
    return (item.response_score if label is None else label) < (threshold if label is None else 0.5)


def timeline(item: ScoredResponse) -> tuple[RunLine, ...]:
    """Return the steps of a run in order; none is decisive where a call is missing."""
    blamed = None if missing_call(item) else decisive_number(item)
    lines = []
    for place, (sentence, score) in enumerate(zip(item.response.sentences, item.sentence_scores, strict=True)):
        step = step_of(sentence.text)
        tool = call_name(step.calls[0]) if step.calls else ""
        lines.append(RunLine(place + 1, score, tuple(_parts(step)), tool, place == blamed))
    return tuple(lines)


def _parts(step: Step) -> Iterable[tuple[str, str]]:
    if step.user:
        yield USER, step.user
    if step.agent or not step.calls:
        yield AGENT, step.agent
    for number, call in enumerate(step.calls):
        yield CALL, call
        if number < len(step.results):
            yield RESULT, step.results[number]


def _slices(
    runs: Sequence[ScoredResponse], found: dict[int, Decisive], name_of: Callable[[ScoredResponse], object]
) -> tuple[Slice, ...]:
    """Count runs and failures by a name, those with most failures first; runs without one are left out."""
    by_name: dict[str, list[ScoredResponse]] = defaultdict(list)
    for item in runs:
        if name := str(name_of(item)):
            by_name[name].append(item)
    rows = []
    for name, items in by_name.items():
        blamed = [found[id(item)] for item in items if id(item) in found]
        tools = Counter(step.what for step in blamed)
        rows.append(Slice(name, len(items), len(blamed), tools.most_common(1)[0][0] if tools else ""))
    return tuple(sorted(rows, key=lambda row: (-row.failed, row.name))[:SHOWN_SLICES])


def _by_task(items: Iterable[ScoredResponse]) -> dict[str, list[Response]]:
    passed: dict[str, list[Response]] = defaultdict(list)
    for item in items:
        passed[item.response.split_group].append(item.response)
    return passed


def _meta(item: ScoredResponse) -> dict[str, Any]:
    meta = item.response.extra.get("meta")
    return meta if isinstance(meta, dict) else {}
