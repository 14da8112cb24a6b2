"""What was worked out about words, remembered: text is mostly words that were met before."""

from __future__ import annotations

from typing import ClassVar, TypeVar

__all__ = ["Remembered"]

Answer = TypeVar("Answer")


class Remembered(dict[str, Answer]):
    """The answers to words that were asked about; memory is bounded, whatever the texts."""

    most: ClassVar[int] = 1 << 16  # words; of more, all are forgotten
    longest: ClassVar[int] = 64  # characters; longer words are forgotten at once

    def answer(self, word: str) -> Answer:
        """Work out the answer to a word."""
        raise NotImplementedError

    def __missing__(self, word: str) -> Answer:
        answer = self.answer(word)
        if len(self) >= self.most:
            self.clear()
        if len(word) <= self.longest:
            self[word] = answer
        return answer
