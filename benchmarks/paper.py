"""The paper's comparison, in its layout: FRACTAL and what it is compared with, the paper's own figures beside ours.

    python -m benchmarks.paper DATA --seeds 2 > benchmarks/results/paper.md

DATA holds one folder a data set, each with train.jsonl and test.jsonl (or .gz) as `fractal` reads them. Without
sentence labels but for the supervised rows; `--nli MODEL` names an entailment model for the row that needs one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fractal.evaluation import evaluate
from fractal.mil.training.plan import TrainingPlan
from fractal.readers import read
from fractal.records import Preference, Response, ScoredResponse
from fractal.scorers.baselines.variants import BASELINES
from fractal.scorers.sentence import SentenceScorer

METRICS = ("roc_auc", "within_response_auc")
PAPER = {  # set → (aggregation, bag loss only, FRACTAL, supervised): sentence ROC AUC in the paper
    "qa_feedback_pref": ("mean", 0.509, 0.532, 0.651),
    "multispanqa_windows": ("max", 0.661, 0.693, 0.729),
    "prm800k_subset": ("min", 0.569, 0.597, 0.613),
}
ROWS = (  # (row, how it is made, whether it may see sentence labels)
    ("FRACTAL, the paper's recipe", "paper(aggregation={form!r})", False),
    ("bag loss + priors", "paper(rounds=0, aggregation={form!r})", False),
    ("bag loss only", "paper(prior_weight=0.0, rounds=0, aggregation={form!r})", False),
    ("response-level model", "response_level", False),
    ("cosine", "cosine(aggregation={form!r})", False),
    ("NLI", "", False),
    ("supervised, the paper's columns", "supervised(recipe='paper', aggregation={form!r})", True),
    ("FRACTAL, our defaults", "ours", False),
    ("bag loss only, our columns", "bag_only", False),
    ("supervised, our columns", "supervised", True),
    ("place and length alone", "shortcut", False),
)
DIFFERS = """What differs from the paper's set-up, so that figures must not be compared one to one:

- Encoder: all-MiniLM-L6-v2 (384 columns) in place of Sentence-T5 Large (768).
- Data: parts of the sets. QA-Feedback: its dev file alone, pairs of 340 questions to learn from. MultiSpanQA: its \
validation file alone, windows of three sentences in place of half the paragraphs cut down. PRM800K: 1,333 solutions \
of about 200 problems; in every wrong one the last step is the wrong one, so place alone tells (see its row).
- Split by question or problem; the paper's folds let one question fall on both sides.
- ROC AUC is rank-based over all test sentences; the paper's is by 200 thresholds. Ties of preferences count as ½.
- No sentence label is seen in training but in the supervised rows; of QA-Feedback those learn from the first answers, \
the only ones with marks. Nothing was tuned on these sets for this table."""


def records_of(folder: Path, split: str) -> list[Response | Preference]:
    """Read a split, plain or compressed."""
    (path,) = sorted(folder.glob(f"{split}.jsonl*"))
    return list(read(path))


def without_gold(record: Any) -> Any:
    """Take the sentence labels away."""
    if isinstance(record, Preference):
        return dataclasses.replace(record, better=without_gold(record.better), worse=without_gold(record.worse))
    return dataclasses.replace(
        record, sentences=tuple(dataclasses.replace(sentence, label=None) for sentence in record.sentences)
    )


def labelled(records: Iterable[Response | Preference]) -> list[Response]:
    """Return every response with sentence labels once, of preferences too."""
    found: dict[tuple[str, str], Response] = {}
    for record in records:
        for response in (record.better, record.worse) if isinstance(record, Preference) else (record,):
            if any(label is not None for label in response.sentence_labels):
                found.setdefault((response.query, response.text), response)
    return [dataclasses.replace(response, id=str(number)) for number, response in enumerate(found.values())]


def gold_of(records: Iterable[Response | Preference], form: str) -> list[Response]:
    """Return what full supervision learns from: labelled responses, rated by their sentences where they are not."""
    made = []
    for response in labelled(records):
        known = [label for label in response.sentence_labels if label is not None]
        rated = {"mean": statistics.fmean, "min": min, "max": max}[form](known)
        made.append(response if response.label is not None else dataclasses.replace(response, label=rated))
    return made


def entailed(model: str, responses: Sequence[Response]) -> list[ScoredResponse]:
    """Score each sentence by P(a chunk of the context, or the query, entails it), the largest over the chunks."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    judge = AutoModelForSequenceClassification.from_pretrained(model).eval()
    names = {name.lower(): number for number, name in judge.config.id2label.items()}
    column = next((number for name, number in names.items() if name.startswith("entail")), None)
    if column is None:
        raise SystemExit(f"{model} has no class 'entailment': {', '.join(names)}")
    scored = []
    for response in responses:
        chunks = response.context or (response.query,)
        scores = []
        for sentence in response.sentences:
            pairs = tokenizer(
                list(chunks), [sentence.text] * len(chunks), return_tensors="pt", padding=True, truncation=True
            )
            with torch.inference_mode():
                scores.append(float(judge(**pairs).logits.softmax(-1)[:, column].max()))
        scored.append(ScoredResponse(response, tuple(scores), min(scores)))
    return scored


def made(spec: str, form: str, seed: int, epochs: int) -> Any:
    """Build what a row names."""
    if spec == "ours":
        return SentenceScorer(plan=TrainingPlan(seed=seed, epochs=epochs))
    model = BASELINES.build(spec.format(form=form))
    model.seed = seed
    if hasattr(model, "epochs"):
        model.epochs = epochs
    return model


def figures(scored: Sequence[ScoredResponse]) -> dict[str, float]:
    """Measure scores by the labels of their sentences."""
    return {row.metric: row.value for row in evaluate(scored, METRICS, bootstrap=0).rows}


Figures = list[dict[str, float]]


class Kept:
    """Figures that are measured already, in a file of JSON lines: a run that was stopped goes on."""

    def __init__(self, path: Path | None, plan: str, closed: bool) -> None:
        self.path, self.plan, self.closed = path, plan, closed
        lines = path.read_text().splitlines() if path and path.exists() else []
        self.found = {(line["plan"], line["set"], line["row"]): line["figures"] for line in map(json.loads, lines)}

    def get(self, name: str, row: str, measure: Callable[[], Figures]) -> Figures:
        """Return what is known, else measure it and keep it, unless nothing more is to be measured."""
        key = (self.plan, name, row)
        if key not in self.found and self.closed:
            return []
        if key not in self.found:
            started = time.perf_counter()
            self.found[key] = measure()
            line = {"plan": self.plan, "set": name, "row": row, "figures": self.found[key]}
            if self.path:
                with self.path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
            print(f"{json.dumps(line)} {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        return self.found[key]


def run_set(folder: Path, seeds: int, epochs: int, nli: str, kept: Kept) -> dict[str, Figures | str]:
    """Return each row's figures, one a seed, or why there are none."""
    form = PAPER[folder.name][0]
    train, test = records_of(folder, "train"), labelled(records_of(folder, "test"))
    shown = [without_gold(record) for record in train]
    bare = [response.without_labels() for response in test]
    found: dict[str, Figures | str] = {}
    for row, spec, sees_gold in ROWS:
        if not spec:
            found[row] = [figures(_with_truth(entailed(nli, bare), test))] if nli else "no entailment model here"
            continue
        count = 1 if spec.startswith("cosine") else seeds
        data = gold_of(train, form) if sees_gold else shown

        def measure(spec: str = spec, count: int = count, data: Any = data) -> Figures:
            models = (made(spec, form, seed, epochs) for seed in range(count))
            return [figures(_with_truth(model.fit(data).score_responses(bare), test)) for model in models]

        found[row] = kept.get(folder.name, row, measure)
    return found


def _with_truth(scored: Sequence[ScoredResponse], test: Sequence[Response]) -> list[ScoredResponse]:
    return [dataclasses.replace(one, response=truth) for one, truth in zip(scored, test, strict=True)]


def cell(found: Figures | str, metric: str) -> str:
    """Return the mean over seeds, and how far they lie apart."""
    if isinstance(found, str):
        return "skipped"
    if not found:
        return "not measured"
    values = [figure[metric] for figure in found]
    spread = f" ±{(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def table(results: dict[str, dict[str, Any]], metric: str) -> list[str]:
    """Lay the results out as the paper does: methods down, data sets across."""
    lines = [f"| method | {' | '.join(results)} |", "|---" * (1 + len(results)) + "|"]
    for row, _, _ in ROWS:
        cells = [cell(found[row], metric) for found in results.values()]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    if metric == "roc_auc":
        for place, name in ((1, "bag loss only"), (2, "FRACTAL"), (3, "supervised")):
            cells = [f"{PAPER[folder][place]:.3f}" for folder in results]
            lines.append(f"| *the paper's figure: {name}* | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(PAPER), choices=list(PAPER))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=TrainingPlan.epochs)
    parser.add_argument("--nli", default="", help="an entailment model of transformers: a folder or a name")
    parser.add_argument("--keep", type=Path, help="a file of figures: a run that was stopped goes on from there")
    parser.add_argument("--closed", action="store_true", help="measure nothing: lay out what --keep holds")
    given = parser.parse_args()
    kept = Kept(given.keep, f"{given.seeds} seeds, {given.epochs} epochs", given.closed)
    results = {name: run_set(given.data / name, given.seeds, given.epochs, given.nli, kept) for name in given.sets}
    import torch

    print("# The paper's comparison\n\nSentence ROC AUC on the test split, mean of the seeds ± half their range.\n")
    print("\n".join(table(results, "roc_auc")))
    print("\nThe same inside responses: the AUC of a response's own sentences, mean over those with both labels.\n")
    print("\n".join(table(results, "within_response_auc")))
    reasons = sorted(
        {f"{row}: {why}" for found in results.values() for row, why in found.items() if isinstance(why, str)}
    )
    print(f"\n{DIFFERS}")
    if reasons:
        print(f"\nSkipped: {'; '.join(reasons)}.")
    command = (
        f"python -m benchmarks.paper DATA --sets {' '.join(given.sets)} --seeds {given.seeds} --epochs {given.epochs}"
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scikit-learn"))
    print(f"\nMeasured with `{command}` on {_processor()}, {torch.get_num_threads()} threads, {versions}.")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
