"""`fractal tune`: search for the settings that held-out response labels prefer."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, json_option, pairs_of, quiet_option, reading_options
from fractal.cli._output import emit, note, print_json, table
from fractal.cli._progress import ProgressReporter
from fractal.cli._train_options import ScorerOptions, scorer_options
from fractal.files import exclusive, whole_file

if TYPE_CHECKING:
    from fractal.records import Preference, Response
    from fractal.scorers.sentence import SentenceScorer
    from fractal.scorers.tuning import Search, Trial

__all__ = ["command"]


@subcommand(
    "tune",
    "fractal tune ratings.jsonl -o tuned/ --trials 30",
    "fractal train ratings.jsonl --config tuned/best.toml -o scorer/",
)
@click.argument("sources", nargs=-1, required=True, metavar="DATA...")
@click.option(
    "-o", "--output", default="tuned", show_default=True, metavar="FOLDER", help="best.toml, the plot, the study."
)
@click.option("--study", metavar="FILE", help="The SQLite file of the search.  [default: FOLDER/study.db]")
@click.option(
    "--trials", default=30, show_default=True, type=click.IntRange(1), help="In all, those done before included."
)
@scorer_options
@reading_options
@quiet_option
@json_option
def command(
    sources: tuple[str, ...],
    output: str,
    study: str | None,
    trials: int,
    quiet: bool,
    as_json: bool,
    options: ScorerOptions,
    reading: ReadOptions,
) -> None:
    """Search for the settings that held-out response labels prefer.

    Searched are aggregation, recipe, prior and plan, for the lowest cost of labels that no head trained on. Stop it at
    any time: the same command goes on with the same study. No sentence label is looked at. Options given here hold for
    every trial, but for those that are searched.
    """
    from fractal.cli.train import gathered
    from fractal.scorers.tuning import options_of, tune

    records = gathered(sources, None, reading, quiet or as_json)
    _encode_ahead(options.scorer(reading.splitter), records, quiet or as_json)

    def make(settings: Mapping[str, Any]) -> SentenceScorer:
        return _with_settings(options, settings).scorer(reading.splitter)

    Path(output).mkdir(parents=True, exist_ok=True)
    with exclusive(output):
        search = tune(
            records,
            make,
            study=study or Path(output) / "study.db",
            trials=trials,
            seed=options.seed or 0,
            on_trial=lambda trial: note(_described(trial), quiet or as_json),
        )
        with whole_file(f"{output}/best.toml") as beside:
            beside.write_text(options_of(_whole(options, reading, search.best.settings)), encoding="utf-8")
        _draw(search, Path(output) / "trials.svg")
    if as_json:
        print_json(
            {
                "best": dataclasses.asdict(search.best),
                "trials": [dataclasses.asdict(one) for one in search.trials],
                "rejected": reading.rejected,
            }
        )
    else:
        _show(search, output, sources, quiet)


def _encode_ahead(scorer: SentenceScorer, records: Sequence[Response | Preference], quiet: bool) -> None:
    """Refuse what nothing can be learned with, then fill the cache: every trial finds the vectors there."""
    corpus, _ = scorer.prepare(records)
    if scorer.cache is not False:
        with ProgressReporter("responses encoded", quiet) as progress:
            scorer.embed(corpus.responses, progress)


def _with_settings(options: ScorerOptions, settings: Mapping[str, Any]) -> ScorerOptions:
    searched = tuple(f"{name}={value!r}" for name, value in settings["set"].items())
    return dataclasses.replace(
        options,
        aggregation=settings["aggregation"],
        recipe=settings["recipe"],
        priors=(*(prior for prior in options.priors if prior != "auto"), *settings["prior"]),  # the search tries them
        settings=(*options.settings, *searched),
    )


def _described(trial: Trial) -> str:
    how = " ".join(
        f"{name}={value}" for name, value in {**trial.settings, **trial.settings["set"]}.items() if name != "set"
    )
    return f"trial {trial.number + 1}: {trial.problem if trial.cost is None else f'{trial.cost:.4f}'}  {how}"


def _draw(search: Search, path: Path) -> None:
    from fractal.reports.plots import save_plot
    from fractal.scorers.tuning import plot_trials

    save_plot(plot_trials(search), path)


def _whole(options: ScorerOptions, reading: ReadOptions, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the trial was trained with, as a file of settings: what was searched and what was said."""
    trial = _with_settings(options, settings)
    plain: dict[str, Any] = {
        "aggregation": trial.aggregation,
        "recipe": trial.recipe,
        "encoder": trial.encoder,
        "prior": list(trial.priors),
        "seed": trial.seed,
        "reader": reading.reader,
        "splitter": reading.splitter,
        "scale": reading.scale,
        "levels": reading.levels,
        "cache": trial.cache,
        "no_cache": trial.no_cache or None,
    }
    tables = {"column": dict(reading.columns), "set": pairs_of(trial.settings, "--set", "epochs=30")}
    return {name: value for name, value in {**plain, **tables}.items() if value not in (None, {})}


def _show(search: Search, output: str, sources: Sequence[str], quiet: bool) -> None:
    best = search.best
    values = {**best.settings, **best.settings["set"]}
    rows = [(name, str(value)) for name, value in values.items() if name != "set"]
    table(f"Trial {best.number + 1} of {len(search.trials)}: cost {best.cost:.4f}", ("option", "value"), rows)
    emit(f"{output}/best.toml")
    note(f"The way there is drawn in {output}/trials.svg. Next:", quiet)
    note(f"  fractal train {shlex.join(sources)} --config {shlex.quote(f'{output}/best.toml')} -o scorer/", quiet)
