"""One reading of a source: every record is checked, counted, and accepted or refused with a reason."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from fractal.errors import BadData, BadSpec
from fractal.readers.columns import ColumnRoles
from fractal.readers.labels import LabelColumn, LabelForm, Scale
from fractal.readers.rejects import RejectsFile
from fractal.readers.report import ReadReport
from fractal.readers.seen_ids import SeenIds
from fractal.readers.sources import CUT, BadRow, Row, name_of
from fractal.records import Preference, Response, ScoredResponse, Sentence

Record = Response | Preference
Splitter = Callable[[str], tuple[Sentence, ...]]
RowSchema = Callable[[Mapping[str, Any], "ReadSession", int], Iterable[Record]]

logger = logging.getLogger("fractal.readers")
NUMBERS = ("", "number")
ESCAPED_NUL = rb"\u0000"
ENCODE = msgspec.json.Encoder().encode


class ReadSession:
    """One reading of one source: how its columns and labels are understood, and what has come through so far."""

    def __init__(
        self,
        source: Any,
        *,
        columns: Mapping[str, str] | None = None,
        splitter: str | Splitter = "sentences",
        label_scale: str | tuple[float, float] | Scale | None = None,
        levels: int | None = None,
        sentence_label_scale: str | tuple[float, float] | Scale | None = None,
        on_error: str = "raise",
        rejects: str | Path | RejectsFile | None = None,
        report: ReadReport | None = None,
        remembered: Mapping[str, str] | None = None,
        label_words: Mapping[str, Any] | None = None,
    ) -> None:
        if on_error not in ("raise", "reject"):
            raise BadSpec(f"on_error={on_error!r} is unknown: choose 'raise' or 'reject'.")
        if rejects is not None and on_error == "raise":
            raise BadSpec("on_error='raise' stops at a wrong record, so rejects get nothing: give on_error='reject'.")
        self.name = name_of(source)
        self._silent = report is not None
        self.report = ReadReport() if report is None else report
        self.report.source = self.name
        self._mapped, self._remembered = columns, remembered
        self.columns = ColumnRoles(columns, self.report, remembered)
        self.inner_columns = ColumnRoles(None, self.report)  # of the two responses of a preference
        self._form = LabelForm.of(label_scale, levels, label_words)
        self._sentence_form = (
            self._form if sentence_label_scale is None else LabelForm.of(sentence_label_scale, None, label_words)
        )
        self.label_columns: dict[str, LabelColumn] = {}
        self._whole, self._part = self.labels("label"), self.labels("sentence_labels")
        self._splitter = splitter
        self.rejecting = on_error == "reject"
        self._rejects_file = None if rejects is None else RejectsFile.of(rejects)
        if self._rejects_file is not None:
            self._rejects_file.refuse_source(source)
        self._rejects: IO[bytes] | None = None
        self._seen_ids = SeenIds()
        self.line = 0  # of the last record that was accepted or refused

    @property
    def plain(self) -> bool:
        """Whether native records can be taken as they are: no column mapped, labels in [0, 1]."""
        return self.columns.plain and self._form == self._sentence_form == LabelForm()

    def shadow(self) -> ReadSession:
        """Return a session that understands rows in the same way, and whose findings nobody sees."""
        shadow = copy.copy(self)
        shadow.report = ReadReport()
        shadow.columns = ColumnRoles(self._mapped, shadow.report, self._remembered)
        shadow.inner_columns = ColumnRoles(None, shadow.report)
        shadow.label_columns = {}
        return shadow

    def split(self, text: str) -> tuple[Sentence, ...]:
        """Cut a response into its sentences."""
        if isinstance(self._splitter, str):
            from fractal.records.splitting import SPLITTERS

            self._splitter = SPLITTERS.build(self._splitter)
        return self._splitter(text)

    def labels(self, name: str) -> LabelColumn:
        """Return the column of labels with this name; it remembers what kind of labels it has seen."""
        if name not in self.label_columns:
            form = self._sentence_form if name == "sentence_labels" else self._form
            self.label_columns[name] = LabelColumn(name, form)
        return self.label_columns[name]

    @contextlib.contextmanager
    def open(self) -> Iterator[ReadSession]:
        """Keep the rejects file open while the source is read, and tell at the end what was found."""
        with contextlib.ExitStack() as stack:
            if self.rejecting and self._rejects_file is not None:
                self._rejects = stack.enter_context(self._rejects_file.open())
            try:
                yield self
            except CUT as error:  # where no reader knows of which line
                problem = (
                    f"after line {self.line:,} the compressed file is cut short or damaged ({error}): write it anew"
                )
                raise BadData(problem, source=self.name) from error
        self.columns.refuse_unmet()
        self.report.paths = [name for name in self.columns.names if "." in name]
        self.report.label_kinds = {name: column.kind for name, column in self.label_columns.items() if column.kind}
        if not self._silent:
            level = logging.WARNING if self.report.rejected else logging.INFO
            logger.log(level, "%s", self.report)

    def accept(self, row: Row | BadRow, schema: RowSchema) -> list[Record]:
        """Make records of a row; a row that cannot be read is refused, and none of its records come through."""
        self.line = row.line
        if isinstance(row, BadRow):
            self.refuse(row.line, row.error, row.raw)
            return []
        try:
            refuse_nul(row.fields)
            records = list(schema(row.fields, self, row.line))
            self._refuse_repeated(records)
        except BadData as error:
            for column in self.label_columns.values():
                column.forget()
            self.refuse(row.line, error, row.fields)
            return []
        for column in self.label_columns.values():
            column.keep()
        self.count(records)
        return records

    def count(self, records: Iterable[Record | ScoredResponse]) -> None:
        """Enter records that have come through in the report."""
        for record in records:
            if isinstance(record, Response | ScoredResponse):
                self.count_response(record.response if isinstance(record, ScoredResponse) else record)
            else:
                self.report.preferences += 1

    def count_response(self, response: Response) -> None:
        """Enter a response that has come through in the report."""
        self.report.responses += 1
        self.report.sentences += len(response.sentences)
        self.report.labelled += response.label is not None

    def is_new(self, id: str) -> bool:
        """Whether no record with this id has come through; from now on one has."""
        if id in self._seen_ids:
            return False
        self._seen_ids.add(id)
        return True

    def takes_numbers(self, *, label: bool, sentence_labels: bool) -> bool:
        """Whether labels that are plain numbers go with those before them; if so, that is their columns' kind."""
        whole, part = self._whole, self._part
        if (label and whole.kind not in NUMBERS) or (sentence_labels and part.kind not in NUMBERS):
            return False
        if label:
            whole.kind = "number"
        if sentence_labels:
            part.kind = "number"
        return True

    def _refuse_repeated(self, records: list[Record]) -> None:
        ids = [key for key in map(_key, records) if key]
        repeated = next((id for id in ids if id in self._seen_ids), None)
        if repeated is not None:
            shown = repeated.partition("\0")[0][:80]
            raise BadData(
                f"found {shown!r} a second time: give every record an id of its own, or none at all", field="id"
            )
        for id in ids:
            self._seen_ids.add(id)

    def refuse(self, line: int, error: BadData, raw: Any) -> None:
        """Stop with the error, or write the record to the rejects file and go on."""
        if not self.rejecting:
            advice = "on_error='reject' leaves wrong records out and goes on" if self.report.read else ""
            raise error.at(self.name, line, advice) from error.__cause__
        reason = error.field or "the line"
        self.report.rejected += 1
        self.report.reasons[reason] = self.report.reasons.get(reason, 0) + 1
        self.report.examples.setdefault(reason, f"line {line}: {error.problem}")
        if self._rejects is not None:
            reject = {"source": self.name, "line": line, "field": error.field, "problem": error.problem, "record": raw}
            self._rejects.write(_encoded(reject) + b"\n")


def _key(record: Record | ScoredResponse) -> str:
    """Return what no two records may share: the id, for scores the id and what they are about."""
    if isinstance(record, ScoredResponse):
        return f"{record.response.id}\0{record.aspect}" if record.aspect else record.response.id
    return record.id


def _encoded(reject: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(reject, enc_hook=str)
    except (UnicodeEncodeError, OverflowError, TypeError, RecursionError, ValueError):
        plain = {**reject, "record": repr(reject["record"])[:2000]}
        return msgspec.json.encode({name: _writable(value) for name, value in plain.items()})


def _writable(value: Any) -> Any:
    """Write half characters out, as the names of columns may hold them too."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def refuse_nul(row: Mapping[str, Any]) -> None:
    """NUL bytes are never text: they end strings in other programs, so what follows them would be lost there."""
    try:
        if ESCAPED_NUL not in ENCODE(row):  # one fast look at everything; only what is found is looked for
            return
    except (ValueError, OverflowError, TypeError, RecursionError):
        pass
    for name, field in row.items():
        waiting = [name, field]
        while waiting:
            value = waiting.pop()
            if isinstance(value, str):
                _check_text(value, name)
            elif isinstance(value, Mapping):
                waiting.extend(value)
                waiting.extend(value.values())
            elif isinstance(value, list | tuple):
                waiting.extend(value)


def _check_text(text: str, field: str) -> None:
    if "\0" in text:
        raise BadData("found a NUL byte: remove it, as in `tr -d '\\000'`", field=str(field))
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            character = text[error.start]
            raise BadData(f"found {character!r}, which is no text: write the file in UTF-8", field=str(field)) from None
