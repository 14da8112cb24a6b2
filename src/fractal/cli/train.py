"""`fractal train`: learn from rated responses, and keep a scorer of sentences."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, json_option, quiet_option, reading_options
from fractal.cli._output import emit, note, print_json, table
from fractal.cli._progress import ProgressReporter, TrainingReporter
from fractal.cli._promises import Promises, promise_options
from fractal.cli._shell import in_shell_words
from fractal.cli._train_options import ScorerOptions, aspect_option, cut_for, scorer_options, task_option
from fractal.cli._verdict import marked, verdict
from fractal.errors import BadData, BadSpec
from fractal.files import exclusive
from fractal.records import Preference, Response

if TYPE_CHECKING:
    from fractal.mil.training.callbacks import Callback
    from fractal.readers import ReadReport
    from fractal.scorers.aspects import AspectScorer
    from fractal.scorers.sentence import SentenceScorer

__all__ = ["command", "fit", "gathered"]

FOUND_BAD = 1
WHOLES = ("plan", "scorer", "scorer__plan")  # whose parts are options themselves


@subcommand(
    "train",
    "fractal train ratings.jsonl -o scorer/",
    "fractal train answers.csv --column response=answer --scale 1..5 --prior cosine --set epochs=30 -o scorer/",
    "fractal train feedback.jsonl --aspect factual=product --aspect helpful=mean -o scorer/",
)
@click.argument("sources", nargs=-1, required=True, metavar="DATA...")
@click.option("-o", "--output", metavar="FOLDER", help="Where the scorer is written: config, weights, model card.")
@click.option(
    "--gold",
    metavar="DATA|none",
    help="Responses with sentence labels to learn from as well; none ignores those in DATA.",
)
@click.option("--valid", metavar="DATA", help="Responses kept apart to measure the trained scorer on.")
@click.option("--strict", is_flag=True, help="Exit with 1 where a check of the assumptions fails.")
@click.option("--dry-run", is_flag=True, help="Read and check everything, say what would be done, and stop.")
@click.option("--resume", is_flag=True, help="Go on where a run that was stopped left off.")
@click.option(
    "--from",
    "earlier",
    metavar="SCORER",
    help="Go on from the heads of an earlier scorer, under its rule and with its folds: several times as quick.",
)
@click.option("--log", metavar="FILE", help="Write every epoch as a line of JSON.")
@click.option("--tensorboard", metavar="FOLDER", help="Write every epoch for TensorBoard, each head as a run.")
@click.option(
    "--wandb", metavar="PROJECT", help="Log every epoch to Weights & Biases; WANDB_MODE=offline keeps it here."
)
@click.option("--mlflow", metavar="EXPERIMENT", help="Log every epoch to MLflow; MLFLOW_TRACKING_URI says where.")
@task_option
@promise_options
@aspect_option
@scorer_options
@reading_options
@quiet_option
@json_option
def command(
    sources: tuple[str, ...],
    output: str | None,
    gold: str | None,
    valid: str | None,
    strict: bool,
    dry_run: bool,
    resume: bool,
    earlier: str | None,
    log: str | None,
    tensorboard: str | None,
    wandb: str | None,
    mlflow: str | None,
    task: str | None,
    aspects: tuple[str, ...],
    promises: Promises,
    quiet: bool,
    as_json: bool,
    options: ScorerOptions,
    reading: ReadOptions,
) -> int:
    """Learn from labels on whole responses (or preferences) to score every sentence.

    DATA is JSON lines, CSV, Parquet or anything `fractal list readers` names; `-` is stdin. What is not said is chosen
    by held-out response labels, and reported. Sentence labels in the data are used where there are some.
    """
    if output is None and not dry_run:
        raise BadSpec("say where the scorer goes: -o scorer/ (or --dry-run to look only)")
    if output is not None and Path(output).is_file():
        raise BadSpec(f"{output} is a file: give a folder for the scorer, as in -o scorer/")
    reading = cut_for(task, reading).changed(read_by=dict.fromkeys(options.control, "--control"))
    scorer = options.of_aspects(reading.splitter, aspects, task)
    begins = _earlier(earlier, scorer)
    silent = quiet or as_json
    reports: list[ReadReport] = []
    records = gathered(sources, gold, reading, silent, reports, _memory_limit(scorer))
    if promises:
        promises.refuse_hopeless(_rules(scorer), records)
    kept_apart = list(reading.responses(valid)) if valid else []
    if dry_run or output is None:
        _tell_plan(scorer, records, as_json, reading.rejected)
        return 0
    started = time.perf_counter()
    unfinished = f"{output.rstrip('/')}.training"  # beside the scorer, gone when it is there
    Path(output).resolve().parent.mkdir(parents=True, exist_ok=True)
    with exclusive(output):
        if not resume:
            shutil.rmtree(unfinished, ignore_errors=True)
        writing = itertools.chain(_files(log, resume), _trackers(_settings(scorer), tensorboard, wandb, mlflow))
        fit(scorer, records, silent, writing=writing, checkpoints=unfinished, **begins)
        scorer.remember_reading(reading.memory(sources, reports))
        folder = scorer.save_pretrained(output)
        if promises:
            _promise(scorer, records, promises, folder)
        shutil.rmtree(unfinished, ignore_errors=True)  # after all that a run which goes on would have to do again
    measured = _measured(scorer, kept_apart)
    summary = _summary(scorer, str(folder), time.perf_counter() - started, measured)
    summary["rejected"] = reading.rejected
    if as_json:
        print_json(summary)
    elif not quiet:
        for aspect, promise in scorer.guarantees_.items():
            note(f"{f'{aspect}: ' if aspect else ''}{promise}")
        _tell(summary, [sources[0], *reading.error_flags()])
    return FOUND_BAD if strict and any(check["verdict"] == "fail" for check in summary["checks"]) else 0


def gathered(
    sources: Sequence[str],
    gold: str | None,
    reading: ReadOptions,
    quiet: bool,
    reports: list[ReadReport] | None = None,
    memory_limit: float = 0.0,
) -> Sequence[Response | Preference]:
    """Read every source and say what was found; gold sentence labels join the responses they belong to.

    What each reading found is added to `reports`. Very many records are kept in a file: see `records_for_training`.
    """
    from fractal.scorers.training_space import records_for_training

    records = _read(sources, reading, quiet, [] if reports is None else reports)
    if gold == "none":
        records = map(without_sentence_labels, records)
    elif gold:
        records = _joined(records, gold, reading, quiet)
    return records_for_training(records, memory_limit)


def _read(
    sources: Sequence[str], reading: ReadOptions, quiet: bool, reports: list[ReadReport]
) -> Iterator[Response | Preference]:
    from fractal.readers import ReadReport

    for source in sources:
        report = ReadReport()
        yield from reading.records(source, report)
        note(in_shell_words(str(report)), quiet)
        reports.append(report)


def _joined(
    records: Iterable[Response | Preference], gold: str, reading: ReadOptions, quiet: bool
) -> Iterator[Response | Preference]:
    """Give records the sentence labels that their texts have in another file; what is only there comes last."""
    labelled = {(r.query, r.text): r for r in ReadOptions(splitter=reading.splitter).responses(gold)}
    note(f"{gold}: {len(labelled):,} responses with gold sentence labels", quiet)
    for record in records:
        yield _with_gold(record, labelled)
    yield from labelled.values()


def _memory_limit(scorer: SentenceScorer | AspectScorer) -> float:
    params = scorer.get_params()
    return float(params.get("memory_limit", params.get("scorer__memory_limit", 0.0)))


def without_sentence_labels(record: Response | Preference) -> Response | Preference:
    """Return the record as one who rates only whole responses sees it."""
    if isinstance(record, Preference):
        return dataclasses.replace(record, better=_bare(record.better), worse=_bare(record.worse))
    return _bare(record)


def _bare(response: Response) -> Response:
    bare = tuple(dataclasses.replace(sentence, label=None) for sentence in response.sentences)
    return dataclasses.replace(response, sentences=bare)


def _with_gold(record: Response | Preference, labelled: dict[tuple[str, str], Response]) -> Response | Preference:
    if isinstance(record, Preference):
        return record
    gold = labelled.pop((record.query, record.text), None)
    return dataclasses.replace(record, sentences=gold.sentences) if gold else record


def fit(
    scorer: SentenceScorer | AspectScorer,
    records: Sequence[Response | Preference],
    quiet: bool,
    *,
    writing: Iterable[AbstractContextManager[Callback]] = (),
    checkpoints: str | None = None,
    **options: Any,
) -> None:
    """Train, show how it goes, and tell those who write it down."""
    with contextlib.ExitStack() as stack:
        callbacks = [stack.enter_context(listener) for listener in writing]
        encoding = stack.enter_context(ProgressReporter("responses encoded", quiet))
        training = stack.enter_context(TrainingReporter(quiet))

        def on_encode(done: int, total: int) -> None:
            encoding(done, total)
            if done >= total:
                encoding.close()

        scorer.fit(records, callbacks=[training, *callbacks], checkpoints=checkpoints, on_encode=on_encode, **options)


def _earlier(folder: str | None, scorer: SentenceScorer | AspectScorer) -> dict[str, SentenceScorer]:
    """Return the scorer whose heads training goes on from, if one is named, as `fit` takes it."""
    from fractal.scorers.aspects import AspectScorer, load_scorer

    if folder is None:
        return {}
    earlier = load_scorer(folder)
    if isinstance(scorer, AspectScorer) or isinstance(earlier, AspectScorer):
        raise BadSpec(f"--from {folder}: scorers of several aspects are trained afresh; leave it out")
    return {"earlier": earlier}


def _promise(
    scorer: SentenceScorer | AspectScorer, records: Sequence[Response | Preference], promises: Promises, folder: Path
) -> None:
    """Keep a promise with the scorer; where none can be made, the scorer is there all the same, and it is said."""
    try:
        promises.keep(scorer, records, list(_each(scorer)))
    except (BadData, BadSpec) as error:
        raise BadSpec(f"{folder} holds the trained scorer, without a promise: {error}") from error
    scorer.save_pretrained(folder)


def _rules(scorer: SentenceScorer | AspectScorer) -> dict[str, Any]:
    """Return the aggregation of each aspect, as it was asked for."""
    from fractal.scorers.sentence import SentenceScorer

    if isinstance(scorer, SentenceScorer):
        return {"": scorer.aggregation}
    return {} if isinstance(scorer.aggregations, str) else dict(scorer.aggregations)


def _files(log: str | None, resume: bool) -> Iterator[AbstractContextManager[Callback]]:
    """The file that training is written to; a run that is taken up again goes on in the same one."""
    from fractal.mil.training.callbacks import JsonLines

    if log is not None:
        yield JsonLines(log, append=resume)


def _trackers(
    settings: Mapping[str, str], tensorboard: str | None, wandb: str | None, mlflow: str | None
) -> Iterator[AbstractContextManager[Callback]]:
    """The experiment trackers that were asked for."""
    from fractal.mil.training.trackers import MLflow, TensorBoard, WeightsAndBiases

    if tensorboard is not None:
        yield TensorBoard(tensorboard)
    if wandb is not None:
        yield WeightsAndBiases(wandb, settings)
    if mlflow is not None:
        yield MLflow(mlflow, settings)


def _settings(scorer: SentenceScorer | AspectScorer) -> dict[str, str]:
    """Return what the scorer was asked to be, by the name of each option."""
    return {name: str(value) for name, value in scorer.get_params().items() if name not in WHOLES}


def _tell_plan(
    scorer: SentenceScorer | AspectScorer, records: Sequence[Response | Preference], as_json: bool, rejected: int
) -> None:
    from fractal.ensemble.summary import described

    corpus, _ = scorer.prepare(records)  # refuses what nothing can be learned with
    facts = {"data": described(corpus), "options": _settings(scorer)}
    if as_json:
        print_json({**facts, "rejected": rejected})
        return
    table(
        "What would be learned from", ("", "count"), [(name, _number(value)) for name, value in facts["data"].items()]
    )
    table("With which options", ("option", "value"), list(facts["options"].items()))
    emit("Nothing was trained: leave out --dry-run to train.")


def _measured(scorer: SentenceScorer | AspectScorer, kept_apart: Sequence[Response]) -> dict[str, Any] | None:
    """Measure the scorer, one of several aspects for each of them."""
    if not kept_apart:
        return None
    from fractal.evaluation import evaluate

    scored = list(scorer.stream(kept_apart))
    aspects = dict.fromkeys(item.aspect for item in scored)
    evaluations: dict[str, Any] = {aspect: evaluate(scored, aspect=aspect).to_dict() for aspect in aspects}
    return dict(evaluations.get("", evaluations))


def _summary(
    scorer: SentenceScorer | AspectScorer, folder: str, seconds: float, measured: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "folder": folder,
        "seconds": round(seconds, 1),
        "data": dict(scorer.data_),
        "aggregation": scorer.aggregation_,
        "choices": [dataclasses.asdict(choice) for choice in scorer.choices_],
        "held out": dict(scorer.metrics_),
        "checks": [
            {name: getattr(finding, name) for name in ("name", "verdict", "sentence", "value")}
            for finding in getattr(scorer, "checks_", ())
        ],
        "validation": measured,
        "promises": {aspect: promise.to_dict() for aspect, promise in scorer.guarantees_.items()},
        "learning curves": {name: str(one.learning_curve_) for name, one in _each(scorer).items()},
    }


def _each(scorer: SentenceScorer | AspectScorer) -> dict[str, SentenceScorer]:
    """Return the scorers of all aspects, or the one of the whole response."""
    from fractal.scorers.sentence import SentenceScorer

    return {"": scorer} if isinstance(scorer, SentenceScorer) else dict(scorer.scorers_)


def _tell(summary: dict[str, Any], source: Sequence[str]) -> None:
    rule = summary["aggregation"]
    shown = rule if isinstance(rule, str) else ", ".join(f"{name}={spec}" for name, spec in rule.items())
    facts = {**summary["data"], **summary["held out"], "aggregation": shown}
    table("Trained", ("", "value"), [(name, _number(value)) for name, value in facts.items()], stderr=True)
    if summary["choices"]:
        rows = [
            (choice["about"], choice["taken"].replace(" + ", "\n"), _grounds(choice)) for choice in summary["choices"]
        ]
        table(
            "What held-out response labels decided",
            ("choice", "taken", "held-out log-loss of each, and why"),
            rows,
            stderr=True,
        )
    measured = summary["validation"] or {}
    for aspect, one in ({"": measured} if "rows" in measured else measured).items():
        values = [(row["metric"], _number(row["value"])) for row in one["rows"]]
        table(f"On the responses kept apart{aspect and f': {aspect}'}", ("metric", "value"), values, stderr=True)
    if summary["checks"]:
        checks = marked(summary["checks"])
        table("Checks of the assumptions", ("verdict", "check", "what it says"), checks, stderr=True)
    for line in verdict(summary):
        note(line)
    note(f"Written to {summary['folder']} after {summary['seconds']:.0f} s. Next:")
    folder, data = shlex.quote(summary["folder"]), shlex.join(source)
    note(f"  fractal disaggregate {folder} {data} -o labelled.jsonl   # the sentences that it learned from")
    note(f"  fractal score {folder} {data} -o scores.jsonl   # or any other file of responses")
    note("  fractal report scores.jsonl -o report.html")


def _grounds(choice: Mapping[str, Any]) -> str:
    costs = "\n".join(f"{cost:.4f} {name}" for name, cost in choice["costs"].items())
    return "\n".join(part for part in (costs, choice["why"]) if part)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return "–" if value != value else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
