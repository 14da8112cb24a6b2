"""The real sets, as records: a folder of sets lies beside the project, or where FRACTAL_BENCH_DATA says."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
from pathlib import Path

import numpy as np

from fractal.records import Preference, Response

SETS = (
    *("wikiqa", "multispanqa_windows", "wice_windows", "absa16_reviews", "faithbench", "qags", "prmbench"),
    *("processbench", "prm800k_subset", "realsumm_scu", "qa_feedback_bags", "qa_feedback_pref"),
    *("uss_satisfaction", "film_sentiment"),
)
WITHOUT_SENTENCE_LABELS = {"film_sentiment"}  # in training
WITHOUT_RATINGS = {"qa_feedback_pref"}
FORMS = {"min": "product", "max": "noisy_or", "avg": "mean"}  # the stated rule, in the form that has a likelihood


def folder() -> Path:
    """Return where the sets are."""
    return Path(os.environ.get("FRACTAL_BENCH_DATA", Path(__file__).parents[3] / "shared" / "data"))


@dataclasses.dataclass(frozen=True)
class RealSet:
    """One set: what is learned from (train and valid), what is tested on, and its stated aggregation."""

    name: str
    train: list[Response | Preference]
    test: list[Response]
    aggregation: str

    def bare(self) -> list[Response | Preference]:
        """Return the training records as a user has them: without one sentence label."""
        return [_bare(record) for record in self.train]


def load(name: str, most: int | None = None, seed: int = 0) -> RealSet:
    """Read a set; `most` keeps a seeded choice of so many training responses, whole groups at a time."""
    train = [record for split in ("train", "valid") for record in _read(name, split)]
    if most is not None and len(train) > most:
        groups = sorted({record.split_group for record in train})
        rank = dict(zip(groups, np.random.default_rng(seed).permutation(len(groups)).tolist(), strict=True))
        train = sorted(train, key=lambda record: rank[record.split_group])[:most]
    test: dict[tuple[str, tuple[str, ...], str], Response] = {}
    for record in _read(name, "test"):
        for response in (record.better, record.worse) if isinstance(record, Preference) else (record,):
            test.setdefault((response.query, response.context, response.text), response)
    with gzip.open(folder() / name / "test.jsonl.gz", "rt") as lines:
        stated = json.loads(next(lines)).get("aggregation", "avg")
    return RealSet(name, train, list(test.values()), FORMS[stated])


def _bare(record: Response | Preference) -> Response | Preference:
    if isinstance(record, Preference):
        return dataclasses.replace(record, better=record.better.without_labels(), worse=record.worse.without_labels())
    return dataclasses.replace(record.without_labels(), label=record.label)


def _read(name: str, split: str) -> list[Response | Preference]:
    with gzip.open(folder() / name / f"{split}.jsonl.gz", "rt") as lines:
        return [_record(json.loads(line)) for line in lines]


def _record(raw: dict) -> Response | Preference:
    meta = raw.get("meta") or {}
    shared = {"query": raw.get("query") or "", "context": tuple(raw.get("context") or ()), "group": meta.get("group")}
    if "preference" not in raw:
        return _response(raw["id"], raw, label=raw["label"], **shared)
    a, b = (
        _response(f"{meta.get('group', raw['id'])}: {' '.join(raw[side]['sentences'])}", raw[side], **shared)
        for side in "ab"
    )
    first, second = (b, a) if raw["preference"] == "b" else (a, b)
    return Preference(first, second, tie=raw["preference"] == "tie", id=raw["id"])


def _response(id: str, raw: dict, **fields: object) -> Response:
    return Response.from_sentences(id, raw["sentences"], labels=raw["sentence_labels"], **fields)
