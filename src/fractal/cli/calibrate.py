"""`fractal calibrate`: sentence scores as probabilities, by labels that their scorer has not seen."""

from __future__ import annotations

import dataclasses
import math

import click

from fractal.cli._command import subcommand
from fractal.cli._options import ReadOptions, json_option, quiet_option, scored_options
from fractal.cli._output import note, print_json, target_of
from fractal.cli.evaluate import with_truth
from fractal.cli.show import filtered


@subcommand(
    "calibrate",
    "fractal calibrate scores.jsonl --labelled held-out-scores.jsonl -o calibrated.jsonl",
    "fractal calibrate scores.jsonl --labelled held-out-scores.jsonl --truth ratings.jsonl --aggregation noisy_or",
)
@click.argument("scores", default="-")
@click.option("--labelled", required=True, metavar="SCORES", help="Scores of responses that have labels; see above.")
@click.option("--truth", metavar="DATA", help="Labelled responses, met by id, where these scores carry no labels.")
@click.option(
    "--aggregation",
    default="product",
    show_default=True,
    metavar="SPEC",
    help="How sentences make a response good: as in training. See `fractal list aggregations`.",
)
@click.option(
    "--clustered",
    is_flag=True,
    help="Let good and bad sentences cluster in responses, where held-out labels bear that out; it says whether.",
)
@click.option("--aspect", metavar="NAME", help="Learn from, and write, the scores of this aspect.")
@click.option("-o", "--output", default="-", metavar="FILE", help="[default: stdout]")
@scored_options
@quiet_option
@json_option
def command(
    scores: str,
    labelled: str,
    truth: str | None,
    aggregation: str,
    clustered: bool,
    aspect: str | None,
    output: str,
    quiet: bool,
    as_json: bool,
    reading: ReadOptions,
) -> None:
    """Turn sentence scores into probabilities, by responses with labels.

    The slope and shift of the sentence log-odds are those under which the labels of the responses in --labelled are
    likeliest; sentences with labels refine them. The scorer must not have trained on these responses. The order of
    sentences stays, and so does the score of each response.
    """
    from fractal.ensemble.sentence_calibration import calibrate_scores, recalibrated, shared_effect_of
    from fractal.evaluation import LabelledScores
    from fractal.writers import write

    ratings = list(reading.responses(truth)) if truth else None
    rated = list(filtered(with_truth(reading.scored(labelled), ratings), aspect=aspect))
    examples = LabelledScores.of(rated, aspect)
    groups = [item.response.split_group for item in rated]
    effect = shared_effect_of(examples, aggregation, groups) if clustered else None
    curve = calibrate_scores(examples, aggregation, effect if effect and effect.holds else None)
    items = filtered(reading.scored(scores), aspect=aspect)
    count = write((recalibrated(item, curve) for item in items), target_of(output))
    slope, shift = math.exp(curve.parameters[0]), curve.parameters[1]
    responses, sentences = (int((part.truth == part.truth).sum()) for part in (examples.whole, examples.sentences))
    if as_json:
        facts = {"written": count, "slope": slope, "shift": shift}
        labels = {"response_labels": responses, "sentence_labels": sentences}
        clusters = {"clustered": {**dataclasses.asdict(effect), "holds": effect.holds}} if effect else {}
        print_json(
            {**facts, **labels, **clusters, "rejected": reading.rejected, "output": output}, stderr=output == "-"
        )
    else:
        if effect:
            note(f"{effect}", quiet)
        note(
            f"slope {slope:.3f} and shift {shift:+.3f} of the log-odds, by {responses:,} labels of responses and "
            f"{sentences:,} of sentences; {count:,} records written to {'stdout' if output == '-' else output}",
            quiet,
        )
