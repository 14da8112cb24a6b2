"""The checks, and what 'auto' makes of them: on real sets, and on generated responses with one assumption broken.

python -m benchmarks.checks [--seeds 20]                         all, resumably: what was measured is kept
python -m benchmarks.checks --parts generated,auto --seeds 20    no real sets
python -m benchmarks.checks --parts real --sets faithbench,qags --seeds 5
"""

from __future__ import annotations

import functools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from benchmarks.accuracy.data import SETS, load
from benchmarks.broken import CASES, CHOSEN
from benchmarks.logbook import Logbook, options
from benchmarks.machine import setting
from fractal.encoders import ENCODERS, EmbeddingCache
from fractal.encoders.block import EncodedBlock
from fractal.encoders.embedding import embed
from fractal.ensemble.checks import run_checks
from fractal.evaluation.metrics import METRICS
from fractal.mil.training.plan import TrainingPlan
from fractal.records.corpus import Corpus, gather
from fractal.scorers.sentence import SentenceScorer

CLOSE = 0.02  # sentence AUC that 'auto' may lose against the right choice
SHORT = {
    "length shortcut": "length",
    "position shortcut": "position",
    "contradicted responses": "contradicted",
    "leaking groups": "leaks",
    "aggregation": "aggregation",
    "prior: similarity to the context": "similarity",
    "prior: similarity to the query": "similarity",
    "prior: similarity to the context or query": "similarity",
    "label noise": "noise",
}


def laid(data: list, encoder: str) -> tuple[EncodedBlock, Corpus]:
    """Gather and encode; the vectors of real sets come from the cache."""
    corpus = gather(data)
    return embed(corpus.responses, ENCODERS.build(encoder), EmbeddingCache() if encoder == "minilm" else None), corpus


@functools.lru_cache(maxsize=1)
def real(name: str) -> tuple[str, EncodedBlock, Corpus]:
    """Read a real set as users have it, with the form that it states."""
    data = load(name)
    return data.aggregation, *laid(data.bare(), "minilm")


def checked(block: EncodedBlock, corpus: Corpus, aggregation: str, seed: int) -> dict:
    """Run the checks; return their findings, and the seconds of CPU they took beside the vectors."""
    used = time.process_time()
    found = run_checks(block, corpus, aggregation=aggregation, seed=seed)
    kept = [{key: one.to_dict()[key] for key in ("name", "verdict", "value", "advice")} for one in found]
    return {"findings": kept, "cpu_s": time.process_time() - used}


def on_generated(case: str, seed: int) -> dict:
    """Check generated responses that break what the case says."""
    return checked(*laid(CASES[case].made(seed), "hashing"), CASES[case].assumed, seed)


def on_real(name: str, seed: int) -> dict:
    """Check the training responses of a real set, as users have them."""
    stated, block, corpus = real(name)
    return {"stated": stated, **checked(block, corpus, stated, seed)}


def automatic(case: str, seed: int) -> dict:
    """Return the sentence AUC on new responses of the right choice made by hand, and of 'auto'."""
    made = CASES[case]
    train, test = made.made(seed), made.made(seed + 10_000, 300, bare=False)
    truth = np.array([sentence.label for response in test for sentence in response.sentences], dtype=float)
    row: dict = {}
    for name, aggregation, priors in (("hand", made.right, made.priors), ("auto", "auto", "auto")):
        started = time.process_time()
        scorer = SentenceScorer(
            aggregation, encoder="hashing", priors=priors, cache=False, plan=TrainingPlan(seed=seed)
        ).fit(train)
        row[f"{name}_s"] = time.process_time() - started
        scored = scorer.score_responses([response.without_labels() for response in test])
        scores = np.array([score for one in scored for score in one.sentence_scores])
        row[name] = float(METRICS.build("roc_auc")(truth, scores))
    kept = [choice.about.removeprefix("prior ") for choice in scorer.choices_ if choice.taken == "with"]
    return {**row, "took": " + ".join([scorer._config()["blend"]["aggregation"], *kept])}


PARTS: dict[str, Callable[[str, int], dict]] = {"generated": on_generated, "auto": automatic, "real": on_real}


def measured(parts: list[str], sets: list[str], seeds: int, log: Path) -> list[dict]:
    """Run what is missing of cases × seeds, and return everything that was ever measured."""
    book = Logbook(log, "part", "case", "seed")
    for part in parts:
        cells = [(case, seed) for seed in range(seeds) for case in (CHOSEN if part == "auto" else CASES)]
        if part == "real":  # each set is read once
            cells = [(name, seed) for name in sets for seed in range(seeds)]
        for case, seed in cells:
            if (part, case, seed) not in book:
                book.add({"part": part, "case": case, "seed": seed, **PARTS[part](case, seed)})
                print(f"{part}: {case}, seed {seed}", flush=True)
    return book.rows


def by_case(rows: list[dict], part: str) -> Iterator[tuple[str, list[dict]]]:
    """Give the rows of a part, case by case."""
    own = [row for row in rows if row["part"] == part]
    for case in dict.fromkeys(row["case"] for row in own):
        yield case, [row for row in own if row["case"] == case]


def generated_table(rows: list[dict]) -> list[str]:
    """Count how often the check that should speak does, and how often any other does."""
    lines = [
        "| broken | assumed | the check that should speak | speaks | others that speak |",
        "|---|---|---|---|---|",
    ]
    for name, own in by_case(rows, "generated"):
        wanted = CASES[name].speaks
        spoke = Counter(one["name"] for row in own for one in row["findings"] if one["verdict"] != "ok")
        others = ", ".join(f"{title} {count}" for title, count in spoke.items() if title != wanted)
        hits = f"{spoke[wanted]} of {len(own)}" if wanted else "–"
        lines.append(f"| {name} | {CASES[name].assumed} | {wanted or '–'} | {hits} | {others or 'none'} |")
    return lines


def auto_table(rows: list[dict]) -> list[str]:
    """Hold 'auto' against the right choice made by hand."""
    lines = [
        f"| broken | right by hand | AUC | auto | auto − hand | worst seed | within {CLOSE} | auto took | time |",
        "|---|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    for name, own in by_case(rows, "auto"):
        hand, auto = (np.array([row[key] for row in own]) for key in ("hand", "auto"))
        right = " + ".join([CASES[name].right, *CASES[name].priors])
        took = ", ".join(f"{what} {count}" for what, count in Counter(row["took"] for row in own).most_common())
        cost = sum(row["auto_s"] for row in own) / sum(row["hand_s"] for row in own)
        lines.append(
            f"| {name} | {right} | {hand.mean():.3f} | {auto.mean():.3f} | {(auto - hand).mean():+.3f} "
            f"| {(auto - hand).min():+.3f} | {(auto - hand > -CLOSE).sum()} of {len(own)} | {took} | {cost:.1f}× |"
        )
    return lines


def real_table(rows: list[dict]) -> list[str]:
    """Say in one line a set what the checks find, and in how many seeds of the folds they speak."""
    lines = [f"| set | stated | {' | '.join(SHORT.values())} | CPU s |", f"|{'---|' * (len(SHORT) + 3)}"]
    for name, own in by_case(rows, "real"):
        shown = []
        for title in SHORT:
            found = [one for row in own for one in row["findings"] if one["name"] == title]
            spoke = [one for one in found if one["verdict"] != "ok"]
            advice = sorted({one["advice"] for one in spoke} - {"", "drop"})
            mean = np.mean([one["value"] for one in found]) if found else np.nan
            value = f"{mean:+.3f}" if title == "aggregation" else f"{mean:.2f}"
            value = value if found else "–"
            marked = f"**{value}** {spoke[0]['verdict']} ({len(spoke)} of {len(found)})" if spoke else value
            shown.append(f"{marked}, try {' or '.join(advice)}" if advice else marked)
        spent = np.mean([row["cpu_s"] for row in own])
        lines.append(f"| {name} | {own[0]['stated']} | {' | '.join(shown)} | {spent:.1f} |")
    return lines


def page(rows: list[dict]) -> str:
    """Write what was measured."""
    parts = {
        "One assumption broken at a time": (
            "generated",
            "Generated responses, hashed vectors; which check speaks (any verdict but `ok`), in how many seeds.",
            generated_table,
        ),
        "'auto' beside the right choice made by hand": (
            "auto",
            "The same responses: `aggregation='auto', priors='auto'` against the form and priors that one would choose "
            "who knows how the responses were made. Sentence ROC AUC on 300 new responses; time as a multiple of the "
            "fit by hand. Under the contexts of others nothing is left to learn: both are at chance.",
            auto_table,
        ),
        "Real sets": (
            "real",
            "Training responses as users have them, without sentence labels; MiniLM vectors; the stated form is "
            "assumed. Values: AUC of length or position, and of the similarity's own aggregate; shares; nats a "
            "response that the best other form saves; flip rate. Bold: the check speaks, in so many seeds.",
            real_table,
        ),
    }
    lines = [
        "# Checks",
        "",
        setting("python -m benchmarks.checks"),
    ]
    for title, (part, told, table) in parts.items():
        if any(row["part"] == part for row in rows):
            lines += ["", f"## {title}", "", told, "", *table(rows)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is missing and write the page."""
    parser = options(__doc__, "checks", tuple(SETS), seeds=20)
    parser.add_argument("--parts", default=",".join(PARTS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = measured(args.parts.split(","), args.sets.split(","), args.seeds, args.log)
    args.out.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
