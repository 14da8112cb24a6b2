"""Scored responses in a terminal: one sentence a line with its score, coloured where there are colours."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from fractal.printable import visible
from fractal.records import Response, ScoredResponse
from fractal.records.steps import RESULT
from fractal.reports.decisive_steps import decisive
from fractal.reports.palette import MIDDLE, step
from fractal.reports.summary import aim_of, finds, label_of, step_alone
from fractal.reports.traces import failed, is_run, timeline

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

# Foregrounds that read on black and on white: orange, dark orange, …, blue. What is near the threshold keeps the
# terminal's own colour.
STYLES = ("bold #d75f00", "#d75f00", "#c77a30", "#b08050", "", "", "", "#4f87b5", "#2f80c0")
WIDEST_QUERY = 200


def show(
    scored: Iterable[ScoredResponse],
    console: Console | None = None,
    *,
    worst_first: bool = True,
    limit: int | None = 10,
    threshold: float = 0.5,
) -> int:
    """Print responses with a score before every sentence; return how many were shown.

    With `worst_first` those with the lowest sentence come first; without it, they are printed as they come. A sentence
    below the threshold carries the mark ▼, so that no colour is needed to see it; relative scores, learned from
    preferences alone, are marked ▼ and ▲ by how far they lie from the mean of their response. A run of an agent is a
    timeline with results folded; its decisive step is open, beside the nearest step of a passed run of the task among
    those read.
    """
    from rich.console import Console

    console = console or Console()
    passed: dict[str, list[Response]] = {}
    watched = _remember_passed(scored, passed, threshold)
    chosen = _worst(watched, limit) if worst_first else islice(watched, limit)
    count = 0
    for count, item in enumerate(chosen, 1):
        if count > 1:
            console.print()
        for line in _run_lines(item, threshold, passed) if is_run(item.response) else _lines(item, threshold):
            console.print(line)
    return count


def worst_first(scored: Iterable[ScoredResponse], limit: int | None) -> list[ScoredResponse]:
    """Return the responses whose lowest sentence is lowest (under a maximum: whose best is best), at most `limit`."""
    if limit is None:
        return sorted(scored, key=_badness)
    return heapq.nsmallest(limit, scored, key=_badness)


_worst = worst_first  # `show` has an option of that name


def _badness(item: ScoredResponse) -> tuple[float, float]:
    if finds(item):  # what makes the response good is what a reader looks for
        return 1 - max(item.sentence_scores), -item.response_score
    if item.relative:  # no score of it is bad in itself: what lies furthest below its own response comes first
        return min(item.sentence_scores) - statistics.fmean(item.sentence_scores), item.response_score
    return min(item.sentence_scores), item.response_score


def _head(item: ScoredResponse, threshold: float) -> Text:
    from rich.text import Text

    label = label_of(item)
    head = Text(visible(item.response.id), style="bold")
    place = MIDDLE if item.relative else step(item.response_score, threshold, finds(item))
    head.append(f"  score {item.response_score:.2f}", style=STYLES[place])
    head.append(f"  label {label:.2f}" if label is not None else "", style="not bold")
    head.append(f"  {visible(item.aspect)}" if item.aspect else "", style="not bold")
    return head


def _lines(item: ScoredResponse, threshold: float) -> Iterator[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    yield _head(item, threshold)
    if query := item.response.query:
        short = query if len(query) <= WIDEST_QUERY else query[: WIDEST_QUERY - 1] + "…"
        yield Text(visible(short), style="italic")
    table = Table.grid(padding=(0, 1))
    for _ in range(2 + bool(item.sentence_spread)):
        table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    spread = item.sentence_spread or (None,) * len(item.sentence_scores)
    for sentence, score, wide in zip(item.response.sentences, item.sentence_scores, spread, strict=True):
        place = step_alone(item, score, threshold)
        cells = [
            "▼" if place < MIDDLE else "▲" if aim_of(item) != "flag" and place > MIDDLE else " ",
            f"{score:.2f}",
            *([] if wide is None else [f"±{wide:.2f}"]),
        ]
        table.add_row(*(Text(cell, STYLES[place]) for cell in [*cells, visible(sentence.text)]))
    yield table


def _remember_passed(
    scored: Iterable[ScoredResponse], passed: dict[str, list[Response]], threshold: float
) -> Iterator[ScoredResponse]:
    """Pass records on and keep the runs that passed, by their task."""
    for item in scored:
        if is_run(item.response) and not failed(item, threshold):
            passed.setdefault(item.response.split_group, []).append(item.response)
        yield item


def _run_lines(item: ScoredResponse, threshold: float, passed: dict[str, list[Response]]) -> Iterator[RenderableType]:
    """Show a run as a timeline; results are folded to their length but at the decisive step."""
    from rich.table import Table
    from rich.text import Text

    yield _head(item, threshold)
    blamed = decisive(item, passed) if failed(item, threshold) else None
    if blamed and blamed.missing:
        lacking = f"nothing wrong is seen: passed runs of the task called {visible(blamed.missing)}, this one did not"
        yield Text(lacking, "italic")
    table = Table.grid(padding=(0, 1))
    for _ in range(3):
        table.add_column(no_wrap=True, justify="right")
    table.add_column(ratio=1, overflow="fold")
    for line in timeline(item):
        place = step(line.score, threshold)
        bad = blamed is not None and line.decisive
        results = sum(len(text) for part, text in line.parts if part == RESULT)
        folded = f"{line.headline}{f'  → {results:,} characters' if results else ''}"
        texts = [f"{part}: {text}" for part, text in line.parts] if bad else [folded]
        body = "\n".join(map(visible, texts))
        cells = ["▼" if bad else " ", str(line.number), f"{line.score:.2f}"]
        table.add_row(*(Text(cell, STYLES[place]) for cell in [*cells, body]))
        if bad and blamed and blamed.passed_step:
            beside = f"in {visible(blamed.passed_run)}, which passed: {visible(blamed.passed_step)}"
            table.add_row("", "", "", Text(beside, "italic"))
    yield table
