"""Small charts as inline SVG: colours come from the page's style, so that they follow light and dark."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from fractal.evaluation.calibration.decisions import ReliabilityBin
from fractal.reports.palette import gap_step, step
from fractal.reports.summary import Position
from fractal.reports.training import Curve

COLOURS, DASHES = 6, 4  # that the page's style has for lines


@dataclasses.dataclass(frozen=True)
class _Frame:
    """A drawing area with axes from 0 to 1 unless told otherwise."""

    width: int = 340
    height: int = 190
    left: int = 40
    right: int = 10
    top: int = 10
    bottom: int = 36
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / ((high - low) or 1.0) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return (
            self.height - self.bottom - (value - low) / ((high - low) or 1.0) * (self.height - self.top - self.bottom)
        )

    def axes(self, x_ticks: Mapping[float, str], y_ticks: Mapping[float, str], x_title: str) -> Markup:
        floor = self.height - self.bottom
        drawn = [_line(self.left, floor, self.width - self.right, floor, "axis")]
        drawn += [_line(self.left, self.y(at), self.width - self.right, self.y(at), "grid") for at in y_ticks]
        drawn += [_text(self.x(at), floor + 14, text, "middle") for at, text in x_ticks.items()]
        drawn += [_text(self.left - 6, self.y(at) + 4, text, "end") for at, text in y_ticks.items()]
        drawn.append(_text((self.left + self.width - self.right) / 2, self.height - 4, x_title, "middle", "title"))
        return Markup("").join(drawn)

    def svg(self, label: str, *parts: Markup, kind: str = "chart") -> Markup:
        box = f"0 0 {self.width} {self.height}"
        return _tag("svg", *parts, class_=kind, viewBox=box, role="img", aria_label=label)


SHARES = {0.0: "0", 0.25: ".25", 0.5: ".5", 0.75: ".75", 1.0: "1"}


def histogram_chart(counts: Sequence[int], threshold: float, finds: bool = False) -> Markup:
    """How many sentences have which score, in the colours of the sentences; a script may move the threshold."""
    width = 1 / len(counts)
    bars = [
        (f"{place * width:.2f}–{(place + 1) * width:.2f}", count, step((place + 0.5) * width, threshold, finds))
        for place, count in enumerate(counts)
    ]
    return _bar_chart(
        bars, "How many sentences have which score", SHARES, "sentence score", [threshold], "find" if finds else "flag"
    )


def gap_chart(counts: Sequence[int], margin: float, widest: float) -> Markup:
    """How many sentences lie how far from the mean of their rivals; what lies further than `widest` is at the ends."""
    width = 2 * widest / len(counts)
    bars = []
    for place, count in enumerate(counts):
        low = place * width - widest
        bars.append((f"{low:+.2f} … {low + width:+.2f}", count, gap_step(low + width / 2, margin)))
    ticks = {0.0: f"−{widest:g}", 0.25: f"−{widest / 2:g}", 0.5: "0", 0.75: f"+{widest / 2:g}", 1.0: f"+{widest:g}"}
    marks = [(sign * margin + widest) / (2 * widest) for sign in (-1, 1)]
    return _bar_chart(
        bars,
        "How far sentences lie from the mean of their rivals",
        ticks,
        "sentence score − rivals' mean",
        marks,
        "compare",
    )


def _bar_chart(
    bars: Sequence[tuple[str, int, int]],
    label: str,
    ticks: Mapping[float, str],
    title: str,
    marks: Sequence[float],
    aim: str,
) -> Markup:
    """Draw (what, count, step) side by side from 0 to 1, with dashed lines at the marks."""
    top = _rounded_up(max((count for _, count, _ in bars), default=0))
    frame = _Frame(y_range=(0.0, top))
    width = 1 / len(bars)
    drawn = [
        _tag(
            "rect",
            _tag("title", f"{what}: {count:,} sentences"),
            x=frame.x(place * width) + 0.75,
            y=frame.y(count),
            width=frame.x(width) - frame.x(0) - 1.5,
            height=frame.y(0) - frame.y(count),
            class_=f"bar s{colour}",
            data_at=f"{(place + 0.5) * width:.4f}",
        )
        for place, (what, count, colour) in enumerate(bars)
    ]
    lines = [_line(frame.x(mark), frame.top, frame.x(mark), frame.y(0), "threshold") for mark in marks]
    axes = frame.axes(ticks, {at: f"{at:,.0f}" for at in (0.0, top / 2, top)}, title)
    return frame.svg(label, axes, *drawn, *lines, kind=f"chart live {aim}")


def calibration_chart(bins: Sequence[ReliabilityBin], level: str) -> Markup:
    """Mean label against mean score; the nearer to the diagonal, the better; the larger the dot, the more there are."""
    frame = _Frame()
    most = max((each.count for each in bins), default=1)
    dots = [
        _tag(
            "circle",
            _tag("title", f"mean score {each.score:.2f}, mean label {each.label:.2f}, {each.count:,} {level}s"),
            cx=frame.x(each.score),
            cy=frame.y(each.label),
            r=3 + 6 * math.sqrt(each.count / most),
            class_="dot",
        )
        for each in bins
    ]
    path = _path([(frame.x(each.score), frame.y(each.label)) for each in bins], "curve")
    diagonal = _line(frame.x(0), frame.y(0), frame.x(1), frame.y(1), "threshold")
    axes = frame.axes(SHARES, SHARES, f"mean {level} score, against the mean label")
    return frame.svg(f"Calibration: mean label by mean {level} score", axes, diagonal, path, *dots)


def position_chart(places: Sequence[Position]) -> Markup:
    """Mean score by the sentence's place in its response."""
    last = max((each.place for each in places), default=1)
    frame = _Frame(x_range=(0.5, last + 0.5))
    points = [(frame.x(each.place), frame.y(each.score)) for each in places]
    dots = [
        _tag(
            "circle",
            _tag("title", f"sentence {each.place}: mean score {each.score:.2f}, {each.count:,} sentences"),
            cx=x,
            cy=y,
            r=4,
            class_="dot",
        )
        for each, (x, y) in zip(places, points, strict=True)
    ]
    ticks = {float(each.place): f"{each.place}" for each in places if last <= 8 or each.place % 2 == 1}
    return frame.svg(
        "Mean score by place in the response", frame.axes(ticks, SHARES, "place of the sentence"), _path(points), *dots
    )


def curves_chart(curves: Sequence[Curve], heads: Sequence[str], what: str, top: float | None = None) -> Markup:
    """Figures of a training by epoch, from 0 to `top`, else as far as they reach: a colour a head, a dash a name.

    Members of a head's ensemble are thin lines under their mean.
    """
    xs = [x for curve in curves for x, _ in curve.points] or [0.0, 1.0]
    ys = [y for curve in curves for _, y in curve.points] or [0.0, 1.0]
    low = min(0.0, *ys)
    high = top or (max(ys) if max(ys) > low else low + 1.0)
    frame = _Frame(width=340, right=12, x_range=(min(xs), max(xs)), y_range=(low, high))
    names = list(dict.fromkeys(curve.name for curve in curves))
    lines = []
    for curve in curves:
        several = len(heads) > 1
        colour = heads.index(curve.head) if several else names.index(curve.name)
        dash = names.index(curve.name) if several else 0
        kind = f"curve c{colour % COLOURS} d{dash % DASHES}{' member' if curve.member else ''}"
        said = [curve.head, curve.name if (several and len(names) > 1) or not curve.head else ""]
        said.append(f"member {curve.member}" if curve.member else "")
        points = [(frame.x(x), frame.y(y)) for x, y in curve.points]
        lines.append(_path(points, kind, " · ".join(filter(None, said))))
    axes = frame.axes(
        {at: f"{at:g}" for at in sorted({min(xs), max(xs)})},
        {at: f"{at:.2g}" for at in (low, (low + high) / 2, high)},
        "epoch",
    )
    return frame.svg(f"{what} by epoch", axes, *lines)


def interval_chart(value: float, low: float, high: float) -> Markup:
    """One value with its interval on a line from 0 to 1."""
    frame = _Frame(width=160, height=18, left=8, right=8, top=0, bottom=0)
    parts = [_line(frame.x(at), 4, frame.x(at), 14, "grid") for at in (0.0, 0.5, 1.0)]
    parts.append(_line(frame.x(0), 9, frame.x(1), 9, "axis"))
    if all(map(math.isfinite, (low, high))) and 0 <= low <= high <= 1:
        parts.append(_line(frame.x(low), 9, frame.x(high), 9, "whisker"))
    if math.isfinite(value) and 0 <= value <= 1:
        parts.append(_tag("circle", cx=frame.x(value), cy=9, r=4, class_="dot"))
    return frame.svg(f"{value:.3f} between 0 and 1", *parts, kind="interval")


def _tag(name: str, *children: Markup | str, **attributes: Any) -> Markup:
    written = Markup("").join(
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("aria_", "aria-").replace("text_", "text-").replace("data_", "data-"), _plain(value)
        )
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, Markup("").join(children))


def _plain(value: Any) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return _tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    return _tag("text", text, x=x, y=y, text_anchor=anchor, class_=kind)


def _path(points: Sequence[tuple[float, float]], kind: str = "curve", title: str = "") -> Markup:
    steps = " ".join(f"{'L' if number else 'M'}{x:.1f} {y:.1f}" for number, (x, y) in enumerate(points))
    return _tag("path", *([_tag("title", title)] if title else []), d=steps, class_=kind)


def _rounded_up(count: int) -> float:
    """The next number that reads well on an axis, and whose half does."""
    size = 10 ** math.floor(math.log10(max(count, 1)))
    factors = (1, 2, 3, 4, 5, 6, 8, 10) if size > 1 else (2, 4, 6, 8, 10)
    return float(next(size * factor for factor in factors if size * factor >= count))
