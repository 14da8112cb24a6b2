"""One colour scale for scores, orange for bad over grey to blue for good, which colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["DARK", "INK", "LIGHT", "MIDDLE", "gap_step", "step", "stylesheet"]

MIDDLE = 4  # the step at the threshold; fewer are flagged, more are not
WIDTH = 0.1  # of one step, where scores are held against a rival's

# Backgrounds of a sentence by step, under the ink of the same scheme. The orange side is the stronger one: what is bad
# is what a reader looks for.
LIGHT = ("#f3a25c", "#f6bb87", "#f9d3b1", "#fbe6d4", "#efefec", "#e2ecf5", "#d0e2f2", "#b9d5ee", "#9fc6ea")
DARK = ("#8f4508", "#71390d", "#573014", "#432b1a", "#2c2e32", "#243140", "#20384f", "#1d4062", "#1a4a78")
INK = {"light": "#16181c", "dark": "#eeece8"}


def step(score: float, threshold: float = 0.5, finds: bool = False) -> int:
    """Return the place of a score on the scale 0 … 8; below the threshold is below the middle.

    Where scores find something (`finds`: they were learned under a maximum), what is not found is no fault: it stands
    in the middle, and what is found above it.
    """
    if finds:
        return MIDDLE if score < threshold else max(MIDDLE + 1, step(score, threshold))
    if score < threshold:
        return min(MIDDLE - 1, round(MIDDLE * score / threshold))
    above = (score - threshold) / (1 - threshold) if threshold < 1 else 1.0
    return MIDDLE + min(MIDDLE, round(MIDDLE * above))


def gap_step(gap: float, margin: float) -> int:
    """Return the place of a score that lies so far above (or below) its rival's: within the margin in the middle."""
    if abs(gap) < margin:
        return MIDDLE
    size = 1 + min(MIDDLE - 1, int((abs(gap) - margin) / WIDTH + 1e-9))
    return MIDDLE + size if gap > 0 else MIDDLE - size


def stylesheet() -> str:
    """The colours as custom properties, light and dark."""

    def properties(colours: Sequence[str], ink: str) -> str:
        return f"--ink:{ink};" + "".join(f"--s{place}:{colour};" for place, colour in enumerate(colours))

    light, dark = properties(LIGHT, INK["light"]), properties(DARK, INK["dark"])
    steps = "".join(f".s{place}{{--tint:var(--s{place})}}" for place in range(len(LIGHT)))
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{steps}\n"
