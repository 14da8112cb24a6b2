"""`fractal inspect`: what is in a file of responses, and what in it would mislead a training."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from fractal.cli._command import subcommand
from fractal.cli._data_summary import DataSummary, leaks, summarise
from fractal.cli._options import ReadOptions, json_option, quiet_option, reading_options
from fractal.cli._output import emit, note, print_json, table
from fractal.cli._shell import in_shell_words
from fractal.errors import BadSpec

if TYPE_CHECKING:
    from fractal.evaluation.annotators import AnnotatorReport
    from fractal.evaluation.suspects import Suspect
    from fractal.records import Response, ScoredResponse

__all__ = ["command"]

FOUND_BAD = 1


@subcommand(
    "inspect",
    "fractal inspect ratings.jsonl",
    "fractal inspect train.jsonl valid.jsonl test.jsonl --strict",
    "fractal inspect ratings.jsonl --scorer scorer/ -n 50 --suspects rate-again.jsonl",
    "fractal inspect ratings.jsonl --annotator annotator --combined rated.jsonl",
)
@click.argument("sources", nargs=-1, required=True, metavar="DATA...")
@click.option("--strict", is_flag=True, help="Exit with 1 where anything suspicious was found.")
@click.option("-n", "--limit", default=5, show_default=True, help="Suspicious rows to show of each kind.")
@click.option("--scorer", metavar="FOLDER", help="Also rank ratings that their sentences contradict by this scorer.")
@click.option("--suspects", metavar="FILE", help="Of --scorer: write all ratings there, the most suspect first.")
@click.option("--by", metavar="FIELD", help="Also count by the values of a field that responses carry, as model.")
@click.option("--annotator", metavar="FIELD", help="Also tell how reliable annotators are, by who FIELD says rated.")
@click.option("--combined", metavar="FILE", help="Of --annotator: write each response once, with their common label.")
@reading_options
@json_option
@quiet_option
def command(
    sources: tuple[str, ...],
    strict: bool,
    limit: int,
    scorer: str | None,
    suspects: str | None,
    by: str | None,
    annotator: str | None,
    combined: str | None,
    as_json: bool,
    quiet: bool,
    reading: ReadOptions,
) -> int:
    """Say what is in files, and what in them would mislead.

    Counts, label balance, lengths, duplicates, suspicious rows, as one text with opposite labels, and checks of what
    training rests on, as labels that length alone gives away. Leaks are looked for between every two files given: the
    same response, or the same query or group on both sides. Wrong records stop it; with --on-error reject they are
    counted.

    With --scorer, ratings are held against the scores of their sentences, by the heads that held a response out where
    the scorer trained on it: those that surprise most are worth another look. They are no reason for --strict to fail.

    With --annotator, each annotator is held against the others who rated the same responses, and with --scorer against
    its scores as well, which alone will do where no response has two ratings. FIELD holds a name, or ratings by name.
    """
    _refuse_alone(scorer, suspects, annotator, combined)
    if annotator:
        reading = reading.changed(read_by={annotator: "--annotator"})
    for source in sources if scorer or annotator else ():
        reading.refuse_read_once(source)
    summaries = [summarise(source, reading, annotator) for source in sources]
    crossings = leaks(summaries)
    suspicious = sum(len(findings) for summary in summaries for findings in summary.suspicious.values()) + len(
        crossings
    )
    checks = [summary.checks() for summary in summaries]
    still = quiet or as_json
    responses, scored = _rated(sources, scorer, annotator, reading, still)
    ranked = _suspects(scored, scorer, suspects, still) if scorer else []
    people = _annotators(responses, annotator, scored, combined, still) if annotator else None
    failed = any(finding.verdict != "ok" for findings in checks for finding in findings)
    if as_json:
        files = [
            {**summary.facts(), **_by_facts(summary, by), "checks": [finding.to_dict() for finding in findings]}
            for summary, findings in zip(summaries, checks, strict=True)
        ]
        facts: dict[str, Any] = {"files": files, "leaks": crossings, "suspicious": suspicious}
        if scorer:
            facts["suspects"] = [suspect.to_dict() for suspect in ranked[:limit]]
        if people is not None:
            facts["annotators"] = people.to_dict()
        print_json(facts)
    elif not quiet:
        for summary, findings in zip(summaries, checks, strict=True):
            _show(summary, limit)
            rows = [(finding.verdict, finding.name, finding.sentence) for finding in findings]
            if rows:
                table("Checks of the assumptions", ("verdict", "check", "what it says"), rows)
        for summary in summaries if by else ():
            _show_by(summary, by or "")
        _show_leaks(sources, crossings)
        _show_suspects(ranked, limit)
        _show_annotators(people)
        _say_next(sources[0], summaries[0], reading)
    return FOUND_BAD if strict and (suspicious or failed) else 0


def _refuse_alone(scorer: str | None, suspects: str | None, annotator: str | None, combined: str | None) -> None:
    if suspects is not None and scorer is None:
        raise BadSpec("--suspects ranks ratings by a scorer: give --scorer too")
    if combined is not None and annotator is None:
        raise BadSpec("--combined writes what annotators come to: give --annotator with the field that names them")


def _rated(
    sources: Iterable[str], folder: str | None, annotator: str | None, reading: ReadOptions, quiet: bool
) -> tuple[list[Response], list[ScoredResponse]]:
    """Return the responses of all files, and their scores by the heads of a scorer that held them out, if any."""
    if folder is None:
        return [response for source in sources if annotator for response in reading.responses(source)], []
    from fractal.cli._scoring import read_as_in_training
    from fractal.scorers.aspects import load_scorer

    loaded = load_scorer(folder)
    responses: list[Response] = []
    scored: list[ScoredResponse] = []
    for source in sources:
        read = list(read_as_in_training(loaded, reading, source, allow_missing=False, quiet=quiet))
        responses += read
        scored += loaded.held_out_scores(read)
    trained = int(loaded.held_out_index_.knows(responses).sum()) if responses else 0
    note(f"{len(responses):,} responses scored by {folder}, which trained on {trained:,} of them", quiet)
    return responses, scored


def _suspects(scored: Sequence[ScoredResponse], folder: str, output: str | None, quiet: bool) -> list[Suspect]:
    """Rank the ratings of all files by a scorer, and write them down where that is asked for."""
    from fractal.evaluation.suspects import suspects
    from fractal.files import open_target
    from fractal.writers.jsonl import encoded

    ranked = suspects(scored)
    note(f"{len(ranked):,} ratings held against {folder}", quiet)
    if output is not None:
        with open_target(output) as stream:
            stream.writelines(encoded(suspect.to_dict()) + b"\n" for suspect in ranked)
    return ranked


def _annotators(
    responses: Sequence[Response], field: str, scored: Sequence[ScoredResponse], output: str | None, quiet: bool
) -> AnnotatorReport:
    """Estimate how reliable annotators are, and write what they come to together where that is asked for."""
    from fractal.evaluation.annotators import annotator_quality, combined_responses
    from fractal.writers import write

    report = annotator_quality(responses, field, scored)
    if output is not None:
        combined = combined_responses(report, field)
        write(combined, output, "jsonl")
        labelled = sum(response.label is not None for response in combined)
        note(f"{labelled:,} of {len(combined):,} responses have a common label. Wrote {output}.", quiet)
    return report


def _show_annotators(report: AnnotatorReport | None) -> None:
    if report is None:
        return
    rows = [
        (
            one.name,
            f"{one.ratings:,}",
            f"{one.shared:,}",
            f"{one.accuracy:.2f} ({one.low:.2f} … {one.high:.2f})",
            f"{one.leniency:+.2f}",
            one.verdict,
        )
        for one in report.annotators
    ]
    headings = ("annotator", "ratings", "shared", "right", "leniency", "what it says")
    table(f"Annotators, held against {report.compared_with}", headings, rows)
    for line in report.notes:
        emit(f"Note: {line}.")
    if report.reliability == report.reliability:
        emit(
            f"Ratings are right {report.reliability:.0%} of the time: fractal suggest --reliability takes this number."
        )


def _show_suspects(ranked: Sequence[Suspect], limit: int) -> None:
    rows = [
        (s.scored.response.id, f"{s.surprise:.2f}", f"{s.scored.response_score:.2f}", s.why) for s in ranked[:limit]
    ]
    if rows:
        more = f" (the first {limit} of {len(ranked):,})" if len(ranked) > limit else ""
        table(f"Ratings that their sentences contradict most{more}", ("id", "surprise", "score", "why"), rows)


def _show(summary: DataSummary, limit: int) -> None:
    emit(in_shell_words(str(summary.report)))
    table("", ("", "value"), [(name, _written(value)) for name, value in summary.numbers().items()])
    _show_labels("Labels of responses", summary.labels)
    for aspect, counts in sorted(summary.aspects.items()):
        _show_labels(f"Labels of the aspect {aspect}", counts)
    for kind, rows in summary.suspicious.items():
        if rows:
            more = f" (the first {limit})" if len(rows) > limit else ""
            table(f"{kind}: {len(rows):,}{more}", ("id", "what"), rows[:limit])
    if not any(summary.suspicious.values()):
        emit("Nothing suspicious." if summary.sentences else "There is nothing in it.")


def _show_labels(title: str, counts: Mapping[str, int]) -> None:
    if counts:
        total, most = sum(counts.values()), max(counts.values())
        rows = [
            (label, f"{count:,}", f"{count / total:.0%}", "█" * max(1, round(30 * count / most)))
            for label, count in sorted(counts.items())
        ]
        table(title, ("label", "count", "share", ""), rows)


def _by_facts(summary: DataSummary, field: str | None) -> dict[str, Any]:
    from fractal.evaluation.slices import slices

    if not field:
        return {}
    return {"by": {value: len(part) for value, part in slices(summary.responses, field).items()}}


def _show_by(summary: DataSummary, field: str) -> None:
    """Show how many responses each value of a field has, and their mean label."""
    from fractal.evaluation.slices import slices

    rows = []
    for value, part in slices(summary.responses, field).items():
        labels = [response.label for response in part if response.label is not None]
        mean = f"{sum(labels) / len(labels):.2f}" if labels else "–"
        sentences = sum(len(response.sentences) for response in part) / len(part)
        rows.append((value, f"{len(part):,}", f"{len(labels):,}", mean, f"{sentences:.1f}"))
    table(f"By {field}", ("value", "responses", "labelled", "mean label", "sentences each"), rows)


def _say_next(source: str, summary: DataSummary, reading: ReadOptions) -> None:
    """Name the command that learns from the first file; where nothing can be learned from it, say what it lacks."""
    if summary.labels or summary.report.preferences:
        emit("Next:")
        emit(f"  fractal train {shlex.join([source, *reading.flags()])} -o scorer/")
    elif summary.aspects:
        aspects = " ".join(f"--aspect {shlex.quote(aspect)}" for aspect in sorted(summary.aspects))
        emit("Next:")
        emit(f"  fractal train {shlex.join([source, *reading.flags()])} {aspects} -o scorer/")
    elif summary.sentences:
        carried = ", ".join(sorted(summary.report.carried)[:12])
        unused = f" Columns that are not used: {carried}; map one, as in --column label=NAME." if carried else ""
        emit(f"No response has a label: this can be scored, not learned from.{unused}")


def _show_leaks(sources: Sequence[str], crossings: Iterable[dict[str, Any]]) -> None:
    rows = [(leak["first"], leak["second"], leak["what"], f"{leak['count']:,}", leak["example"]) for leak in crossings]
    if rows:
        table("Leaks between files", ("first", "second", "what", "count", "for example"), rows)
    elif len(sources) > 1:
        emit("No leaks between the files.")


def _written(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}" if isinstance(value, float) else str(value)
