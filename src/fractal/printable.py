"""Text that is safe to print: whatever steers a terminal is made visible."""

from __future__ import annotations

import unicodedata

TURNED = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # signs that turn the direction of reading


def visible(text: str) -> str:
    """Return the text on one line; escapes, other controls and turned directions are made visible."""
    return "".join(_visible(sign) for sign in text)


def visible_lines(text: str) -> str:
    """Return the text with its line ends, and all else that steers a terminal made visible."""
    return text if text.isascii() and text.isprintable() else "\n".join(map(visible, text.split("\n")))


def _visible(sign: str) -> str:
    if sign in "\n\t":
        return " "
    kind = unicodedata.category(sign)
    if kind == "Cc":
        return chr(0x2400 + ord(sign)) if ord(sign) < 0x20 else "�"
    if kind == "Cs" or unicodedata.bidirectional(sign) in TURNED:
        return "�"
    return sign
