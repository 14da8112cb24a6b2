"""What reading found: how much was read and refused and why, and what was guessed."""

from __future__ import annotations

import dataclasses
import re
import shlex

from fractal.printable import visible

SHOWN_NAMES = 12
LIKE_A_LABEL = re.compile(
    r"(^|_|\b)(rat(ing|ed)|scores?|labels?|thumbs?|feedback|grade|liked?|quality|helpful\w*|correct\w*|verdict|stars?|"
    r"votes?|judg\w+|preferred|accept\w*|annotation)(_|\b|$)",
    re.IGNORECASE,
)


@dataclasses.dataclass
class ReadReport:
    """Filled while a source is read, complete when its iterator ends: nothing is dropped or guessed in silence."""

    source: str = ""
    reader: str = ""  # the text form of the reader that was given or guessed
    responses: int = 0
    preferences: int = 0
    sentences: int = 0  # in the responses; those of preferences are not counted
    labelled: int = 0  # responses with a label
    rejected: int = 0
    blank: int = 0  # empty lines, which are no records
    reasons: dict[str, int] = dataclasses.field(default_factory=dict)  # field → records refused for it
    examples: dict[str, str] = dataclasses.field(default_factory=dict)  # field → the first such message
    columns: dict[str, str] = dataclasses.field(default_factory=dict)  # role → the column that was taken for it
    guessed: dict[str, str] = dataclasses.field(default_factory=dict)  # the part of `columns` that was guessed
    remembered: dict[str, str] = dataclasses.field(default_factory=dict)  # the part that a scorer remembered
    carried: set[str] = dataclasses.field(default_factory=set)  # unknown fields, carried through to the output
    read_by: dict[str, str] = dataclasses.field(default_factory=dict)  # field that an option names → the option
    paths: list[str] = dataclasses.field(default_factory=list)  # of fields inside others, as in `feedback.thumbs`
    label_kinds: dict[str, str] = dataclasses.field(default_factory=dict)  # label column → boolean, number, word, …
    counts: dict[str, int] = dataclasses.field(default_factory=dict)  # what was cut, dropped or not read → how often
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def read(self) -> int:
        """How many records came through."""
        return self.responses + self.preferences

    @property
    def label_kind(self) -> str:
        """How the response labels are written; empty where there are none."""
        return self.label_kinds.get("label", "")

    @property
    def unused(self) -> list[str]:
        """The fields that are carried through and that no option reads."""
        return sorted(self.carried - {field.partition(".")[0] for field in self.read_by})

    def tally(self, kind: str, count: int) -> None:
        """Count what was cut, dropped or not read."""
        self.counts[kind] = self.counts.get(kind, 0) + count

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)

    def _carries(self, field: str) -> bool:
        return field.partition(".")[0] in self.carried

    def _where_it_stands(self, name: str) -> str:
        """Return a field's name; of an object the path to what is in it, named like a label if anything is."""
        inside = [path for path in self.paths if path.startswith(f"{name}.")]
        like = [path for path in inside if LIKE_A_LABEL.search(path.rpartition(".")[2])]
        return [*like, *inside, name][0]

    def __str__(self) -> str:
        """Say in a few lines what was read."""
        parts = [f"{self.responses:,} responses"] if self.responses or not self.preferences else []
        if self.preferences:
            parts.append(f"{self.preferences:,} preferences")
        lines = [f"{self.source}: {', '.join(parts)} read as {self.reader}, {self.rejected:,} rejected"]
        if self.blank:
            lines.append(f"  blank lines: {self.blank:,}")
        reasons = sorted(self.reasons.items(), key=lambda item: -item[1])
        lines += [f"  rejected for {field}: {count:,}, first: {self.examples[field]}" for field, count in reasons]
        if self.guessed:
            pairs = ", ".join(f"{role} = {column}" for role, column in sorted(self.guessed.items()))
            lines.append(f"  guessed columns: {pairs}")
        if self.remembered:
            pairs = ", ".join(f"{role} = {column}" for role, column in sorted(self.remembered.items()))
            lines.append(f"  columns as in training: {pairs}")
        names = self.unused
        lines += [f"  read by {option}: {field}" for field, option in self.read_by.items() if self._carries(field)]
        if names:
            more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
            lines.append(f"  not used: {', '.join(names[:SHOWN_NAMES])}{more}")
        if like := [name for name in names if LIKE_A_LABEL.search(name)]:
            field = f"aspects.{like[0]}" if self.labelled else "label"
            example = f"--column {shlex.quote(f'{field}={self._where_it_stands(like[0])}')}"
            lines.append(
                f"  named like labels, yet not used: {', '.join(like[:SHOWN_NAMES])}; map one, as in {example}"
            )
        if self.label_kinds:
            lines.append("  labels: " + ", ".join(f"{name} as {kind}" for name, kind in self.label_kinds.items()))
        lines += [f"  {kind}: {count:,}" for kind, count in self.counts.items()]
        return "\n".join(map(visible, lines + [f"  {note}" for note in self.notes]))
