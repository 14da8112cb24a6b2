"""Scored responses laid out as arrays: labels beside scores, by sentence and by response."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fractal.errors import BadData
from fractal.evaluation.metrics import Metric, Sample
from fractal.records import ScoredResponse

Scored = ScoredResponse | Mapping[str, Any]

SENTENCE = ("roc_auc", "within_response_auc", "average_precision", "worst_sentence_hit", "best_sentence_hit")
FIRST_ERROR = ("first_error_accuracy", "first_error_f1")
GRADED = ("concordance", "spearman")
DISTANCE = ("mae", "calibration_error")
RESPONSE = ("response_roc_auc", "response_mae", "response_calibration_error")


@dataclasses.dataclass(frozen=True)
class LabelledScores:
    """Labels and scores of the same responses as arrays, by sentence and by response."""

    ids: tuple[str, ...]
    sentences: Sample
    whole: Sample

    @classmethod
    def of(cls, scored: Iterable[Scored], aspect: str | None = None) -> LabelledScores:
        """Lay out records, or mappings with `id`, `sentence_scores`, `sentence_labels`, `response_score`, `label`."""
        entries = [_entry(item, number) for number, item in enumerate(scored)]
        if aspect is not None:
            entries = [entry for entry in entries if entry.aspect == aspect]
        aspects = sorted({entry.aspect for entry in entries})
        if len(aspects) > 1:
            raise BadData(f"scores of several aspects ({', '.join(map(repr, aspects))}): choose one with aspect=…")
        ids = tuple(entry.id for entry in entries)
        if len(set(ids)) < len(ids):
            twice = next(id for id, times in Counter(ids).items() if times > 1)
            raise BadData(
                f"the response {twice!r} is scored more than once: give every response its own id", field="id"
            )
        truth = [label for entry in entries for label in entry.labels]
        scores = [score for entry in entries for score in entry.scores]
        groups = np.repeat(np.arange(len(entries)), [len(entry.scores) for entry in entries])
        flat = Sample.of(truth, scores)
        whole = Sample.of([entry.label for entry in entries], [entry.score for entry in entries])
        return cls(ids, dataclasses.replace(flat, groups=groups.astype(np.int64), responses=len(entries)), whole)

    def sample(self, metric: Metric) -> Sample:
        """Return what a metric looks at."""
        return self.whole if metric.level == "response" else self.sentences

    def usual_metrics(self) -> tuple[str, ...]:
        """Return the metrics that these labels allow."""
        truth = self.sentences.truth[~np.isnan(self.sentences.truth)]
        names: tuple[str, ...] = ()
        if truth.size:
            graded = bool(((truth > 0) & (truth < 1)).any())
            first = _labels_stop_at_errors(self.sentences)
            names = (*SENTENCE, *(FIRST_ERROR if first else ()), *(GRADED if graded else ()), *DISTANCE)
        if not np.isnan(self.whole.truth).all():
            names += RESPONSE
        if not names:
            raise BadData("no sentence and no response has a label: there is nothing to compare the scores with")
        return names


@dataclasses.dataclass(frozen=True)
class _Entry:
    id: str
    scores: Sequence[float]
    labels: Sequence[float]
    score: float
    label: float
    aspect: str


def _entry(item: Scored, place: int) -> _Entry:
    if isinstance(item, ScoredResponse):
        response = item.response
        label = response.label_of(item.aspect)
        labels: Sequence[float | None] = response.sentence_labels
        return _Entry(
            response.id, item.sentence_scores, _known(labels), item.response_score, _known([label])[0], item.aspect
        )
    if not isinstance(item, Mapping) or "sentence_scores" not in item:
        raise BadData("give scored responses, or mappings with 'sentence_scores'", line=place + 1)
    scores = item["sentence_scores"]
    labels = item.get("sentence_labels") or [None] * len(scores)
    if len(labels) != len(scores):
        raise BadData(
            f"{len(labels)} labels for {len(scores)} sentence scores", line=place + 1, field="sentence_labels"
        )
    whole = item.get("response_score")
    label = item.get("label") if whole is not None else None
    score = 0.0 if whole is None else float(whole)
    return _Entry(
        str(item.get("id", place)), scores, _known(labels), score, _known([label])[0], str(item.get("aspect", ""))
    )


def _known(labels: Sequence[float | None]) -> list[float]:
    return [math.nan if label is None else float(label) for label in labels]


def _labels_stop_at_errors(sample: Sample) -> bool:
    """Annotators who mark the first error leave the rest of that response unlabelled."""
    bad = sample.groups[sample.truth < 0.5]
    after = sample.groups[1:][np.isnan(sample.truth[1:]) & (sample.groups[1:] == sample.groups[:-1])]
    return bool(bad.size and after.size) and bool(np.bincount(bad).max() == 1 and np.isin(after, bad).all())


def matched(first: LabelledScores, second: LabelledScores) -> tuple[LabelledScores, LabelledScores]:
    """Bring the second set into the order of the first; labels that only one side knows serve both."""
    for these, others, which in ((first, second, "first"), (second, first, "second")):
        if missing := set(these.ids) - set(others.ids):
            some = ", ".join(map(repr, sorted(missing)[:3]))
            raise BadData(
                f"{len(missing)} responses are only in the {which} set of scores, such as {some}: compare the same ones"
            )
    place = {id: number for number, id in enumerate(second.ids)}
    order = np.array([place[id] for id in first.ids], dtype=np.int64)
    sizes, starts = _spans(second)
    if (uneven := np.flatnonzero(_spans(first)[0] != sizes[order])).size:
        where = first.ids[int(uneven[0])]
        raise BadData(f"the response {where!r} has not the same number of sentences in both sets of scores")
    rows = np.concatenate([np.arange(starts[bag], starts[bag] + sizes[bag]) for bag in order] or [order])
    flat = Sample(second.sentences.truth[rows], second.sentences.scores[rows], first.sentences.groups, len(order))
    whole = Sample(second.whole.truth[order], second.whole.scores[order], first.whole.groups, len(order))
    parts = (_same_labels(first.sentences, flat), _same_labels(first.whole, whole))
    return LabelledScores(first.ids, parts[0][0], parts[1][0]), LabelledScores(first.ids, parts[0][1], parts[1][1])


def _spans(labelled: LabelledScores) -> tuple[Any, Any]:
    sizes = np.bincount(labelled.sentences.groups, minlength=len(labelled.ids))
    return sizes, np.cumsum(sizes) - sizes


def _same_labels(first: Sample, second: Sample) -> tuple[Sample, Sample]:
    both = ~np.isnan(first.truth) & ~np.isnan(second.truth)
    clash = np.flatnonzero(both & ~np.isclose(first.truth, second.truth))
    if clash.size:
        values = f"{first.truth[clash[0]]:g} and {second.truth[clash[0]]:g}"
        raise BadData(
            f"the two sets of scores carry different labels for the same thing ({values}): "
            "compare scores of the same labelled responses"
        )
    truth = np.where(np.isnan(first.truth), second.truth, first.truth)
    return dataclasses.replace(first, truth=truth), dataclasses.replace(second, truth=truth)
