"""What a report says of agents' runs: the decisive step beside a passed run's, failures that recur, slices."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fractal.records import Response, ScoredResponse
from fractal.records.steps import AGENT, CALL, PARTS, RESULT, USER, Step, call_name, is_step, step_of
from fractal.reports.summary import label_of

__all__ = ["Decisive", "Recurring", "RunLine", "RunReport", "Slice", "decisive", "is_run", "run_report", "timeline"]

SHOWN_RUNS = 40  # failed runs whose timelines a page holds, the worst first
SHOWN_SLICES = 20
FOLDED = 100  # characters of a call that stay in sight
_WORD = re.compile(r"[^\W\d_]{3,}")


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
class Decisive:
    """The step that a failed run is put down to, and the step of a passed run of its task that comes nearest."""

    run: str
    number: int
    score: float
    tool: str
    text: str
    passed_run: str = ""
    passed_step: str = ""


@dataclass(frozen=True)
class Recurring:
    """Failures whose decisive steps call the same tool, and the words that these steps share."""

    tool: str
    count: int
    tasks: int
    words: tuple[str, ...]
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Slice:
    """The runs of one agent or one task."""

    name: str
    runs: int
    failed: int
    tool: str  # that decisive steps call most often


@dataclass(frozen=True)
class RunReport:
    """All of it."""

    runs: int
    failed: int
    recurring: tuple[Recurring, ...]
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
    return RunReport(
        len(runs),
        len(failures),
        tuple(_recurring([(item, found[id(item)]) for item in failures])),
        _slices(runs, found, lambda item: _meta(item).get("agent", "")),
        _slices(runs, found, lambda item: item.response.group or ""),
        tuple((item, found[id(item)], timeline(item)) for item in worst),
    )


def failed(item: ScoredResponse, threshold: float) -> bool:
    """Whether a run failed: by its label, else by its score."""
    label = label_of(item)
    return (item.response_score if label is None else label) < (threshold if label is None else 0.5)


def decisive_number(item: ScoredResponse) -> int:
    """Return the place of the step to blame: the one that was labelled so, else the lowest score."""
    scores = item.sentence_scores
    marked = [place for place, label in enumerate(item.sentence_labels) if label < 0.5]
    return min(marked or range(len(scores)), key=lambda place: scores[place])


def decisive(item: ScoredResponse, passed: dict[str, list[Response]]) -> Decisive:
    """Return the step to blame, with the step of a passed run of the task that has most words in common with it."""
    place = decisive_number(item)
    text = item.response.sentences[place].text
    step = step_of(text)
    best, run, beside = 0.0, "", ""
    words = _words_of(step)
    for other in passed.get(item.response.split_group, ()):
        for sentence in other.sentences:
            theirs = _words_of(step_of(sentence.text))
            same_tool = bool(step.calls) == bool(theirs & {f"{tool}()" for tool in map(call_name, step.calls)})
            near = len(words & theirs) / max(len(words | theirs), 1) + same_tool
            if words and near > best:
                best, run, beside = near, other.id, sentence.text
    tool = call_name(step.calls[0]) if step.calls else ""
    return Decisive(item.response.id, place + 1, item.sentence_scores[place], tool, text, run, beside)


def timeline(item: ScoredResponse) -> tuple[RunLine, ...]:
    """Return the steps of a run in order."""
    blamed = decisive_number(item)
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


def _words_of(step: Step) -> set[str]:
    """Return what two steps are compared by: tools and arguments of calls, else the words of the message."""
    if step.calls:
        return {word for call in step.calls for word in [*call.split(), f"{call_name(call)}()"]}
    return {word.casefold() for word in step.agent.split()}


def _recurring(failures: Sequence[tuple[ScoredResponse, Decisive]]) -> list[Recurring]:
    """Group failures by the tool of their decisive step; the words are those that set a group's steps apart."""
    by_tool: dict[str, list[tuple[ScoredResponse, Decisive]]] = defaultdict(list)
    for item, step in failures:
        by_tool[step.tool or "a message"].append((item, step))
    everywhere = _word_counts(step for _, step in failures)
    groups = []
    for tool, members in by_tool.items():
        here = _word_counts(step for _, step in members)
        lift = {
            word: count / (everywhere[word] + 1) * count for word, count in here.items() if count > len(members) / 5
        }
        words = tuple(sorted(lift, key=lambda word: (-lift[word], word))[:4])
        tasks = len({item.response.split_group for item, _ in members})
        groups.append(Recurring(tool, len(members), tasks, words, tuple(step.run for _, step in members[:3])))
    return sorted(groups, key=lambda group: -group.count)


def _word_counts(steps: Iterable[Decisive]) -> Counter[str]:
    """Count in how many steps each word stands; the names of parts are none."""
    names = {part.casefold() for part in PARTS}
    return Counter(
        word for step in steps for word in {w.casefold() for w in _WORD.findall(step.text)} if word not in names
    )


def _slices(runs: Sequence[ScoredResponse], found: dict[int, Decisive], name_of: Any) -> tuple[Slice, ...]:
    """Count runs and failures by a name, those with most failures first; runs without one are left out."""
    by_name: dict[str, list[ScoredResponse]] = defaultdict(list)
    for item in runs:
        if name := str(name_of(item)):
            by_name[name].append(item)
    rows = []
    for name, items in by_name.items():
        blamed = [found[id(item)] for item in items if id(item) in found]
        tools = Counter(step.tool or "a message" for step in blamed)
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
