"""Checks of the data alone: shortcuts, contradictions and leaks, without one vector and without torch."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Hashable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fractal.evaluation.covariates import Covariate, explained
from fractal.evaluation.findings import Finding, Verdict
from fractal.evaluation.intervals import wilson_interval
from fractal.evaluation.outcomes import CONFIDENCE, Area, Outcome, cross_validated
from fractal.evaluation.slices import field_names
from fractal.records import Response
from fractal.records.groups import Grouping, group_responses, text_key

MIN_CASES = 40  # rated responses or pairs; below, nothing can be said
SHORTCUT = 0.6  # the area from which length and count are worth a word
STRONG_SHORTCUT = 0.8
MAX_SENTENCES = 10_000  # whose place is looked at
AUTHORS = {  # last parts of the names of fields that say who wrote or rated a response
    *("author", "model", "model_name", "system", "generator", "agent", "writer"),
    *("annotator", "rater", "worker", "annotator_id", "rater_id", "worker_id"),
}
PLAIN_WORDS = 4  # shorter sentences ("I agree.") repeat for no reason
CONTRADICTED = 0.02  # share of duplicates at odds that is no slip of the pen
LEAKED = 0.01
APART = 0.5  # labels this far apart contradict each other


def data_checks(
    responses: Sequence[Response],
    pairs: NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
    grouping: Grouping | None = None,
    controlled: Sequence[str] = (),
) -> tuple[Finding, ...]:
    """Check what needs no model: labels given away by length, author or position, contradicted, or leaked by groups."""
    if not responses:
        return ()
    grouping = grouping or group_responses(responses, pairs)
    *length, contradicted = label_checks(responses, pairs, seed=seed, grouping=grouping)
    author = _author_shortcut(responses, Outcome.of(responses, pairs, seed, grouping.groups), seed, controlled)
    position = _position_shortcut(responses, seed)
    leaks = _leakage(responses, grouping.groups)
    findings = [
        *length,
        author,
        position,
        contradicted,
        _contradicted_sentences(responses),
        leaks,
        _other_groups(grouping),
    ]
    return tuple(finding for finding in findings if finding is not None)


def label_checks(
    responses: Sequence[Response],
    pairs: NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
    grouping: Grouping | None = None,
) -> tuple[Finding, ...]:
    """Check the labels of responses alone: given away by length, where enough are known, or contradicted."""
    outcome = Outcome.of(responses, pairs, seed, None if grouping is None else grouping.groups)
    enough = len(outcome) >= MIN_CASES and outcome.differs
    length = (_length_shortcut(responses, outcome, seed),) if enough else ()
    return (*length, _contradicted_responses(responses))


def _length_shortcut(responses: Sequence[Response], outcome: Outcome, seed: int) -> Finding:
    sizes = np.array([(len(r.sentences), len(r.text)) for r in responses], dtype=np.float64)
    counts, length = sizes[:, 0].copy(), np.log1p(sizes[:, 1].copy())
    surface = np.column_stack([length, np.log(counts), counts, 1 / counts, length - np.log(counts)])
    area = outcome.area(cross_validated(outcome.of_values(surface), outcome, seed), seed)
    return _shortcut("length shortcut", "Length and number of sentences", _whose(outcome), area)


def _whose(outcome: Outcome) -> str:
    return "preferences" if len(outcome.second) else "the labels of responses"


def _author_shortcut(
    responses: Sequence[Response], outcome: Outcome, seed: int, controlled: Sequence[str]
) -> Finding | None:
    """Say whether who wrote or rated a response alone tells its label, where it carries a field that looks like it."""
    if len(outcome) < MIN_CASES or not outcome.differs:
        return None
    names = dict.fromkeys(name for response in responses for name in field_names(response.extra))
    likely = [name for name in names if name.rpartition(".")[2].lower() in AUTHORS]
    covariates = [covariate for name in likely if (covariate := Covariate.of(responses, name)).differs]
    if not covariates:
        return None
    areas = {covariate.name: explained(covariate.columns, outcome, seed)[0] for covariate in covariates}
    name = max(areas, key=lambda name: areas[name].value)
    whose = _whose(outcome)
    area = areas[name]
    finding = _shortcut("author shortcut", f"The values of `{name}`", whose, area)
    if finding.verdict == "ok":
        return finding
    shown = f"The values of `{name}` alone explain {whose} with AUC {area.value:.2f} [{area.low:.2f}, {area.high:.2f}]"
    if name in controlled:
        sentence = f"{shown}; they are controlled, so sentence scores need not explain it."
        return dataclasses.replace(finding, verdict="ok", sentence=sentence)
    sentence = f"{shown}: sentence scores may learn who writes like this. Take it out: `--control {name}`."
    return dataclasses.replace(finding, sentence=sentence, advice=name)


def _position_shortcut(responses: Sequence[Response], seed: int) -> Finding | None:
    """Say whether the place of a sentence alone tells its label, where sentences have labels."""
    rows: list[tuple[float, ...]] = []
    truth: list[float] = []
    groups: list[int] = []
    for number, response in enumerate(responses):
        if len(truth) >= MAX_SENTENCES:
            break
        for place, sentence in enumerate(response.sentences):
            if sentence.label is not None:
                last = len(response.sentences) - 1
                rows.append((place, place / max(last, 1), place == 0, place == last, last))
                truth.append(sentence.label)
                groups.append(number)
    outcome = Outcome(np.array(truth), np.arange(len(truth)), np.empty(0, np.int64), np.array(groups, dtype=np.int64))
    if len(outcome) < MIN_CASES or not outcome.differs:
        return None
    area = outcome.area(cross_validated(np.array(rows, dtype=np.float64), outcome, seed), seed)
    return _shortcut("position shortcut", "The place in the response", "the labels of sentences", area)


def _shortcut(name: str, what: str, whose: str, area: Area) -> Finding:
    shown = f"AUC {area.value:.2f} [{area.low:.2f}, {area.high:.2f}]"
    if not area.low > 0.5 or area.value < SHORTCUT:
        return Finding(name, "ok", f"{what} alone: {shown} on {whose}, no shortcut.", area.value, area.low, area.high)
    verdict: Verdict = "fail" if area.low >= STRONG_SHORTCUT else "warn"
    sentence = (
        f"{what} alone explain {whose} with {shown}: a model may learn them instead of the text. "
        "Compare with the baseline `shortcut`, and judge inside responses."
    )
    return Finding(name, verdict, sentence, area.value, area.low, area.high)


def _asked(response: Response) -> bytes:
    return b"|".join(map(text_key, (response.query, *response.context)))


def _contradicted_responses(responses: Sequence[Response]) -> Finding:
    keyed = ((_asked(r) + text_key(r.text), r.label) for r in responses if r.label is not None)
    return _contradiction("contradicted responses", "responses", "flip rate of labels", keyed)


def _contradicted_sentences(responses: Sequence[Response]) -> Finding:
    """The same sentence under the same query and context, so that only its neighbours differ."""
    return _contradiction(
        "contradicted sentences", "sentences", "flip rate of sentence labels", _labelled_sentences(responses)
    )


def _labelled_sentences(responses: Sequence[Response]) -> Iterator[tuple[bytes, float]]:
    for r in responses:
        labelled = [(sentence.text, sentence.label) for sentence in r.sentences if sentence.label is not None]
        asked = _asked(r) if labelled else b""
        for text, label in labelled:
            if text.count(" ") >= PLAIN_WORDS:
                yield asked + text_key(text), label


def _contradiction(name: str, things: str, rate: str, labels: Iterable[tuple[bytes, float]]) -> Finding:
    """Among pairs of duplicates, labels of one key, a share d is at odds; with flips at rate p, d = 2p(1 − p)."""
    latest: dict[bytes, float] = {}
    twins: list[tuple[float, float]] = []
    for key, label in labels:
        key = hashlib.blake2b(key, digest_size=16).digest()
        if key in latest:
            twins.append((latest[key], label))
        latest[key] = label
    if not twins:
        return Finding(name, "ok", f"No two rated {things} are the same.", 0.0)
    at_odds = sum(abs(a - b) >= APART for a, b in twins)
    low, high = wilson_interval(at_odds, len(twins), CONFIDENCE)
    flips, least, most = (_flip_rate(share) for share in (at_odds / len(twins), low, high))
    verdict: Verdict = "ok" if at_odds / len(twins) < CONTRADICTED else "fail" if least > 0.1 else "warn"
    sentence = f"{at_odds} of {len(twins)} pairs of identical {things} have opposite labels"
    sentence += f": estimated {rate} {flips:.0%} [{least:.0%}, {most:.0%}]. Rate them again." if at_odds else "."
    return Finding(name, verdict, sentence, flips, least, most)


def _flip_rate(disagreement: float) -> float:
    return float((1 - np.sqrt(max(0.0, 1 - 2 * disagreement))) / 2)


def _other_groups(grouping: Grouping) -> Finding | None:
    """Say where responses could not be grouped by all that they share, or nothing could be held out at all."""
    if grouping.count < 2:
        sentence = "All responses are one group: nothing can be held out, so no choice and no figure is tested."
        return Finding("groups", "fail", sentence, float(grouping.count))
    return Finding("groups", "warn", grouping.note, float(grouping.count)) if grouping.note else None


def _leakage(responses: Sequence[Response], group_of: Sequence[str]) -> Finding:
    """The same text, or the same context, in two groups falls on both sides of a split by group."""
    first: dict[Hashable, str] = {}  # the group in which a key was met first
    several: set[Hashable] = set()  # keys that were met in another one too
    for group, response in zip(group_of, responses, strict=True):
        several |= {key for key in _leaking_keys(response) if first.setdefault(key, group) != group}
    leaking = sum(not several.isdisjoint(_leaking_keys(response)) for response in responses) if several else 0
    share = leaking / max(len(responses), 1)
    low, high = wilson_interval(leaking, max(len(responses), 1), CONFIDENCE)
    if share < LEAKED:
        return Finding("leaking groups", "ok", f"{leaking} responses share text with another group.", share, low, high)
    sentence = (
        f"{leaking} of {len(responses)} responses ({share:.0%}) have the same text or context as one of another group: "
        "held-out labels are not held out. Give such responses the same group."
    )
    return Finding("leaking groups", "fail" if low > 0.1 else "warn", sentence, share, low, high)


def _leaking_keys(response: Response) -> list[Hashable]:
    context = tuple(map(text_key, response.context))
    return [text_key(response.text), *([context] if any(context) else [])]
