"""The options that promise something of a scorer's flags, and the threshold that commands take by a promise."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from fractal.cli._output import note
from fractal.errors import BadData, BadSpec
from fractal.records import Preference, Response, ScoredResponse

if TYPE_CHECKING:
    from fractal.evaluation.calibration.guarantees import Guarantee
    from fractal.scorers.aspects import AspectScorer
    from fractal.scorers.sentence import SentenceScorer

__all__ = ["Promises", "flagging_writer", "promise_options", "saved_promises", "threshold_of", "threshold_option"]

HALF = 0.5  # where nothing is promised and no threshold is given

PROMISES = (
    click.option(
        "--false-alarms",
        type=float,
        metavar="SHARE",
        help="Promise that at most this share of the sentences of clean responses is flagged, as 0.05.",
    ),
    click.option(
        "--misses",
        type=float,
        metavar="SHARE",
        help="Promise that at most this share of the flawed responses passes without a flag, as 0.1.",
    ),
    click.option("--confidence", type=float, default=0.95, show_default=True, help="Of what is promised."),
)

threshold_option = click.option(
    "--threshold",
    type=float,
    help="Sentences below it count as flagged.  [default: the one that --scorer promises something of, else 0.5]",
)


@dataclasses.dataclass(frozen=True)
class Promises:
    """What is to be promised of the flags."""

    false_alarms: float | None = None
    misses: float | None = None
    confidence: float = 0.95

    def __bool__(self) -> bool:
        return self.false_alarms is not None or self.misses is not None

    def refuse_hopeless(self, rules: Mapping[str, Any], records: Sequence[Response | Preference]) -> None:
        """Refuse before a training what none can make true: a promise under a mean, or by too few labels."""
        from fractal.evaluation.calibration.guarantees import fewest_groups, refuse_odd
        from fractal.mil.aggregations import AGGREGATIONS

        levels = {"--false-alarms": self.false_alarms, "--misses": self.misses}
        wanted = {name: level for name, level in levels.items() if level is not None}
        refuse_odd(wanted, self.confidence)
        for aspect, rule in rules.items():
            if rule != "auto" and AGGREGATIONS.build(rule).direction == "mean":
                raise BadSpec(f"{', '.join(wanted)}: under {rule!r} a label says of no sentence that it is clean")
            labels = [(r.split_group, r.label_of(aspect)) for r in records if isinstance(r, Response)]
            groups = len({group for group, label in labels if label in (0.0, 1.0)})
            if groups < (needed := max(fewest_groups(level, self.confidence) for level in wanted.values())):
                raise BadData(
                    f"{', '.join(wanted)}: {groups:,} groups are rated 0 or 1, and the promise takes at least "
                    f"{needed:,} of one of the two: rate more responses, or promise less"
                )

    def keep(self, scorer: SentenceScorer | AspectScorer, records: Sequence[Any], aspects: Sequence[str]) -> None:
        """Find the threshold of each aspect by rated responses; the scorer keeps it."""
        for aspect in aspects:
            scorer.guarantee(records, **dataclasses.asdict(self), aspect=aspect)


def promise_options(function: Callable[..., Any]) -> Any:
    """Give a command the options of promises; it receives them as one `promises`."""

    @functools.wraps(function)
    def with_promises(**parameters: Any) -> Any:
        values = {field.name: parameters.pop(field.name) for field in dataclasses.fields(Promises)}
        return function(**parameters, promises=Promises(**values))

    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(PROMISES), with_promises)


def saved_promises(folder: str | None) -> Mapping[str, Guarantee]:
    """Return the promises of a saved scorer, by aspect."""
    if folder is None:
        return {}
    from fractal.scorers.guarantees import saved_guarantees
    from fractal.scorers.persistence import load_folder

    return saved_guarantees(load_folder(folder, trust_paths=True).config)  # its encoder is not read


def threshold_of(
    threshold: float | None, promises: Mapping[str, Guarantee], scored: Sequence[ScoredResponse], quiet: bool = False
) -> float:
    """Return the threshold given, else the one promised, else a half; scores that no promise covers are refused."""
    if threshold is not None:
        return threshold
    aspects = {item.aspect for item in scored}
    promised = {aspect: promises[aspect] for aspect in aspects if aspect in promises}
    if not promised:
        return HALF
    if len(aspects) > 1:
        note("A threshold is promised for each aspect on its own: with --aspect it is taken, here it is 0.5.", quiet)
        return HALF
    ((_, promise),) = promised.items()
    promise.refuse_shifted(scored)
    note(str(promise), quiet)
    return promise.threshold


def flagging_writer(writer: str, output: str, promises: Mapping[str, Guarantee], aspect: str, quiet: bool) -> str:
    """Return the writer's spec, with the threshold promised where it calls sentences bad and names no threshold."""
    from fractal.registry import parse
    from fractal.writers.base import WRITERS, writer_of

    promise = promises.get(aspect)
    if promise is None or "threshold" in (parse(writer, "writer")[1] if writer != "auto" else {}):
        return writer
    chosen = writer_of(output) if writer == "auto" else WRITERS.build(writer)
    if not chosen.flags:
        return writer
    note(str(promise), quiet)
    return WRITERS.spec(dataclasses.replace(chosen, **{"threshold": promise.threshold}))
