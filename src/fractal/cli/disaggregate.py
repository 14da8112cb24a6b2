"""`fractal disaggregate`: sentence labels that agree with the known labels of the responses."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from fractal.cli._command import subcommand
from fractal.cli._engine import EngineOptions, engine_options, run_engine
from fractal.cli._options import ReadOptions, json_option, quiet_option, reading_options, trust_option
from fractal.cli._output import note, print_json
from fractal.cli._scoring import missing_option, output_options, records_as_in_training, records_each, write_scored
from fractal.errors import BadData, BadSpec

if TYPE_CHECKING:
    from fractal.records import Preference, Response, ScoredResponse
    from fractal.scorers.aspects import AspectScorer
    from fractal.scorers.sentence import SentenceScorer

__all__ = ["command"]


@subcommand(
    "disaggregate",
    "fractal disaggregate scorer/ ratings.jsonl > labelled.jsonl",
    "fractal disaggregate ratings.jsonl --cross-fit 5 -o labelled.jsonl",
    "fractal disaggregate scorer/ ratings/ -o labelled/ --workers auto",
)
@click.argument("arguments", nargs=-1, required=True, metavar="[SCORER] DATA")
@output_options
@engine_options
@click.option(
    "--cross-fit",
    type=click.IntRange(2, 64),
    metavar="K",
    help="Train anew on DATA with K heads, each blind to one K-th of it, and label every response by the head that "
    "never saw it. With SCORER, its settings are used.",
)
@click.option("--seed", default=0, show_default=True, help="Of --cross-fit.")
@missing_option
@click.option("--encoder", metavar="SPEC", help="Of --cross-fit without SCORER.  [default: minilm]")
@reading_options
@trust_option
@quiet_option
@json_option
def command(
    arguments: tuple[str, ...],
    output: str,
    writer: str,
    resume: bool,
    batch: int,
    cross_fit: int | None,
    seed: int,
    allow_missing: bool,
    encoder: str | None,
    spread: EngineOptions,
    quiet: bool,
    as_json: bool,
    reading: ReadOptions,
) -> None:
    """Label sentences so that they agree with the known labels of their responses.

    The score of a sentence becomes its probability given the response's label; `disaggregated_labels` are the most
    likely hard labels. A scorer's heads each trained on a part of its data: a response that it was trained on is
    labelled by the heads that did not see it. Of preferences each response comes once, labelled so that in every
    comparison the better one has the larger share of good sentences. --cross-fit makes sure that no head labels what
    it learned from, by training on DATA itself.

    Several DATA, folders, globs and addresses are labelled into a folder of shards, -o FOLDER/, as by `fractal score`.
    """
    from fractal.readers import ReadReport

    if cross_fit is None and len(arguments) > 1 and spread.needed(arguments[1:], output):
        from fractal.engine import disaggregate_files

        summary = run_engine(
            disaggregate_files,
            *(arguments[0], arguments[1:], output, spread, reading),
            resume=resume,
            writer=writer,
            quiet=quiet or as_json,
        )
        if as_json:
            print_json(summary)
        return
    if len(arguments) > 2 or (len(arguments) == 1 and cross_fit is None):
        raise BadSpec("give a scorer and data, as in `fractal disaggregate scorer/ ratings.jsonl`, or --cross-fit K")
    folder, data = (None, arguments[0]) if len(arguments) == 1 else arguments
    scorer = _loaded(folder, reading.splitter, encoder)
    if cross_fit is None:
        silent, report = quiet or as_json, ReadReport()
        records = records_as_in_training(scorer, reading, data, report, allow_missing=allow_missing, quiet=silent)
    else:
        memory = scorer.memory_ if folder is not None else {}
        everything = list(reading.as_in_training(memory, data).records(data, splitter=scorer.splitter))
        _cross_fit(scorer, everything, cross_fit, seed, quiet)
        records = iter(everything)
    label, responses = _labelling(scorer, records, quiet)
    count = write_scored(
        label,
        responses,
        each=records_each(scorer),
        output=output,
        writer=writer,
        resume=resume,
        batch=batch,
        belongs_to=f"{folder} {cross_fit} {seed}",
        quiet=quiet or as_json,
    )
    if as_json:
        print_json({"labelled": count, "rejected": reading.rejected, "output": output}, stderr=output == "-")


def _labelling(
    scorer: SentenceScorer | AspectScorer, records: Iterator[Response | Preference], quiet: bool
) -> tuple[Callable[[Sequence[Response]], list[ScoredResponse]], Iterable[Response]]:
    """Return what labels a batch of responses, and the responses; comparisons are read whole: any may be connected."""
    from fractal.records import Preference

    first = next(records, None)
    if first is None:
        return scorer.disaggregate, ()
    if not isinstance(first, Preference):
        return scorer.disaggregate, _rated(itertools.chain((first,), records))
    labelled = scorer.disaggregate([first, *records])
    note(f"{len(labelled):,} responses, each labelled given all comparisons of it", quiet)
    by_response = {_key(scored.response): scored for scored in labelled}
    return lambda batch: [by_response[_key(response)] for response in batch], [one.response for one in labelled]


def _key(response: Response) -> tuple[str, str, str]:
    return response.id, response.query, response.text


def _rated(records: Iterable[Response | Preference]) -> Iterator[Response]:
    """Yield rated responses one by one."""
    from fractal.records import Preference

    for record in records:
        if isinstance(record, Preference):
            raise BadData(
                "a preference comes behind rated responses: put preferences first, and all are read as one, "
                "or into a file of their own",
                field="preference",
            )
        yield record


def _loaded(folder: str | None, splitter: str, encoder: str | None) -> SentenceScorer | AspectScorer:
    from fractal.scorers.aspects import load_scorer
    from fractal.scorers.sentence import SentenceScorer

    if folder is None:
        return SentenceScorer(splitter=splitter, encoder=encoder or "minilm")
    return load_scorer(folder)


def _cross_fit(
    scorer: SentenceScorer | AspectScorer, responses: list[Response | Preference], folds: int, seed: int, quiet: bool
) -> None:
    from fractal.cli.train import fit
    from fractal.mil.training.plan import TrainingPlan

    options: Any = getattr(scorer, "scorer", scorer)  # those of a scorer of several aspects are another scorer's
    options.plan = dataclasses.replace(options.plan or TrainingPlan(), members=folds, folds=folds, seed=seed)
    note(f"{folds} heads, each blind to one of {folds} parts of {len(responses):,} records", quiet)
    fit(scorer, responses, quiet)
