"""Where each token of a completion stands in its text, by the very tokens that were drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fractal.errors import BadData

__all__ = ["places_of_ids", "places_of_text"]

HALF = "\ufffd"  # what a tokenizer writes for the bytes of a sign that is not whole


def places_of_text(text: str, tokenizer: Any) -> list[tuple[int, int]]:
    """Return where the tokens stand that the tokenizer itself would cut the text into."""
    offsets: list[tuple[int, int]] = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)[
        "offset_mapping"
    ]
    return offsets


def places_of_ids(ids: Sequence[int], text: str, tokenizer: Any) -> list[tuple[int, int]]:
    """Return where each drawn token stands in the text that they were decoded to.

    A model may cut words otherwise than the tokenizer would, stop inside a sign, or draw special tokens: so the tokens
    themselves are decoded, each behind those before it. Tokens that are a part of a sign have the place of the whole
    sign, special tokens an empty one.
    """
    drawn = [int(token) for token in ids]
    places: list[tuple[int, int]] = []
    written = ""
    before, here = 0, 0  # tokens from `before` on are decoded again as company, those from `here` on are new
    for number in range(1, len(drawn) + 1):
        company = _decoded(drawn[before:here], tokenizer)
        new = _decoded(drawn[before:number], tokenizer)
        if new.endswith(HALF) and number < len(drawn):
            continue
        start = len(written)
        written += new[len(company) :]
        places += [(start, len(written))] * (number - here)
        before, here = here, number
    return places if written == text else _moved(places, written, text)


def _decoded(ids: list[int], tokenizer: Any) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True)) if ids else ""


def _moved(places: list[tuple[int, int]], written: str, text: str) -> list[tuple[int, int]]:
    """Bring places over to a text that differs in blanks alone: decoding a whole text may clean them up."""
    visible = [place for place, sign in enumerate(text) if not sign.isspace()]
    if [text[place] for place in visible] != [sign for sign in written if not sign.isspace()]:
        raise BadData(
            f"the tokens say {written[:60]!r}, the completion {text[:60]!r}: give the completion_ids of the same "
            "completions, and the tokenizer of the model that is trained",
            field="completion_ids",
        )
    ends = [*visible, len(text)]
    passed = [0]  # visible signs before each place of what was written
    for sign in written:
        passed.append(passed[-1] + (not sign.isspace()))
    moved = []
    for start, end in places:
        first, last = passed[start], passed[end]
        moved.append((ends[first], ends[last - 1] + 1) if last > first else (ends[first], ends[first]))
    return moved
