"""Cuts a text into sentences, reasoning steps or lines, and says where in the text each stands.

A splitter only ever chooses *cuts*, places between two characters; `_pieces` turns cuts into sentences. So whatever a
splitter decides, its sentences stand in order, do not overlap, are never empty, and lose nothing but white space.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from fractal.errors import BadSpec
from fractal.records import Sentence
from fractal.registry import Registry


class Splitter(Protocol):
    """Cuts a text into its parts; `text[part.start:part.end] == part.text` holds for each."""

    def __call__(self, text: str) -> tuple[Sentence, ...]:
        """Return the parts of the text in order; none where the text is empty or blank."""


SPLITTERS: Registry[Splitter] = Registry("splitter")

WINDOW = 4_000  # characters read at once: the library's time grows with the square of some lines
LONGEST_MATH = 20_000  # a formula left open for longer is none
LONGEST_HEADING = 200

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_FENCE = re.compile(r"^[ \t]*(```+|~~~+)", re.MULTILINE)
_MATH = re.compile(r"\$\$|\\\[|\\\(|\\begin\{(\w{1,20}\*?)\}")
_CODE = re.compile(r"`[^`\n]+`")

_LINE_MARK = re.compile(  # a list item, a heading, a quotation, a row of a table
    r"[ \t]*(?:[-*+•‣◦▪–—]\s|\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})[.)]\s|#{1,6}\s|>|\||\*\*|[①-⑳]|\[[ xX]\])"
)
_LONE_MARK = re.compile(r"\W{0,12}(?:\d{1,3}|[A-Za-z]|[ivx]{1,5})[.)]\W{0,3}")
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: the library takes none
_RARE_BLANK = re.compile(r"[^\S \t\n]")  # the library panics at a capital letter before a blank of several bytes
_FULL_LINE = 60  # a shorter line was ended on purpose, not wrapped

_CLOSERS = re.compile(r"[\"'”’»)\]*_」』）】]+(?=\s|$)|[」』）】”]+")
_CITATION = re.compile(r"(?:[^\S\n]?(?:\[\^?\d{1,3}(?:[,–-] ?\d{1,3})*\]|[⁰¹²³⁴-⁹]+))+")
_EMOJI = re.compile(r"[^\S\n]*[☀-➿\U0001f000-\U0001faff\ufe0f\u200d]+(?=\s|$)")
_INITIAL = re.compile(r"(?:^|[\s(\[\"'“/.])[A-ZΑ-ΩА-Я]\.$")
_UNIT_OR_GRADE = re.compile(r"(?:\d|\b[Aa]n?|\b[a-z]{3,}) [A-Z]\.$")
_ABBREVIATION = re.compile(  # what always has something behind it
    r"\b(?i:approx|ca|cf|viz|vs|resp|ed|eds|e\.g|i\.e|dr|dra|mr|mrs|ms|mme|mlle|prof|st|mt|ft|gen|col|lt|sgt|capt|rev|"
    r"hon|sen|rep|gov|fr|sr|sra|srta|sig|dott|др|им|ул)\.$"
)
_NUMBERED = re.compile(
    r"\b(?i:figs?|eqs?|eqn|secs?|sect|ch|chap|vols?|nos?|nr|pp?|art|arts|tab|ref|refs|thm|prop|lem|def|cor|jan|feb|mar|"
    r"apr|jun|jul|aug|sept?|oct|nov|dec)\.$"
)
_MAY_END = re.compile(r"(?:\b(?:[A-Z]\.){2,}|\b(?i:[ap]\.m|etc|inc|ltd|co|corp|jr|al|Ph\.D|B\.C|A\.D)\.)[\"')\]]*$")
_STARTER = re.compile(
    r"\s+[\"“(]?(?:The|This|That|These|Those|It|He|She|They|We|You|I|There|Here|In|On|At|By|For|From|If|When|While|But|"
    r"And|So|Yet|However|Then|Its|His|Hers?|Their|Our|My|Your|What|Why|How|Who|Where|After|Before|Since|As|To|No|Yes|"
    r"A|An|Some|Many|Most|All|Both|Each|Such|Not|Now|Nobody|Everyone|Others?)\b"
)
_GLUED = re.compile(r"(?:^|[\s(\"“])[a-z][a-z'’-]+[.!?]$")  # a word and its stop, before a missing space
_GLUED_NEXT = re.compile(r"[A-Z][a-z]*[ ,'’]")
_CARRIES_ON = re.compile(r"\s*[,;:)\]%]|\s*[<>=+×÷≤≥&^]+\s")  # what no sentence begins with
_MORE_CUTS = re.compile(
    r"(?:\.{3}|…)[\"'”’)]*(?=\s+[A-Z][a-z])"  # thoughts trail off … Then another begins
    r"|(?<=[a-z]{2})[.!?](?=[A-Z][a-z]*[ ,'’])"
    r"|[。！？｡]+|[।॥؟۔።։။]+|(?<=[α-ωά-ώ]);(?=\s+[Α-Ω])"
    r"|[.!?][\"'”’]?\)(?=\s+[A-Z])"
    r"|\b(?:(?:[A-Z]\.)+|[ap]\.m\.|etc\.|al\.|Inc\.|Ltd\.|Co\.|Corp\.|Jr\.|[Nn]o\.)(?=\s)"
)


@SPLITTERS.register("sentences")
@dataclass(frozen=True)
class Sentences:
    """Sentences of prose, markdown or code; `language` picks the abbreviations (the script needs no choice)."""

    language: str = "en"

    def __post_init__(self) -> None:
        if not isinstance(self.language, str) or not self.language:
            raise BadSpec(f"a language of {self.language!r}: give its code, such as language='de'")

    def __call__(self, text: str) -> tuple[Sentence, ...]:
        """Return the sentences of the text."""
        return _pieces(text, self._cuts(text))

    def _cuts(self, text: str) -> Iterator[int]:
        segment = _library(self.language)
        for start, end, whole in _blocks(text):
            yield from (start, end)
            if not whole:
                for first, last in _lines_of_thought(text, start, end):
                    yield last
                    part = text[first:last]
                    yield from (first + cut for cut in _sentence_cuts(part, segment))


@SPLITTERS.register("lines")
@dataclass(frozen=True)
class Lines:
    """Every line that says something."""

    def __call__(self, text: str) -> tuple[Sentence, ...]:
        """Return the lines of the text."""
        return _pieces(text, (match.end() for match in re.finditer(r"\r\n?|\n", text)))


@SPLITTERS.register("presplit")
@dataclass(frozen=True)
class Presplit:
    """Text that is cut already: the parts between separators."""

    separator: str = "\n\n"

    def __post_init__(self) -> None:
        if not isinstance(self.separator, str) or not self.separator:
            raise BadSpec(f"a separator of {self.separator!r}: give the text that stands between two parts")

    def __call__(self, text: str) -> tuple[Sentence, ...]:
        """Return the parts of the text, without the separators."""
        parts, start = [], 0
        for piece in text.split(self.separator):
            parts.append((start, start + len(piece)))
            start += len(piece) + len(self.separator)
        return tuple(sentence for first, last in parts for sentence in _trimmed(text, first, last))


def _pieces(text: str, cuts: Iterable[int]) -> tuple[Sentence, ...]:
    """Return what stands between the cuts, without the white space around it."""
    edges = sorted({0, len(text), *cuts})
    return tuple(sentence for first, last in pairwise(edges) for sentence in _trimmed(text, first, last))


def _trimmed(text: str, first: int, last: int) -> Iterator[Sentence]:
    piece = text[first:last].lstrip()
    first = last - len(piece)
    if piece := piece.rstrip():
        yield Sentence(piece, first, first + len(piece))


def _fences(text: str) -> Iterator[tuple[int, int]]:
    """Fenced code, from its first to its last line; a fence left open runs to the end, as markdown has it."""
    position = 0
    while opening := _FENCE.search(text, position):
        closing = re.compile(rf"^[ \t]*{re.escape(opening[1])}+[ \t]*$", re.MULTILINE).search(text, opening.end())
        position = closing.end() if closing else len(text)
        yield opening.start(), position


def _formulas(text: str) -> Iterator[tuple[int, int]]:
    """Formulas that no cut may go through."""
    position, read_to = 0, dict[str, int]()  # where no closer was found, none is looked for twice
    while opening := _MATH.search(text, position):
        closer = {"$$": "$$", r"\[": r"\]", r"\(": r"\)"}.get(opening[0], rf"\end{{{opening[1]}}}")
        limit = opening.end() + LONGEST_MATH
        end = text.find(closer, max(opening.end(), read_to.get(closer, 0)), limit)
        position = end + len(closer) if end >= 0 else opening.end()
        if end >= 0:
            yield opening.start(), position
        else:
            read_to[closer] = limit - len(closer) + 1


def _blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Paragraphs and, kept whole, fenced code: (start, end, whole)."""
    position = 0
    for start, end in (*_fences(text), (len(text), len(text))):
        for blank in _BLANK_LINES.finditer(text, position, start):
            yield position, blank.start(), False
            position = blank.end()
        if position < start:
            yield position, start, False
        if start < end:
            yield start, end, True
        position = end


def _lines_of_thought(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A paragraph's lines, those that were only wrapped joined again."""
    first = line = start
    while (newline := text.find("\n", line, end)) >= 0:
        if not _wrapped(text[line:newline].rstrip(), text[newline + 1 : min(end, newline + 200)]):
            yield first, newline + 1
            first = newline + 1
        line = newline + 1
    if first < end:
        yield first, end


def _wrapped(line: str, following: str) -> bool:
    """Whether a line goes on in the following one."""
    word = following.lstrip()[:2]
    if _LINE_MARK.match(following) or not word or re.match(r"[ \t]*(?:#{1,6}\s|\|)", line) or line.endswith(":"):
        return False
    return word[0].islower() or len(line) >= _FULL_LINE


def _library(language: str) -> Callable[[str], list[str]]:
    import sentencex

    return lambda text: sentencex.segment(language, text)  # type: ignore[no-any-return, unused-ignore]


def _library_cuts(text: str, segment: Callable[[str], list[str]]) -> Iterator[int]:
    """The library's cuts; a long line is read through a window, and only cuts well inside it are believed."""
    start = 0
    while start < len(text):
        window = _RARE_BLANK.sub(" ", _SURROGATE.sub("\ufffd", text[start : start + WINDOW]))
        ends, position = [], 0
        for piece in segment(window):
            place = window.find(piece, position)
            if place >= 0:
                position = place + len(piece)
                ends.append(position)
        last = start + WINDOW >= len(text)
        if not last and len(ends) > 1:
            ends.pop()
        yield from (start + end for end in ends[:-1])
        if last or not ends or ends[-1] >= len(window):
            start += WINDOW
        else:
            yield start + ends[-1]
            start += ends[-1]


def _sentence_cuts(text: str, segment: Callable[[str], list[str]]) -> Iterator[int]:
    """Where sentences of one paragraph end: the library's opinion and some more places, both looked at again."""
    held = _inside(_spans_to_hold(text))
    candidates = {*_library_cuts(text, segment), *(match.end() for match in _MORE_CUTS.finditer(text))}
    previous = 0
    for candidate in sorted(candidates):
        cut = _after_closers(text, candidate)
        if cut <= previous or cut >= len(text) or held(cut):
            continue
        if _is_boundary(text, previous, cut):
            yield cut
            previous = cut


def _spans_to_hold(text: str) -> list[tuple[int, int]]:
    return [*_formulas(text), *(match.span() for match in _CODE.finditer(text))]


def _after_closers(text: str, cut: int) -> int:
    """Move a cut behind the quotation marks, brackets, citations and emoji that belong to the sentence before it."""
    while cut and text[cut - 1].isspace():
        cut -= 1
    for pattern in (_CLOSERS, _CITATION, _EMOJI):
        if match := pattern.match(text, cut):
            cut = match.end()
    return cut


def _is_boundary(text: str, start: int, cut: int) -> bool:
    """Whether a sentence that starts at `start` ends at `cut`."""
    left, right = text[max(start, cut - 40) : cut], text[cut : cut + 40]
    word = right.lstrip()
    if not word or _CARRIES_ON.match(right) or _LONE_MARK.fullmatch(text, start, cut):
        return False
    if word[0].islower() and not word[1:2].isupper():
        return False
    if left.endswith(("．", ".", ",")) and word[0].isdigit() and len(word) == len(right):
        return False
    if left[-1] in ".!?" and word[0].isalpha() and len(word) == len(right) and word[0].isascii():
        return bool(_GLUED.search(left) and _GLUED_NEXT.match(right))
    if left.endswith((".)", "!)", "?)")) and not text[start:cut].lstrip().startswith("("):
        return False
    return not left.endswith(".") or _stop_ends_sentence(left, right, word)


def _stop_ends_sentence(left: str, right: str, word: str) -> bool:
    """Whether a full stop is more than the end of an abbreviation."""
    if _NUMBERED.search(left):
        return not (word[0].isdigit() or word[0] in "([")
    if _INITIAL.search(left):
        return bool(_UNIT_OR_GRADE.search(left) or _MAY_END.search(left)) and bool(_STARTER.match(right))
    if _MAY_END.search(left):
        return bool(_STARTER.match(right))
    return not _ABBREVIATION.search(left)


_STEP = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+)?[*_]{0,3}(?i:step)[ \t]+\d{1,3}\b", re.MULTILINE)
_ITEM = re.compile(r"^ {0,2}[*_]{0,2}(?:\d{1,3}|[①-⑳])[.):、]?[*_]{0,2}(?<=[.):、*①-⑳])\s", re.MULTILINE)
_ANSWER = re.compile(
    r"^[ \t]*(?:####[ \t]|(?:#{1,6}[ \t]+)?[*_]{0,3}(?:(?i:final answer|answer|conclusion)\b[*_]{0,3}:?|"
    r"(?:Therefore|Thus|Hence|So),? the (?:final )?answer\b))",
    re.MULTILINE,
)
_HEADING_ONLY = re.compile(r"\s*(?:#{1,6}[ \t].*|[*_]{2,3}[^*\n]+[*_]{2,3}:?|(?i:step)[ \t]+\d{1,3}\W*)\s*")


@SPLITTERS.register("steps")
@dataclass(frozen=True)
class Steps:
    """Steps of reasoning: "Step 3:", numbered items, paragraphs, else lines; formulas and code stay whole."""

    def __call__(self, text: str) -> tuple[Sentence, ...]:
        """Return the steps of the text."""
        held = [*_fences(text), *_formulas(text)]
        inside = _inside(held)
        marks = [match.start() for match in _STEP.finditer(text) if not inside(match.start())]
        if len(marks) > 1:
            marks += [match.start() for match in _ANSWER.finditer(text) if not inside(match.start())]
            return _pieces(text, marks)
        cuts = {match.end() for match in _BLANK_LINES.finditer(text)}
        cuts |= {match.start() for pattern in (_ITEM, _ANSWER) for match in pattern.finditer(text)}
        if len(_pieces(text, cuts := {cut for cut in cuts if not inside(cut)})) < 2:
            cuts = {match.end() for match in re.finditer(r"\n", text) if not inside(match.end())}
        return _pieces(text, _steps_that_stand(text, sorted(cuts), {first for first, _ in held}))


def _inside(spans: list[tuple[int, int]]) -> Callable[[int], bool]:
    """Return whether a place lies within one of the spans, edges left out."""
    spans = sorted(spans)
    reach, furthest = [], 0
    for _, end in spans:
        furthest = max(furthest, end)
        reach.append(furthest)
    starts = [start for start, _ in spans]

    def inside(place: int) -> bool:
        before = bisect_left(starts, place)
        return before > 0 and place < reach[before - 1]

    return inside


def _steps_that_stand(text: str, cuts: list[int], blocks: set[int]) -> Iterator[int]:
    """Leave out cuts behind a lone heading, before a formula that is spoken to, and inside a sentence."""
    previous = 0
    for cut in cuts:
        left, right = text[max(previous, cut - LONGEST_HEADING) : cut].rstrip(), text[cut : cut + 40].lstrip()
        at = cut + len(text[cut : cut + 40]) - len(right)
        goes_on = right[:1].islower() or (at in blocks and left.endswith(":")) or left.endswith(",")
        if left and not goes_on and not _HEADING_ONLY.fullmatch(left):
            yield cut
            previous = cut
