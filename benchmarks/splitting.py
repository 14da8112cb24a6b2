"""Measures sentence splitters on our own hard cases: accuracy by category, exactness of offsets, and speed.

Run: python benchmarks/splitting.py [--prose FILE] [--write benchmarks/results/splitting.md]
The libraries other than sentencex are looked for, and left out where they are not installed.
"""

from __future__ import annotations

import argparse
import collections
import importlib.metadata
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
Spans = list[tuple[int, int]]
Cutter = Callable[[str, str], Spans]  # (text, language) → (start, end) of every sentence

ROUNDS = 5
HARMFUL = {  # 100,000 characters each, on one line
    "one sentence after another": "The cat sat. ",
    "no stop at all": "word ",
    "Chinese": "字。",
    "backticks": "`a` ",
    "open formulas": "\\[ a ",
    "open brackets": "(a. B ",
}


def fractal_spans(text: str, language: str) -> Spans:
    from fractal.records.splitting import SPLITTERS

    return [(part.start, part.end) for part in SPLITTERS.build("sentences")(text)]


def fractal_told(text: str, language: str) -> Spans:
    from fractal.records.splitting import Sentences

    return [(part.start, part.end) for part in Sentences(language=language)(text)]


def located(text: str, pieces: list[str]) -> Spans:
    """Find where each piece stands; a piece that a library altered is not found and counts as lost."""
    spans, position = [], 0
    for piece in (p.strip() for p in pieces):
        found = text.find(piece, position)
        if piece and found >= 0:
            spans.append((found, found + len(piece)))
            position = found + len(piece)
    return spans


def sentencex_spans(text: str, language: str) -> Spans:
    import sentencex

    return located(text, sentencex.segment(language, text))


def sentencex_english(text: str, language: str) -> Spans:
    return sentencex_spans(text, "en")


def pysbd_spans(text: str, language: str) -> Spans:
    import pysbd

    known = pysbd.languages.LANGUAGE_CODES
    segmenter = pysbd.Segmenter(language=language if language in known else "en", clean=False)
    return located(text, segmenter.segment(text))


def syntok_spans(text: str, language: str) -> Spans:
    from syntok import segmenter

    return [
        (sentence[0].offset, sentence[-1].offset + len(sentence[-1].value))
        for paragraph in segmenter.process(text)
        for sentence in paragraph
    ]


def blingfire_spans(text: str, language: str) -> Spans:
    import blingfire

    return [tuple(span) for span in blingfire.text_to_sentences_and_offsets(text)[1]]


CUTTERS: dict[str, tuple[str, Cutter]] = {
    "fractal `sentences`": ("fractal", fractal_spans),
    "fractal `sentences`, language told": ("fractal", fractal_told),
    "sentencex, language told": ("sentencex", sentencex_spans),
    "sentencex, always en": ("sentencex", sentencex_english),
    "pysbd, language told": ("pysbd", pysbd_spans),
    "syntok": ("syntok", syntok_spans),
    "blingfire": ("blingfire", blingfire_spans),
}


def read_cases() -> list[dict]:
    with (HERE / "splitting_cases.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def counts(text: str, found: Spans, wanted: Spans) -> tuple[int, int, int]:
    """Boundaries inside the text: found and wanted, found only, wanted only."""
    ours, theirs = {end for _, end in found[:-1]}, {end for _, end in wanted[:-1]}
    return len(ours & theirs), len(ours - theirs), len(theirs - ours)


def accuracy(cutter: Cutter, cases: list[dict]) -> tuple[float, float, int]:
    """Share of cases cut exactly, F1 of the boundaries, and how many cases had wrong places or lost text."""
    exact, totals, broken = 0, [0, 0, 0], 0
    for case in cases:
        text, wanted = case["text"], located(case["text"], case["sentences"])
        try:
            found = cutter(text, case["language"])
        except Exception:  # a crash is a result
            found = []
        kept = "".join(text[start:end] for start, end in found)
        edges = [place for span in found for place in span]
        broken += edges != sorted(edges) or "".join(kept.split()) != "".join(text.split())
        exact += found == wanted
        totals = [total + new for total, new in zip(totals, counts(text, found, wanted), strict=True)]
    both, extra, missed = totals
    return exact / len(cases), 2 * both / max(1, 2 * both + extra + missed), broken


def seconds(cutter: Cutter, text: str) -> float:
    began = time.process_time()
    cutter(text, "en")
    return time.process_time() - began


def speeds(cutters: dict[str, Cutter], documents: list[str]) -> dict[str, float]:
    """Median MB a minute of processor time, the splitters taking turns."""
    taken = collections.defaultdict(list)
    size = sum(len(document.encode()) for document in documents)
    for _ in range(ROUNDS):
        for name, cutter in cutters.items():
            few = documents[:20] if name.startswith("pysbd") else documents
            share = sum(len(document.encode()) for document in few) / size
            taken[name].append(sum(seconds(cutter, document) for document in few) / share)
    return {name: size / 1e6 / statistics.median(times) * 60 for name, times in taken.items()}


def prose(path: Path | None) -> list[str]:
    """Documents to time: a file's paragraphs, or our English cases strung together."""
    if path:
        return [part for part in path.read_text(encoding="utf-8").split("\n\n") if part.strip()]
    plain = [
        c["text"] for c in read_cases() if c["language"] == "en" and "\n" not in c["text"] and "`" not in c["text"]
    ]
    return [" ".join(plain[shift:] + plain[:shift])[:1500] for shift in range(len(plain))]


def table(rows: list[list[str]]) -> list[str]:
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return [head, "|" + "---|" * len(rows[0]), *body, ""]


def measured(documents: list[str]) -> list[str]:
    cutters = {name: cut for name, (package, cut) in CUTTERS.items() if importlib.util.find_spec(package)}
    cases = read_cases()
    fast, unseen = speeds(cutters, documents), cases[1::2]
    rows = [["splitter", "exact", "exact, unseen half", "boundary F1", "F1, unseen half", "text lost", "MB/min"]]
    for name, cutter in cutters.items():
        (exact, f1, broken), (exact2, f12, _) = accuracy(cutter, cases), accuracy(cutter, unseen)
        rows.append(
            [name, f"{exact:.1%}", f"{exact2:.1%}", f"{f1:.3f}", f"{f12:.3f}", str(broken), f"{fast[name]:.0f}"]
        )
    by_category = collections.defaultdict(list)
    for case in cases:
        by_category[case["category"]].append(case)
    parts = [["category", "cases", *cutters]]
    for category, members in by_category.items():
        scores = [accuracy(cutter, members) for cutter in cutters.values()]
        parts.append([category, str(len(members)), *(f"{exact:.0%} / {f1:.2f}" for exact, f1, _ in scores)])
    harm = [["100,000 characters of", *(name for name in cutters if not name.startswith("pysbd"))]]
    for kind, unit in HARMFUL.items():
        text = unit * (100_000 // len(unit))
        times = [seconds(cutter, text) for name, cutter in cutters.items() if not name.startswith("pysbd")]
        harm.append([kind, *(f"{taken:.2f} s" for taken in times)])
    return [
        *table(rows),
        "By category: exact cases / boundary F1.",
        "",
        *table(parts),
        "Hostile lines (pysbd, whose time grows with the square of the text, left out):",
        "",
        *table(harm),
    ]


def machine() -> str:
    model = platform.processor()
    if (info := Path("/proc/cpuinfo")).exists():
        model = next(
            (line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line), ""
        )
    packages = sorted({package for package, _ in CUTTERS.values()} - {"fractal"})
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in packages if importlib.util.find_spec(name)
    )
    return f"{model}, one thread, Python {platform.python_version()}; {versions}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prose", type=Path, help="a text file to time on, documents divided by blank lines")
    parser.add_argument("--write", type=Path, help="where to write the table")
    parser.add_argument("--failures", action="store_true", help="show the cases of the seen half that we cut wrongly")
    given = parser.parse_args()
    if given.failures:
        for case in read_cases()[::2]:
            cut = [case["text"][start:end] for start, end in fractal_spans(case["text"], "en")]
            if cut != case["sentences"]:
                print(case["id"], case["sentences"], "→", cut)
        return
    lines = [
        "# Sentence splitters",
        "",
        f"{len(read_cases())} cases of `benchmarks/splitting_cases.jsonl`; {machine()}",
        "Speed: processor time. Command: `python benchmarks/splitting.py --write benchmarks/results/splitting.md`.",
        "",
        *measured(prose(given.prose)),
    ]
    print("\n".join(lines))
    if given.write:
        given.write.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
