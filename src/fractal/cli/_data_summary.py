"""What a file of responses holds, counted in one pass: enough to judge whether it can be learned from."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from fractal.cli._options import ReadOptions

if TYPE_CHECKING:
    from fractal.evaluation.findings import Finding
    from fractal.readers import ReadReport
    from fractal.records import Preference, Response

__all__ = ["DataSummary", "leaks", "summarise"]

LONG, SHORT = 2_000, 2  # characters: a sentence longer than this was not cut, one shorter says nothing
MANY = 200  # sentences of one response
SHOWN = 80
CHECKED = 20_000  # responses that are kept for the checks of the assumptions; the counts are of all
DUPLICATE, OPPOSITE = "the same response twice", "the same text with opposite labels"
LENGTH, COUNT = "a sentence of extreme length", "very many sentences"
CONTRADICTION = "sentences and response disagree"


@dataclasses.dataclass
class DataSummary:
    """One file: what was read, and what looks wrong."""

    source: str
    report: ReadReport
    annotator: str | None = None  # the field that names who rated: several ratings of one text are then no duplicates
    sentences: list[int] = dataclasses.field(default_factory=list)  # of each response
    labels: Counter[str] = dataclasses.field(default_factory=Counter)
    aspects: dict[str, Counter[str]] = dataclasses.field(default_factory=lambda: defaultdict(Counter))
    sentence_labels: int = 0
    with_query: int = 0
    with_context: int = 0
    texts: dict[int, tuple[str, float | None]] = dataclasses.field(default_factory=dict)  # hash → first id and label
    groups: dict[int, str] = dataclasses.field(default_factory=dict)  # hash → the first such group
    suspicious: dict[str, list[tuple[str, str]]] = dataclasses.field(
        default_factory=lambda: {kind: [] for kind in (OPPOSITE, DUPLICATE, LENGTH, COUNT, CONTRADICTION)}
    )

    responses: list[Response] = dataclasses.field(default_factory=list)
    pairs: list[tuple[int, int, int]] = dataclasses.field(
        default_factory=list
    )  # places in `responses`, and 1 for a tie

    def add(self, record: Response | Preference) -> None:
        """Count a response, or the two of a preference."""
        from fractal.records import Preference

        if not isinstance(record, Preference):
            self._count(record)
            return
        if len(self.responses) + 2 <= CHECKED:
            self.pairs.append((len(self.responses), len(self.responses) + 1, int(record.tie)))
        self._count(record.better)
        self._count(record.worse)

    def checks(self) -> tuple[Finding, ...]:
        """Hold the assumptions that need no model against the data, those about labels for every aspect, too."""
        import numpy as np

        from fractal.evaluation.data_checks import data_checks, label_checks
        from fractal.records.groups import group_responses

        if not self.responses:
            return ()
        pairs = np.array(self.pairs, dtype=np.int64).reshape(-1, 3)
        grouping = group_responses(self.responses, pairs)
        findings = list(data_checks(self.responses, pairs, grouping=grouping))
        for aspect in sorted(self.aspects):
            rated = [dataclasses.replace(response, label=response.aspects.get(aspect)) for response in self.responses]
            findings += [
                dataclasses.replace(finding, name=f"{aspect}: {finding.name}")
                for finding in label_checks(rated, grouping=grouping)
            ]
        return tuple(findings)

    def _count(self, response: Response) -> None:
        if len(self.responses) < CHECKED:
            self.responses.append(response)
        self.sentences.append(len(response.sentences))
        if response.label is not None:
            self.labels[_rounded(response.label)] += 1
        for aspect, label in response.aspects.items():
            self.aspects[aspect][_rounded(label)] += 1
        self.sentence_labels += sum(sentence.label is not None for sentence in response.sentences)
        self.with_query += bool(response.query)
        self.with_context += bool(response.context)
        if response.group or response.query:
            self.groups.setdefault(hash(response.split_group), response.split_group[:SHOWN])
        self._compare(response)
        self._measure(response)

    def _compare(self, response: Response) -> None:
        from fractal.evaluation.slices import carried_value

        rater = carried_value(response, self.annotator) if self.annotator else None
        key = hash((response.query, response.text, *([] if rater is None else [str(rater)])))
        first, label = self.texts.setdefault(key, (response.id, response.label))
        if first == response.id:
            return
        if None not in (label, response.label) and label != response.label:
            what = f"labelled {response.label:g}, but {label:g} as {first}: {response.text[:SHOWN]}"
            self.suspicious[OPPOSITE].append((response.id, what))
        else:
            self.suspicious[DUPLICATE].append((response.id, f"is {first}: {response.text[:SHOWN]}"))

    def _measure(self, response: Response) -> None:
        for number, sentence in enumerate(response.sentences, 1):
            if len(sentence.text) > LONG or len(sentence.text.strip()) < SHORT:
                what = f"sentence {number} has {len(sentence.text):,} characters: {sentence.text[:SHOWN]}"
                self.suspicious[LENGTH].append((response.id, what))
        if len(response.sentences) > MANY:
            self.suspicious[COUNT].append((response.id, f"{len(response.sentences):,} sentences"))
        labels = [label for label in response.sentence_labels if label is not None]
        rule = response.extra.get("aggregation")
        if response.label is None or len(labels) < len(response.sentences) or rule not in ("min", "max", "avg", "mean"):
            return
        implied = {"min": min(labels), "max": max(labels)}.get(str(rule), sum(labels) / len(labels))
        if abs(implied - response.label) > 0.01:
            what = f"labelled {response.label:g}, but the {rule} of its sentences is {implied:g}"
            self.suspicious[CONTRADICTION].append((response.id, what))

    def numbers(self) -> dict[str, Any]:
        """Return the counts by name."""
        counts = self.sentences or [0]
        return {
            "responses": len(self.sentences),
            "labelled": sum(self.labels.values()),
            "preferences": self.report.preferences,
            "sentences": sum(counts),
            "sentences labelled": self.sentence_labels,
            "sentences per response, mean": float(statistics.fmean(counts)),
            "sentences per response, median": float(statistics.median(counts)),
            "sentences per response, most": max(counts),
            "with a query": self.with_query,
            "with a context": self.with_context,
            "queries or groups": len(self.groups),
            "rejected": self.report.rejected,
        }

    def facts(self) -> dict[str, Any]:
        """Return everything as plain values."""
        suspicious = {kind: [{"id": id, "what": what} for id, what in rows] for kind, rows in self.suspicious.items()}
        return {
            "source": self.source,
            "reader": self.report.reader,
            "guessed": self.report.guessed,
            **self.numbers(),
            "labels": dict(sorted(self.labels.items())),
            "aspects": {aspect: dict(sorted(counts.items())) for aspect, counts in sorted(self.aspects.items())},
            "suspicious": suspicious,
        }


def summarise(source: str, reading: ReadOptions, annotator: str | None = None) -> DataSummary:
    """Read a file and count what is in it; of one text each of its annotators may have a rating."""
    from fractal.readers import ReadReport

    report = ReadReport()
    summary = DataSummary(source, report, annotator)
    for record in reading.records(source, report):
        summary.add(record)
    return summary


def leaks(summaries: Sequence[DataSummary]) -> list[dict[str, Any]]:
    """Return what two files share: responses, and queries or groups."""
    shared_rows = []
    for first, second in combinations(summaries, 2):
        shared: tuple[tuple[str, list[str]], ...] = (
            ("the same response", [first.texts[key][0] for key in first.texts.keys() & second.texts.keys()]),
            ("the same query or group", [first.groups[key] for key in first.groups.keys() & second.groups.keys()]),
        )
        shared_rows += [
            {"first": first.source, "second": second.source, "what": what, "count": len(both), "example": min(both)}
            for what, both in shared
            if both
        ]
    return shared_rows


def _rounded(label: float) -> str:
    return f"{label:.2f}".rstrip("0").rstrip(".") if label not in (0.0, 1.0) else f"{label:g}"
