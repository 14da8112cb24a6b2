"""The page of what was measured, and the picture of the learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.downstream.arms import ARMS, BEST, EXACT, FEW_ARMS, FLOOR, OUTCOME, RANDOM, REFITTED, TEMPERATURE
from benchmarks.downstream.chains import LONGEST, SHORTEST, TRAINED
from benchmarks.downstream.selection import COUNTS, METHODS, WAYS
from benchmarks.downstream.training import MANY

Rows = Sequence[dict]
PARTS = {"pretraining": "Pretraining", "many": "Many answers", "few": "Few answers", "selection": "Selection"}
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}  # by degrees
POINTS = 0.05

CRITERION = f"""## What counts as success, written down before the runs

The arm *{BEST}* has, after 30 updates, at least {100 * POINTS:.0f} points more right answers than *{OUTCOME}* alone:
answers drawn at temperature 1 to fresh prompts of the trained lengths, mean of five seeds, with the 95% interval of the
difference (Student's t over seeds, paired) above 0. As any reward that makes a policy surer of itself lifts drawn
answers, the likeliest answers must be right more often, too. Every arm sees the same number of answers, with the same
KL coefficient, learning rate and first six batches; the scorer learns from the outcomes of these batches alone.

Form (of sum, soft worst, potential and centred) and columns were chosen on pilot runs of one seed that is not among
those reported. Whatever comes out is published.

This was for *many* answers: 512 an update. When it was seen not to hold, and that even the truth of every step gave
hardly more than the outcome, a second setting was added, *few* answers (64 an update, the scorer learns from the first
twelve batches), and this written down before any run in it: the same bar after 40 updates, for *{BEST}*
and for *{REFITTED}*."""


def write(rows: Rows, out: Path) -> None:
    """Write the page, and the picture beside it where there are curves."""
    done = [row for row in rows if "failed" not in row]
    many, few = ({(row["name"], row["seed"]): row for row in done if row["part"] == part} for part in ("many", "few"))
    if many or few:
        draw_curves(many, few, out.with_suffix(".png"))
    failed = [f"{row['name']}, seed {row['seed']} ({row['failed']})" for row in rows if "failed" in row]
    parts = [
        _head(done),
        CRITERION,
        _came_out(many, few),
        LEGEND if many or few else "",
        _arms(many, "Many"),
        _arms(few, "Few"),
    ]
    parts += [_steps(done), _picks(done)]
    parts += [f"Failed: {'; '.join(failed)}."] if failed else []
    out.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def _head(rows: Rows) -> str:
    by_part = {part: dict.fromkeys(row["machine"] for row in rows if row["part"] == part) for part in PARTS}
    machines = ". ".join(f"{PARTS[part]}: {' and '.join(some)}" for part, some in by_part.items() if some)
    return f"""# What scores are worth in training

{machines or "Not run yet"}. `python -m benchmarks.downstream --device cuda --jobs 16` (many answers),
`python -m benchmarks.downstream --parts few` (few answers).

Chained arithmetic modulo 100 (`47+8-3*2`), every step written on a line (`47+8=55`) and checked exactly: a step is
right where it goes on from the step before as asked and computes truly.{_pretraining(rows)}

Then GRPO on prompts of {SHORTEST} to {TRAINED} steps: *many* answers are 32 prompts of 16 answers an update, *few* 8 of
8; KL coefficient {MANY.kl}, learning rate {MANY.learning_rate}, advantages less the mean of the prompt's answers and
scaled to one over the batch. Rewards for steps are those that ship: `SentenceReward` and `ShapedReward`. fractal learns
under `product` from the outcomes of the policy's own answers, on vectors of the frozen policy's last states (at the end
of the step, and where the result was drawn times the result's vector) and on three columns of what the policy makes of
its own tokens (log-probability of result and step, entropy). No column computes, and no label of a step is seen."""


def _pretraining(rows: Rows) -> str:
    row = next((row for row in rows if row["part"] == "pretraining"), None)
    if row is None:
        return ""
    look = row["looks"][-1]
    return (
        f" The policy, {row['weights']:,} weights, was pretrained from scratch on 20,000 right solutions of "
        f"{SHORTEST} to {LONGEST} steps, {look['step']} batches of 64 in {row['s']:.0f} s, until it solved "
        f"{look['right']:.0%} of fresh prompts; every arm starts from it."
    )


def _came_out(many: dict, few: dict) -> str:
    """Hold what was measured against the criterion."""
    judged = [(many, BEST, "many"), (few, BEST, "few"), (few, REFITTED, "few")]
    lines = [
        f"- *{name}*, {answers} answers: **{'met' if _met(runs, name) else 'not met'}**. "
        f"{' points of drawn answers and '.join(_gaps(runs, name))} of the likeliest, over {seeds} seeds."
        for runs, name, answers in judged
        if runs and (seeds := len(_shared(runs, name, OUTCOME))) > 1
    ]
    return "\n".join(["## What came out", "", *lines]) + CONCLUSION if lines else ""


CONCLUSION = """

What can be acted on:

- Where outcomes are checked and plenty, pay outcomes. Even the truth of every step adds little here: +0.7 ± 3.8 points
  after 30 updates, +2.3 ± 1.5 after 60. Scores that tell right steps from wrong with an AUC of .83 lose 3.0 ± 3.6 and
  2.3 ± 3.0; random scores, in the same form, change nothing that could be told.
- Do not pay for scores alone (one seed: 17 to 32 points fewer than outcome alone in the forms that keep the length),
  and never for their sum: the policy wrote three times the steps, and nothing right.
- A scorer that stays while the policy moves is a suspect: fitted anew it lost 2.2 points after 30 updates and won 4.0
  after 60, on one seed, which decides nothing.
- What tells steps apart is what the policy makes of its own tokens. The columns alone beat the columns with states, and
  the probability of the step, with nothing learned, is about as good as they are. `prefix_value` on states is near
  chance, and what it pays for ruins the policy, in a form that is ours and not its paper's (its scores summed, in a
  pilot run: 44% right).
- The truth of every step teaches .879 from states and columns and .738 from states alone (one seed), where outcomes
  teach .829 and .617: of what states alone have above chance, outcomes tell half.
- To pick one of 4 answers, take the response score (.646 right, a vote .612, a random one .538); from 16 answers on a
  vote is better, and weighing it by the response score costs nothing.

Not run: few answers (a run takes 72 s of processor time, and 298 s on cores that others were using;
`--parts few` measures it), seeds 1 to 4 of the seven arms that show one seed, as the time on the card was over, and the
selection on seeds 2 to 4 (from the truth of every step: 1 to 4). The tuned encoder reads texts, no states: not tried.
The rows measured on the two cores drew other answers than the card did under the same seed."""


def _met(runs: dict, name: str) -> bool:
    drawn, likeliest = (_difference(runs, name, OUTCOME, key, _ends(runs)[0]) for key in KEYS)
    return drawn[0] >= POINTS and drawn[0] > drawn[1] and likeliest[0] > 0


def _gaps(runs: dict, name: str) -> list[str]:
    return [_points(*_difference(runs, name, OUTCOME, key, _ends(runs)[0])) for key in KEYS]


KEYS = ("right", "greedy right")
COLUMNS = ("right", "− outcome", "greedy", "− outcome", "steps right", "lucky", "longer", "length")
LEGEND = f"""## The arms

Shares (%) of right answers to fresh prompts (1,024; with few answers 256), drawn at temperature 1. *− outcome*: points
above `outcome`, paired by seed, ± half the 95% interval. *Greedy*: the likeliest answers. *Longer*: prompts of
{TRAINED + 1} to {LONGEST} steps, which the arms never see. *Lucky*: right answers with a wrong step. *Length*: steps
written per step asked.

`sum`, `soft worst` and `potential` pay for steps alone, *+ outcome* pays the outcome, too. *Sum*: a step and all after
it are paid their scores. *Soft worst*: the worst carries the answer, credit by softmax(−p / {TEMPERATURE}).
*Potential*: each step is paid its difference of Σ log p, p at least {FLOOR}. *Centred by outcome*: the worst log p,
less the mean of the prompt's answers of equal outcome, and the outcome. Random scores, the truth (`exact`), the
baseline `prefix_value`, and fractal on the three columns alone (*confidence*) or on the vectors alone (*states*) are
paid in the potential's form. *Refitted*: anew every 12 updates, on the last batches and the policy's states of then.

![Learning curves of all arms](downstream.png)"""


def _arms(runs: dict, answers: str) -> str:
    """Write the tables of the arms at both ends."""
    if not runs:
        return ""
    names = [arm for arm in ARMS if any(run == arm for run, _ in runs)]
    parts = [f"### {answers} answers"]
    for update in _ends(runs):
        lines = [_line(["arm", "seeds", *COLUMNS]), _line(["---"] + ["---:"] * 9)]
        lines += [_line(["*before*", "", *_cells(runs, OUTCOME, 0)])] if update == _ends(runs)[0] else []
        lines += [
            _line([name, str(sum(run == name for run, _ in runs)), *_cells(runs, name, update)]) for name in names
        ]
        parts += [f"After {update} updates:", "\n".join(lines)]
    took = np.median([run["cpu_s"] for run in runs.values()])
    parts.append(f"A run of {_ends(runs)[1]} updates took {took:.0f} s of processor time (median).")
    return "\n\n".join(parts)


def _cells(runs: dict, name: str, update: int) -> list[str]:
    """Return the cells of one arm; differences stay empty for the arm that others are held against."""
    gaps = ["" if name == OUTCOME else _points(*_difference(runs, name, OUTCOME, key, update)) for key in KEYS]
    shares = ("right", "greedy right", "right steps", "wrong steps in right", "longer right")
    values = [f"{100 * _mean(runs, name, key, update):.1f}" for key in shares]
    return [values[0], gaps[0], values[1], gaps[1], *values[2:], f"{_mean(runs, name, 'length', update):.2f}"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _steps(rows: Rows) -> str:
    """Write the table of areas."""
    some = [row for row in rows if row["part"] == "selection"]
    if not some:
        return ""
    right, steps = (np.mean([row[key] for row in some]) for key in ("train right", "right steps"))
    lines = [
        "## Steps against the truth",
        "",
        f"ROC AUC on answers to other prompts, after {some[0]['outcomes']:,} outcomes ({right:.0%} right)",
        f"of the pretrained policy; {steps:.0%} of the steps are right. Means over seeds ± half the 95% interval.",
        "",
        _line(["scores", "seeds", "steps", "inside answers", "answers"]),
        _line(["---"] + ["---:"] * 4),
    ]
    for name, own in _by_method(some):
        cells = [_spread([row[key] for row in own]) for key in ("roc_auc", "within_response_auc", "answers")]
        lines.append(_line([LABELS.get(name, name), str(len(own)), *cells]))
    return "\n".join(lines)


LABELS = {
    "fractal": "**fractal**, states and confidence",
    "confidence": "fractal, confidence alone",
    "states": "fractal, states alone",
    "supervised fractal": "states and confidence, from the truth of every step",
    "supervised states": "states, from the truth of every step",
    "log_step": "the policy's own probability of the step, nothing learned",
}


def _picks(rows: Rows) -> str:
    """Write the table of the best of several answers."""
    some = [row for row in rows if row["part"] == "selection"]
    if not some:
        return ""
    counts = [count for count in COUNTS if f"oracle of {count}" in some[0]["picks"]]
    vote, random, oracle = (_pick(some, way, counts) for way in WAYS[3:])
    lines = [
        "## Best of N",
        "",
        "How often the picked answer is right. *Answer*: the highest response score; *worst*: the highest worst step;",
        "*weighed vote*: the result whose answers have the largest sum of response scores. Without scores, of",
        f"{', '.join(map(str, counts))} answers: a vote {vote}, one at random {random}, the best there is {oracle}.",
        "",
        _line(["scores", *(f"{way} of {count}" for way in ("answer", "worst", "weighed vote") for count in counts)]),
        _line(["---"] + ["---:"] * 3 * len(counts)),
    ]
    for name, own in _by_method(some):
        values = [np.mean([row["picks"][f"{way} of {count}"] for row in own]) for way in WAYS[:3] for count in counts]
        lines.append(_line([LABELS.get(name, name), *(f"{value:.3f}" for value in values)]))
    return "\n".join(lines)


def _pick(rows: Rows, way: str, counts: Sequence[int]) -> str:
    return ", ".join(f"{np.mean([row['picks'][f'{way} of {count}'] for row in rows]):.3f}" for count in counts)


def _by_method(rows: Rows) -> list[tuple[str, list[dict]]]:
    by = [(name, [row for row in rows if row["name"] == name]) for name in METHODS]
    return [(name, own) for name, own in by if own]


def _ends(runs: dict) -> tuple[int, int]:
    updates = next(iter(runs.values()))["plan"]["updates"]
    return updates, 2 * updates


def _look(run: dict, update: int) -> dict:
    return next(look for look in run["looks"] if look["update"] == update)


def _of(runs: dict, name: str, key: str, update: int) -> list[float]:
    return [_look(run, update)[key] for (arm, _), run in sorted(runs.items()) if arm == name]


def _mean(runs: dict, name: str, key: str, update: int) -> float:
    return float(np.mean(_of(runs, name, key, update)))


def _shared(runs: dict, *names: str) -> list[int]:
    return sorted(set.intersection(*({seed for arm, seed in runs if arm == name} for name in names)))


def _difference(runs: dict, name: str, other: str, key: str, update: int) -> tuple[float, float]:
    """Return the mean difference of two arms over the seeds that both have, and half the width of its interval."""
    gaps = [
        _look(runs[name, seed], update)[key] - _look(runs[other, seed], update)[key]
        for seed in _shared(runs, name, other)
    ]
    return float(np.mean(gaps)), half_width(gaps)


def half_width(values: Sequence[float]) -> float:
    """Return half the width of Student's 95% interval of the mean."""
    degrees = len(values) - 1
    return T95[degrees] * float(np.std(values, ddof=1)) / np.sqrt(len(values)) if degrees in T95 else float("nan")


def _points(mean: float, half: float) -> str:
    return f"{100 * mean:+.1f}" + ("" if np.isnan(half) else f" ± {100 * half:.1f}")


def _spread(values: Sequence[float]) -> str:
    half = half_width(values)
    return f"{np.mean(values):.3f}" + ("" if np.isnan(half) else f" ± {half:.3f}")


def draw_curves(many: dict, few: dict, path: Path) -> None:
    """Draw the share of right answers of every arm by update, with a band of one standard error over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    beside = [name for name, arm in ARMS.items() if arm.outcome and name != REFITTED]
    forms = [name for name, arm in ARMS.items() if not arm.outcome or name in (OUTCOME, BEST, REFITTED)]
    panels = [(many, beside, "many answers, scores beside the outcome"), (many, forms, "many answers, forms")]
    panels = [(runs, names, title) for runs, names, title in [*panels, (few, FEW_ARMS, "few answers")] if runs]
    palette = pyplot.get_cmap("tab20").colors
    colours = dict(zip(ARMS, palette[::2] + palette[1::2], strict=False)) | {OUTCOME: "black", BEST: "#0072b2"}
    figure, places = pyplot.subplots(1, len(panels), figsize=(5.5 * len(panels), 4.8), layout="constrained")
    for axes, (runs, names, title) in zip(np.atleast_1d(places), panels, strict=True):
        for name in names:
            _curve(axes, [run for (arm, _), run in runs.items() if arm == name], name, colours[name])
        axes.axvline(_ends(runs)[0], color="0.8", zorder=1)
        axes.set(xlabel="updates", ylabel="right answers, drawn at temperature 1 (%)")
        axes.set_title(title, loc="left", fontsize=10)
        axes.grid(color="0.93")
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _curve(axes: Any, runs: Rows, name: str, colour: Any) -> None:
    if not runs:
        return
    updates = [look["update"] for look in runs[0]["looks"]]
    values = 100 * np.array([[look["right"] for look in run["looks"]] for run in runs])
    error = values.std(0, ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else np.zeros(len(updates))
    style = {
        "linewidth": 2.4 if name in (OUTCOME, BEST) else 1.4,
        "linestyle": "--" if name in (RANDOM, EXACT) else "-",
    }
    axes.plot(updates, values.mean(0), color=colour, label=f"{name} ({len(runs)})", **style)
    axes.fill_between(updates, values.mean(0) - error, values.mean(0) + error, color=colour, alpha=0.15, linewidth=0)
