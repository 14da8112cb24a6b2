"""A terminal recording as an animated SVG, from a real run: `python docs/make_recording.py docs/images/terminal.svg`.

The commands are run one after another on responses that are made for it; what they print is what is shown, colours
included. The pauses between lines are the recording's, not the run's.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path

from rich.color import ColorTriplet
from rich.console import Console
from rich.style import Style
from rich.text import Text

from fractal.datasets.synthetic import make_responses
from fractal.writers import write

COMMANDS = (
    "fractal train ratings.jsonl -o scorer/ --quiet",
    "fractal score scorer/ answers.jsonl -o scores.jsonl --quiet",
    "fractal show scores.jsonl --limit 3",
)
COLUMNS, CHARACTER, LINE, LEFT, TOP = 92, 8.1, 21, 16, 52
TYPING, PAUSE = 1.2, 0.2  # seconds that a command stands alone, and between two lines
BACKGROUND, INK, COMMAND = "#171a21", "#d6d9e0", "#ffffff"


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of the screen, and when it appears."""

    text: Text
    at: float


def recorded(folder: Path) -> Iterator[Line]:
    """Run the commands and yield the lines of the screen."""
    made = make_responses(240, task="summaries", seed=6)
    write(made[:200], folder / "ratings.jsonl")
    write((response.without_labels() for response in made[200:]), folder / "answers.jsonl")
    told = {
        **os.environ,
        "COLUMNS": str(COLUMNS),
        "FORCE_COLOR": "1",
        "COLORTERM": "truecolor",
        "TERM": "xterm-256color",
    }
    told["FRACTAL_CACHE"] = str(folder / "cache")
    at = 0.3
    for command in COMMANDS:
        yield Line(Text().append(f"$ {command}", f"bold {COMMAND}"), at)
        words = [sys.executable, "-m", "fractal", *command.split()[1:]]
        ended = subprocess.run(words, cwd=folder, env=told, capture_output=True, text=True, check=True)
        at += TYPING
        for printed in ended.stdout.rstrip().splitlines():
            yield Line(Text.from_ansi(printed), at)
            at += PAUSE
        at += 2 * PAUSE


def drawn(line: Line, place: int) -> str:
    """Draw a line: rectangles behind what has a background, then the words, each where its column is."""
    base, column, parts = TOP + place * LINE, 0, []
    for segment in line.text.render(Console(width=COLUMNS)):
        text = segment.text.rstrip("\n")
        style, x, wide = segment.style or Style(), LEFT + column * CHARACTER, len(text) * CHARACTER
        ink, paper = colour(style, "color"), colour(style, "bgcolor")
        if style.reverse:
            ink, paper = paper or BACKGROUND, ink or INK
        if paper:
            parts.append(f'<rect x="{x:.1f}" y="{base - 15}" width="{wide:.1f}" height="{LINE}" fill="{paper}"/>')
        if text.strip():
            weight = ' font-weight="600"' if style.bold else ""
            where = f'x="{x:.1f}" y="{base}" textLength="{wide:.1f}"'
            parts.append(f'<text {where} fill="{ink or INK}"{weight}>{escape(text)}</text>')
        column += len(text)
    return f'<g style="animation-delay:{line.at:.2f}s">{"".join(parts)}</g>'


def colour(style: Style, part: str) -> str:
    """Return a colour of a style as CSS has it; nothing where it is the terminal's own."""
    chosen = getattr(style, part)
    triplet: ColorTriplet | None = chosen.get_truecolor() if chosen and not chosen.is_default else None
    return triplet.hex if triplet else ""


def picture(lines: list[Line]) -> str:
    """Draw the screen; lines appear by CSS, and all stand there where motion is not wanted."""
    width, height = round(COLUMNS * CHARACTER + 2 * LEFT), TOP + len(lines) * LINE
    body = "\n".join(drawn(line, place) for place, line in enumerate(lines))
    said = escape("A terminal runs " + ", then ".join(COMMANDS) + "; it shows sentences coloured by their scores.")
    buttons = "".join(f'<circle cx="{x}" cy="18" r="5" fill="#5b6270"/>' for x in (20, 38, 56))
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{said}">
<style>
text {{ font: 13.5px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: pre; }}
g {{ animation: show .01s linear both; }}
@keyframes show {{ from {{ opacity: 0; }} to {{ opacity: 1; }} }}
@media (prefers-reduced-motion: reduce) {{ g {{ animation: none; }} }}
</style>
<rect width="{width}" height="{height}" rx="10" fill="{BACKGROUND}"/>
{buttons}
{body}
</svg>
"""


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        Path(sys.argv[1]).write_text(picture(list(recorded(Path(place)))), encoding="utf-8")
