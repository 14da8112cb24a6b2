"""Scored sentences as pre-annotations of Label Studio, for people to confirm or correct."""

from __future__ import annotations

import dataclasses
from typing import Any

from fractal.records import ScoredResponse
from fractal.writers.base import WRITERS
from fractal.writers.spans import Annotations, labelled_spans

# The labelling interface that the tasks fit: paste it under Settings → Labeling Interface.
LABEL_CONFIG = """<View>
  <Header value="$query"/>
  <Labels name="sentences" toName="response">
    <Label value="bad" background="#d75f00"/>
    <Label value="good" background="#2f80c0"/>
  </Labels>
  <Text name="response" value="$response" granularity="sentence"/>
  <Header value="Context"/>
  <Text name="context" value="$context"/>
</View>
"""


def label_studio_task(
    scored: ScoredResponse, threshold: float = 0.5, version: str = "fractal", only_bad: bool = False
) -> dict[str, Any]:
    """Return a task: the texts, and a prediction with one region a sentence.

    The prediction's score is the response score, so that the data manager can sort by it; a region's score is how sure
    its label is. Places count characters, as Label Studio does.
    """
    response = scored.response
    regions = [
        {
            "id": f"s{span.number}",
            "from_name": "sentences",
            "to_name": "response",
            "type": "labels",
            "score": span.sureness,
            "value": {"start": span.start, "end": span.end, "text": span.text, "labels": [span.label]},
        }
        for span in labelled_spans(scored, threshold, only_bad)
    ]
    return {
        "data": {
            "id": response.id,
            "query": response.query,
            "response": response.text,
            "context": "\n\n".join(response.context),
            "response_score": scored.response_score,
            "lowest_sentence_score": min(scored.sentence_scores),
            **({"aspect": scored.aspect} if scored.aspect else {}),
        },
        "predictions": [{"model_version": version, "score": scored.response_score, "result": regions}],
    }


@WRITERS.register("label_studio")
@dataclasses.dataclass(frozen=True)
class LabelStudio(Annotations):
    """Label Studio: an array of tasks with a predicted region, bad or good, for each sentence."""

    version: str = "fractal"

    def task(self, scored: ScoredResponse) -> dict[str, Any]:
        return label_studio_task(scored, self.threshold, self.version, self.only_bad)
