"""`fractal show`: scored responses in the terminal, coloured sentence by sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, quiet_option, scored_options
from fractal.cli._output import console, note
from fractal.cli._promises import saved_promises, threshold_of, threshold_option
from fractal.records import ScoredResponse

__all__ = ["command", "filtered"]

NOTHING_FOUND = 1


@subcommand(
    "show",
    "fractal show scores.jsonl --limit 5",
    "fractal score scorer/ answers.jsonl | fractal show - --below 0.3 --find Paris",
)
@click.argument("scores", default="-")
@click.option("-n", "--limit", default=10, show_default=True, help="How many responses to show; 0 shows all.")
@click.option("--order", type=click.Choice(["worst", "best", "file"]), default="worst", show_default=True)
@click.option("--below", type=float, metavar="SCORE", help="Only responses with a sentence below this score.")
@click.option("--above", type=float, metavar="SCORE", help="Only responses whose every sentence is at least this.")
@click.option("--label", type=float, metavar="LABEL", help="Only responses with this label, of the aspect shown.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Only the response with this id. Repeatable.")
@click.option("--find", metavar="TEXT", help="Only responses that contain this text, in any case.")
@click.option("--aspect", metavar="NAME", help="Only the scores of this aspect.")
@click.option("--scorer", metavar="FOLDER", help="The scorer that made them: flags by its promise, if it has one.")
@threshold_option
@quiet_option
@scored_options
def command(
    scores: str,
    limit: int,
    order: str,
    below: float | None,
    above: float | None,
    label: float | None,
    ids: tuple[str, ...],
    find: str | None,
    aspect: str | None,
    scorer: str | None,
    threshold: float | None,
    quiet: bool,
    reading: ReadOptions,
) -> int:
    """Show scored responses as coloured sentences, the worst first.

    SCORES is a file of `fractal score`, or anybody's scores with `sentences` and `sentence_scores`; `-` is stdin.
    Exits with 1 where nothing passes the filters.
    """
    from fractal.reports import show

    items = filtered(reading.scored(scores), aspect=aspect)
    promises = saved_promises(scorer) if threshold is None else {}
    everything = list(items) if promises else []  # a promise is held against all, before any is filtered out
    cut = threshold_of(threshold, promises, everything, quiet)
    chosen: Iterable[ScoredResponse] = filtered(
        everything or items, below=below, above=above, label=label, ids=ids, find=find
    )
    if order == "best":
        chosen = sorted(chosen, key=lambda item: (-min(item.sentence_scores), -item.response_score))
    count = show(chosen, console(), worst_first=order == "worst", limit=limit or None, threshold=cut)
    if not count:
        note("No response passes the filters.", quiet)
    return 0 if count else NOTHING_FOUND


def filtered(
    scored: Iterable[ScoredResponse],
    *,
    below: float | None = None,
    above: float | None = None,
    label: float | None = None,
    ids: tuple[str, ...] = (),
    find: str | None = None,
    aspect: str | None = None,
) -> Iterator[ScoredResponse]:
    """Yield the scored responses that pass every filter given."""
    wanted = (find or "").casefold()
    tests: list[tuple[bool, Callable[[ScoredResponse], bool]]] = [
        (below is not None, lambda item: min(item.sentence_scores) < (below or 0.0)),
        (above is not None, lambda item: min(item.sentence_scores) >= (above or 0.0)),
        (label is not None, lambda item: item.response.label_of(item.aspect) == label),
        (bool(ids), lambda item: item.response.id in ids),
        (bool(find), lambda item: wanted in item.response.text.casefold()),
        (aspect is not None, lambda item: item.aspect == aspect),
    ]
    applied = [test for applies, test in tests if applies]
    return (item for item in scored if all(test(item) for test in applied))
