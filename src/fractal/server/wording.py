"""What a scorer is worth and what its colours mean, in words for people who do not train models."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from fractal.reports import palette

__all__ = ["Colours", "colours_of", "verdict"]

BEST_OF_ALL = ("noisy_or", "max", "softmax")  # rules by which one good sentence is enough
EDGE = 0.5
GRADES = ((0.9, "very good"), (0.8, "good"), (0.7, "usable with care"), (0.6, "weak"), (0.0, "not good enough"))
WIDE = 0.1  # an interval of this width says little
ADVICE = {
    "very good": "It tells good responses from bad ones almost always.",
    "good": "It tells good responses from bad ones in most cases: trust it to sort and to point.",
    "usable with care": "It points in the right direction: let people look at what it flags.",
    "weak": "It is right more often than not, and no more: use it to choose what people read first.",
    "not good enough": "It hardly tells good responses from bad ones: do not rely on its colours.",
}


@dataclasses.dataclass(frozen=True)
class Colours:
    """What the colours of sentences mean for one scorer."""

    threshold: float = EDGE
    marks_best: bool = False  # mark what is good, where one good sentence is enough
    low: str = "bad"
    high: str = "good"

    def step(self, score: float) -> str:
        """Return the class of a score."""
        return f"s{palette.step(score, self.threshold)}"

    def of(self, score: float | None) -> str:
        """Return the classes of a sentence."""
        if score is None:
            return f"s{palette.MIDDLE}"
        marked = score >= self.threshold if self.marks_best else score < self.threshold
        return self.step(score) + (" found" if marked and self.marks_best else " flagged" if marked else "")


def colours_of(facts: dict[str, Any] | None, scores: Sequence[float] = ()) -> Colours:
    """Choose what colours mean: by the rule that was learned, and relative where only preferences were."""
    if not facts:
        return Colours()
    if facts["data"].get("preferences") and not facts["data"].get("labelled responses") and scores:
        middle = min(max(statistics.median(scores), 0.02), 0.98)
        return Colours(threshold=middle, low="worse than most", high="better than most")
    if str(facts["aggregation"]).partition("(")[0] in BEST_OF_ALL:
        return Colours(marks_best=True, low="not it", high="found")
    return Colours()


def verdict(facts: dict[str, Any], evaluation: dict[str, Any]) -> dict[str, Any]:
    """Say whether a scorer is good enough, what more ratings would bring, and what does not hold."""
    area = evaluation.get("after", {}).get("responses")
    if area is None:
        right = facts["metrics"].get("held-out preferences put right")
        if right is None:
            return {
                "headline": "not yet to be judged",
                "lines": ["There are too few ratings of both kinds to judge it."],
            }
        area = {"auc": right, "low": None, "high": None, "count": facts["data"].get("preferences", 0)}
    grade = next(word for least, word in GRADES if area["auc"] >= least)
    lines = [f"{ADVICE[grade]} Of two responses, one good and one bad, it puts {area['auc']:.0%} in the right order."]
    if area["low"] is not None:
        width = area["high"] - area["low"]
        lines.append(
            f"This rests on {area['count']:,} ratings: it lies between {area['low']:.2f} and {area['high']:.2f}. "
            + (
                "More ratings would first of all tell how good it is: four times as many halve this range."
                if width > WIDE
                else "More ratings would narrow this little; judged sentences teach more from here on."
            )
        )
    failing = [check["name"] for check in facts.get("checks", ()) if check["verdict"] == "fail"]
    if failing:
        lines.append(f"What the method rests on does not hold everywhere: {', '.join(failing)}. See below.")
    return {"headline": grade, "lines": lines}
