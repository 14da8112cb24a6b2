"""What the API takes and gives, with examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

__all__ = [
    "Accepted",
    "CorrectionsIn",
    "CorrectionsOut",
    "DatasetIn",
    "DatasetOut",
    "Error",
    "FeedbackIn",
    "FeedbackOut",
    "JobOut",
    "LabelIn",
    "LabelOut",
    "PredictIn",
    "Prediction",
    "ResponseIn",
    "ResponseOut",
    "ScoreIn",
    "ScoreOut",
    "ScorerOut",
    "TrainIn",
]


def _writable(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("a NUL byte or half a character is no text")
    return text


Plain = Annotated[str, AfterValidator(_writable)]
Text = Annotated[Plain, StringConstraints(max_length=200_000)]
Name = Annotated[Plain, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
RowId = Annotated[int, Field(ge=1, le=2**62)]


class Strict(BaseModel):
    """A body without fields that nobody reads."""

    model_config = ConfigDict(extra="forbid")


class Error(BaseModel):
    """What was wrong, and what would work."""

    detail: str
    errors: list[dict[str, Any]] = []


class ResponseIn(Strict):
    """A response: as text, which is cut as the scorer's training data were, or as sentences."""

    id: Plain = Field(default="", max_length=500, examples=["answer-1"])
    query: Text = Field(default="", examples=["How many people live in France?"])
    context: list[Text] = Field(default=[], max_length=200, examples=[["France has 68 million inhabitants."]])
    text: Text | None = Field(default=None, examples=["Paris is in France. It has 90 million people."])
    sentences: list[Text] | None = Field(default=None, max_length=2_000, examples=[None])
    label: Share | None = Field(default=None, examples=[None], description="read by disaggregate alone")


class ScoreIn(Strict):
    """Responses to score, or to disaggregate: there their labels count."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"responses": [{"id": "answer-1", "text": "Paris is in France. It has 90 million people."}]}]
        },
    )
    responses: list[ResponseIn] = Field(min_length=1, max_length=256)
    scorer: int | None = Field(default=None, ge=1, le=2**31, description="its number; the newest if it is left out")


class SentenceOut(BaseModel):
    """A sentence with its score."""

    text: str
    start: int
    end: int
    score: float
    spread: float | None = None
    label: float | None = Field(
        default=None, description="of disaggregate: the hard label that agrees with the response's"
    )


class ScoredOut(BaseModel):
    """A scored response."""

    id: str
    response_score: float
    sentences: list[SentenceOut]


class ScoreOut(BaseModel):
    """What was scored, and by which scorer."""

    scorer: int
    results: list[ScoredOut]


class PredictIn(BaseModel):
    """What clients of text-embeddings-inference send: a text, a (query, response) pair, or a list of either."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": "Paris is in France."}]})
    inputs: Text | list[Text | Annotated[list[Text], Field(min_length=1, max_length=2)]]


class Prediction(BaseModel):
    """A label and its score."""

    score: float
    label: Literal["good", "bad"]


class LabelIn(Strict):
    """What somebody says of a whole response."""

    response: RowId = Field(examples=[1], description="the number that `responses` lists")
    label: Share | None = Field(examples=[0.0], description="from 0, bad, to 1, good; null takes it back")
    note: Plain = Field(default="", max_length=4_000)


class LabelOut(BaseModel):
    """A change of a label, as it was entered."""

    id: int
    response: int
    old: float | None
    new: float | None
    author: str


class CorrectionIn(Strict):
    """What somebody says of a sentence."""

    response: RowId = Field(examples=[1])
    place: int = Field(ge=0, le=2**31, examples=[0], description="from 0")
    verdict: Literal["good", "bad", "skip", "none"] = Field(examples=["bad"], description="none takes it back")
    note: Plain = Field(default="", max_length=4_000)


class CorrectionsIn(Strict):
    """Some corrections at once: all are entered, or none."""

    corrections: list[CorrectionIn] = Field(min_length=1, max_length=500)


class CorrectionOut(BaseModel):
    """A correction, as it was entered."""

    id: int
    response: int
    place: int
    verdict: str
    old: float | None
    new: float | None
    author: str


class CorrectionsOut(BaseModel):
    """What was entered."""

    corrections: list[CorrectionOut]
    since_training: int = Field(description="corrections that the newest scorer has not learned from")


class FeedbackIn(Strict):
    """A response of a chat product, and what its reader thought of it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"query": "Where is Paris?", "response": "Paris is in France.", "thumb": "up", "fields": {}}]
        },
    )
    id: Plain = Field(default="", max_length=500)
    query: Text = ""
    context: list[Text] = Field(default=[], max_length=200)
    response: Annotated[Plain, StringConstraints(min_length=1, max_length=200_000)]
    thumb: Literal["up", "down"] | None = None
    label: Share | None = None
    fields: dict[Plain, Plain | int | float | bool | None] = Field(
        default={}, max_length=50, description="model, branch, …"
    )


class FeedbackOut(BaseModel):
    """Where the feedback landed."""

    response: int
    dataset: str
    label: float | None


class TrainIn(Strict):
    """How to train; everything has a sensible value."""

    rule: Literal["auto", "product", "noisy_or", "mean"] = "auto"
    encoder: Literal["minilm", "hashing", "static"] = "minilm"
    epochs: int | None = Field(default=None, ge=1, le=500)
    go_on: bool = Field(
        default=False, description="from the heads of the last scorer that was trained afresh, where they fit: quicker"
    )


class JobOut(BaseModel):
    """A job: what it is, how far it is, what came of it."""

    id: int
    kind: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    attempts: int
    result: dict[str, Any] | None
    error: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    progress: dict[str, Any] | None = None


class Accepted(BaseModel):
    """Work that a worker will do."""

    job: int
    upload: int | None = None


class DatasetIn(Strict):
    """How an uploaded file is read."""

    upload: RowId
    name: Name = Field(examples=["ratings"])
    columns: dict[Plain, Plain] = Field(
        default={}, max_length=50, examples=[{"response": "antwort", "label": "urteil"}]
    )
    words: dict[Plain, Share] = Field(default={}, max_length=200, examples=[{"gut": 1.0, "schlecht": 0.0}])
    scale: str = Field(
        default="", max_length=40, examples=["1..5"], pattern=r"^$|^\s*-?\d+(\.\d+)?\.\.-?\d+(\.\d+)?\s*$"
    )
    splitter: Literal["sentences", "steps", "lines"] = "sentences"


class DatasetOut(BaseModel):
    """A version of a data set."""

    id: int
    name: str
    version: int
    state: str
    content_hash: str
    created_at: float
    created_by: str
    report: dict[str, Any]


class ScorerOut(BaseModel):
    """A trained scorer."""

    number: int
    folder_hash: str
    facts: dict[str, Any]
    evaluation: dict[str, Any]
    created_at: float


class ResponseOut(BaseModel):
    """A stored response with what is known of it."""

    response: int
    id: str
    query: str
    context: list[str]
    pieces: list[str] = Field(description="gap, sentence, gap, sentence, …, gap")
    label: float | None
    scores: list[float]
    spread: list[float]
    verdicts: list[dict[str, str]] = Field(description="of each sentence, what each author said last")
    response_score: float | None
    extra: dict[str, Any]
