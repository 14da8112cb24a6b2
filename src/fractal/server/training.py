"""A train job: fit, judge on held-out labels beside the scorer before, score every response, enter it all at once."""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from fractal.errors import BadData
from fractal.records import Preference, Response, ScoredResponse
from fractal.server.corpus import Moment, load_pairs, load_responses
from fractal.server.database import Database
from fractal.server.store import Store
from fractal.server.suggesting import choose
from fractal.server.tables import ScorerVersion, Scores

if TYPE_CHECKING:
    from fractal.encoders.block import EncodedBlock
    from fractal.mil.training.callbacks import Epoch
    from fractal.scorers.sentence import SentenceScorer
    from fractal.scorers.views import Views

__all__ = ["RULES", "Trained", "enter", "last_afresh", "plain", "plain_facts", "train"]

RULES = {  # how a response's label comes from its sentences, as the page words it
    "auto": "Let the held-out ratings decide",
    "product": "One bad sentence spoils it",
    "noisy_or": "One good sentence is enough",
    "mean": "All sentences count alike",
}
ENCODERS = {
    "minilm": "MiniLM: a small network that knows meaning (the default)",
    "hashing": "Words alone: quicker, knows no synonyms",
    "static": "Static vectors: quick, knows synonyms, blind to word order",
}
FLAGGED = 0.5
MOST_GOING_ON = 4  # trainings that go on from one that began afresh; the next one begins afresh again
BOOTSTRAP = 200


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a fit gave: everything that is entered in the database when the job ends."""

    folder_hash: str
    facts: dict[str, Any]
    evaluation: dict[str, Any]
    scores: list[dict[str, Any]]


def train(
    database: Database,
    store: Store,
    job: int,
    project: int,
    payload: Mapping[str, Any],
    tell: Callable[[dict[str, Any]], None],
) -> Trained:
    """Fit on what the job's moment holds. The same job gives the same scorer, however often it was killed."""
    from fractal.scorers.sentence import SentenceScorer
    from fractal.scorers.warm import went_on

    moment = Moment.of(payload["moment"])
    with database.read() as session:
        by_row = load_responses(session, moment)
        pairs = load_pairs(session, moment, by_row)
        before = _before(session, project, job)
        earlier = _numbered(session, project, payload.get("earlier"))
    if not by_row:
        raise BadData("this project holds no responses yet: import some first")
    paired = {id(response) for pair in pairs for response in (pair.better, pair.worse)}
    records: list[Response | Preference] = [*(r for r in by_row.values() if id(r) not in paired), *pairs]
    tell({"stage": "Encoding the sentences", "share": 0.0})
    scorer = SentenceScorer(
        aggregation=payload.get("rule", "auto"),
        encoder=payload.get("encoder", "minilm"),
        cache=str(store.vectors),
    )
    if payload.get("epochs"):
        scorer.set_params(plan__epochs=int(payload["epochs"]))
    corpus, config = scorer.prepare(records)
    block = scorer.embed_for_training(corpus.responses, _encoding(tell), config)
    config = dataclasses.replace(config, checkpoints=store.work(job) / "checkpoints")
    scorer.fit_block(block, corpus, config, [_listener(tell)], _loaded(earlier, store) if earlier else None)
    tell({"stage": "Scoring every response", "share": 0.9})
    rows, views = _encoded_rows(block, by_row)
    posterior, unseen, plain_scores = views.labelled(scorer), views.unseen(scorer), views.plain(scorer)
    folder = store.work(job) / "scorer"
    shutil.rmtree(folder, ignore_errors=True)
    scorer.save_pretrained(folder)
    evaluation = _judged(scorer, views, unseen, store, before)
    evaluation["corrections"] = sum(s.label is not None for r in by_row.values() for s in r.sentences)
    facts = {**_facts(scorer), "queue": choose(scorer, rows, plain_scores, posterior)}
    facts["began_at"] = earlier.number if earlier and went_on(scorer.choices_) else None
    return Trained(store.put_scorer(folder), facts, evaluation, _rows(rows, posterior, unseen, plain_scores))


def _before(session: Session, project: int, job: int) -> ScorerVersion | None:
    query = select(ScorerVersion).where(ScorerVersion.project_id == project, ScorerVersion.job_id != job)
    return session.scalars(query.order_by(ScorerVersion.number.desc()).limit(1)).first()


def _numbered(session: Session, project: int, number: int | None) -> ScorerVersion | None:
    query = select(ScorerVersion).where(ScorerVersion.project_id == project, ScorerVersion.number == number)
    return session.scalars(query).first()


def _loaded(version: ScorerVersion, store: Store) -> SentenceScorer | None:
    """Read a scorer to go on from: of one label, as heads of several aspects are trained afresh."""
    from fractal.scorers.aspects import load_scorer
    from fractal.scorers.sentence import SentenceScorer

    scorer = load_scorer(store.scorer(version.folder_hash), cache=str(store.vectors))
    return scorer if isinstance(scorer, SentenceScorer) else None


def last_afresh(newest: ScorerVersion | None) -> int | None:
    """Return the number of the last scorer that was trained afresh, none where it is time for another one.

    Training goes on from that one each time: epochs chosen by the same held-out labels again and again would suit them.
    """
    number = (newest.facts.get("began_at") or newest.number) if newest else None
    return number if newest and number and newest.number - number < MOST_GOING_ON else None


def _encoding(tell: Callable[[dict[str, Any]], None]) -> Callable[[int, int], None]:
    """Tell how many responses are encoded; what a killed job has encoded is in the cache for the next."""

    def report(done: int, total: int) -> None:
        tell({"stage": "Encoding the sentences", "done": done, "total": total, "share": 0.3 * done / max(total, 1)})

    return report


def _listener(tell: Callable[[dict[str, Any]], None]) -> Callable[[Epoch], None]:
    def listen(epoch: Epoch) -> None:
        data = {
            "stage": f"Learning: {epoch.stage}" if epoch.stage else "Learning",
            "epoch": epoch.epoch,
            "epochs": epoch.epochs,
            "seconds_left": round(epoch.seconds_left, 1),
            "held_out": epoch.held_out,
            "auc": epoch.auc,
            "share": 0.3 + 0.6 * epoch.epoch / max(epoch.epochs, 1),
        }
        tell(plain_facts(data))

    return listen


def _encoded_rows(block: EncodedBlock, by_row: Mapping[int, Response]) -> tuple[list[int], Views]:
    """Return the rows in the order in which the block has their responses, and what scores them as they are encoded.

    Rows that are compared and say the same stand in the block once.
    """
    from fractal.ensemble.experts import Predictor
    from fractal.scorers.views import Views

    by_identity = {id(response): place for place, response in enumerate(block.responses)}
    by_words = {_words(response): place for place, response in enumerate(block.responses)}
    places = {row: by_identity.get(id(one), by_words[_words(one)]) for row, one in by_row.items()}
    rows = sorted(by_row, key=lambda row: places[row])
    encoded = block.take([places[row] for row in rows])
    labelled = dataclasses.replace(encoded, responses=tuple(by_row[row] for row in rows))
    return rows, Views(labelled, Predictor(encoded))


def _words(response: Response) -> tuple[str, str, str]:
    return response.id, response.query, response.text


def _rows(
    ids: Sequence[int],
    posterior: Sequence[ScoredResponse],
    unseen: Sequence[ScoredResponse],
    plain_scores: Sequence[ScoredResponse],
) -> list[dict[str, Any]]:
    def rounded(values: Sequence[float]) -> list[float]:
        return [round(value, 5) for value in values]

    return [
        {
            "response_id": row,
            "response_score": round(held.response_score, 5),
            "lowest": round(min(item.sentence_scores), 5),
            "flagged": sum(score < FLAGGED for score in item.sentence_scores),
            "sentences": rounded(item.sentence_scores),
            "unseen": rounded(held.sentence_scores),
            "spread": rounded(whole.sentence_spread or [0.0] * len(item.sentence_scores)),
        }
        for row, item, held, whole in zip(ids, posterior, unseen, plain_scores, strict=True)
    ]


def _judged(
    scorer: SentenceScorer,
    views: Views,
    unseen: Sequence[ScoredResponse],
    store: Store,
    before: ScorerVersion | None,
) -> dict[str, Any]:
    """Judge on held-out labels: every response by heads that learned neither its label nor its corrections.

    The scorer before is judged on the same labels in the same way: where it learned from a response, by those of its
    heads that held it out.
    """
    from fractal.scorers.aspects import AspectScorer, load_scorer

    responses = views.block.responses
    evaluation: dict[str, Any] = {"after": _measures(responses, unseen)}
    if before is not None:
        old = load_scorer(store.scorer(before.folder_hash), cache=str(store.vectors))
        if isinstance(old, AspectScorer) or not _can_score(old, scorer, views):
            earlier: Sequence[ScoredResponse] = old.disaggregate([response.without_labels() for response in responses])
        else:
            earlier = views.unseen(old)
        evaluation |= {"before": _measures(responses, earlier), "before_number": before.number}
    return plain_facts(evaluation)


def _can_score(old: SentenceScorer, scorer: SentenceScorer, views: Views) -> bool:
    """Whether an earlier scorer reads what was encoded for the new one."""
    same = old.encoder_fingerprint_ == scorer.encoder_fingerprint_
    return same and (views.block.has_vectors or not old.ensemble_.reads_vectors)


def _measures(responses: Sequence[Response], scored: Sequence[ScoredResponse]) -> dict[str, Any]:
    from fractal.evaluation import evaluate

    numbered = [
        dataclasses.replace(item, response=dataclasses.replace(response, id=str(number), label=_half(response.label)))
        for number, (item, response) in enumerate(zip(scored, responses, strict=True))
    ]
    measures: dict[str, Any] = {}
    for name, metric in (("responses", "response_roc_auc"), ("sentences", "roc_auc")):
        labels = _labels(numbered, name)
        if len({label > FLAGGED for label in labels}) == 2:
            row = evaluate(numbered, metric, bootstrap=BOOTSTRAP).rows[0]
            measures[name] = {"auc": row.value, "low": row.low, "high": row.high, "count": len(labels)}
    return measures


def _half(label: float | None) -> float | None:
    return None if label is None else float(label > FLAGGED)


def _labels(scored: Sequence[ScoredResponse], level: str) -> list[float]:
    if level == "responses":
        return [item.response.label for item in scored if item.response.label is not None]
    return [label for item in scored for label in item.response.sentence_labels if label is not None]


def _facts(scorer: SentenceScorer) -> dict[str, Any]:
    return plain_facts(
        {
            "aggregation": scorer.aggregation_,
            "encoder": str(scorer.encoder),
            "splitter": scorer.splitter,
            "data": dict(scorer.data_),
            "metrics": dict(scorer.metrics_),
            "choices": [dataclasses.asdict(choice) for choice in scorer.choices_],
            "checks": [finding.to_dict() for finding in scorer.checks_],
        }
    )


def enter(session: Session, project: int, job: int, trained: Trained) -> dict[str, Any]:
    """Enter a trained scorer and all its scores, in the session that ends its job."""
    there = session.scalars(select(ScorerVersion).where(ScorerVersion.job_id == job)).first()
    if there is not None:
        return {"scorer": there.number}
    last = session.scalar(select(func.max(ScorerVersion.number)).where(ScorerVersion.project_id == project))
    version = ScorerVersion(
        project_id=project,
        number=(last or 0) + 1,
        job_id=job,
        folder_hash=trained.folder_hash,
        facts=trained.facts,
        evaluation=trained.evaluation,
        created_at=time.time(),
    )
    session.add(version)
    session.flush()
    session.execute(insert(Scores), [{"scorer_id": version.id, **row} for row in trained.scores])
    return {"scorer": version.number}


def plain_facts(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping as JSON has it."""
    return {str(name): plain(part) for name, part in value.items()}


def plain(value: Any) -> Any:
    """Return the same as JSON has it: what is no finite number is null."""
    if isinstance(value, Mapping):
        return plain_facts(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value
