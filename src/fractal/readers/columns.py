"""Which column plays which role: as the user says, else by well-known names, and every guess is reported."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from fractal.errors import BadData, BadSpec, suggestion
from fractal.readers.report import ReadReport

COMMON_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "uid", "response_id", "example_id", "record_id"),
    "query": (
        *("query", "question", "prompt", "instruction", "problem", "user_input", "user_query", "user_question"),
        *("user_prompt", "user_message"),
    ),
    "context": (
        *("context", "contexts", "passages", "passage", "documents", "document", "source", "sources"),
        *("retrieved_contexts", "evidence", "article", "retrieved_documents", "retrieved_docs", "source_documents"),
        *("docs", "chunks", "page_content", "reference_text", "knowledge", "retrieved_passages", "retrieved_passage"),
        *("retrieved_context", "retrieved_chunks", "source_text"),
    ),
    "response": (
        *("response", "answer", "completion", "output", "text", "generation", "summary", "reply", "prediction"),
        *("model_answer", "model_response", "model_output", "generated_text", "assistant_response", "ai_response"),
    ),
    "sentences": ("sentences",),
    "offsets": ("offsets",),
    "completions": ("completions", "steps"),
    "messages": ("messages", "conversation", "conversations", "chat"),
    "label": (
        *("label", "rating", "score", "thumbs", "feedback", "grade", "is_correct", "correct", "correctness"),
        *("verdict", "stars"),
    ),
    "sentence_labels": ("sentence_labels", "step_labels", "labels"),
    "group": ("group", "group_id", "question_id", "document_id"),
    "aspects": ("aspects",),
    "columns": ("columns",),
    "extra": ("extra",),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "a": ("a", "response_a", "answer_a"),
    "b": ("b", "response_b", "answer_b"),
    "preference": ("preference", "preferred", "winner"),
    "responses": ("responses", "answers"),
    "ranking": ("ranking", "ranks"),
    "pairs": ("pairs", "pairwise", "preferences"),
}
BESIDE_SENTENCES = {"id", "query", "context", "label", "sentence_labels", "group"}  # guessed for cut responses, too
MAX_LAYOUTS = 256  # rows with ever new sets of columns must not fill the memory
MAX_LAYOUT = 1_000  # columns of a row whose layout is remembered
MAX_NAMES = 256  # of columns, nested ones with their path, that an error may suggest


class ColumnRoles:
    """Gives every row's values their roles; rows of one layout are looked at once."""

    def __init__(
        self, columns: Mapping[str, str] | None, report: ReadReport, remembered: Mapping[str, str] | None = None
    ) -> None:
        """Take the user's mapping; `remembered` is one that holds where its columns are, and is no error elsewhere."""
        self._mapped = dict(columns or {})
        self._remembered = {
            role: column for role, column in (remembered or {}).items() if role not in self._mapped and role != column
        }
        self._report = report
        self._met: set[str] = set()  # mapped roles that some record has
        self._names: dict[str, None] = {}  # columns of the source, in order, nested ones with their path
        self._layouts: dict[tuple[str, ...], tuple[dict[str, str], tuple[str, ...]]] = {}
        for role in self._mapped:
            if role not in COMMON_NAMES and not role.startswith(("aspects.", "columns.")):
                near = difflib.get_close_matches(role, COMMON_NAMES, n=1)
                meant = (
                    f" Did you mean {near[0]!r}, as in columns={{{near[0]!r}: {self._mapped[role]!r}}}?" if near else ""
                )
                raise BadSpec(
                    f"No field is called {role!r}.{meant} "
                    f"Map one of {', '.join(COMMON_NAMES)}, aspects.NAME or columns.NAME to a column of the source."
                )
        report.columns.update(self._mapped)

    @property
    def plain(self) -> bool:
        """Whether the user maps no column, so that native records need no look-up."""
        return not self._mapped and not self._remembered

    def assign(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the values by role, and the unknown fields."""
        layout = tuple(row)
        assigned = self._layouts.get(layout)
        if assigned is None:
            assigned = self._assign_columns(layout)
            if len(self._layouts) < MAX_LAYOUTS and len(layout) <= MAX_LAYOUT:
                self._layouts[layout] = assigned
        roles, carried = assigned
        values = {role: row[column] for role, column in roles.items()}
        for role, column in (*self._remembered.items(), *self._mapped.items()):
            if column and roles.get(role) != column:
                value = _reach(row, column)
                if value is not None:
                    values[role] = value
                    self._note_column(role, column)
        if len(self._names) < MAX_NAMES:
            self._names |= dict.fromkeys(itertools.islice(_paths(row), MAX_NAMES))
        return values, {name: row[name] for name in carried}

    @property
    def names(self) -> list[str]:
        """The columns of the source that were met so far, nested ones with their path."""
        return list(self._names)

    def refuse_unmet(self) -> None:
        """Refuse a mapping to a column that no record has: it would have been left empty in silence."""
        for role, column in self._mapped.items():
            if column and role not in self._met and self._names:
                near = suggestion(column, self._names)
                example = near.split("'")[1] if near else next(iter(self._names))
                raise BadData(
                    f"no record has the column {column!r}, which is mapped to it.{near} "
                    f"Columns here: {', '.join(self._names)[:600]}. "
                    f"Map one of these, as in columns={{{role!r}: {example!r}}}",
                    field=role,
                )

    def _note_column(self, role: str, column: str) -> None:
        self._met.add(role)
        if role in self._remembered:
            self._report.columns[role] = column
            self._report.remembered[role] = column

    def _assign_columns(self, layout: tuple[str, ...]) -> tuple[dict[str, str], tuple[str, ...]]:
        roles = {role: column for role, column in self._mapped.items() if column in layout}
        remembered = {role: column for role, column in self._remembered.items() if column in layout}
        taken = {*self._mapped.values()}
        roles |= {role: column for role, column in remembered.items() if column not in taken}
        taken.update(roles.values())
        for role, column in roles.items():
            self._note_column(role, column)
        candidates: dict[str, list[str]] = {}
        cut = "sentences" in layout or {"completions", "labels"} <= {*layout}
        by_name = {_normal(column): column for column in reversed(layout) if isinstance(column, str)}
        for role, names in COMMON_NAMES.items():
            if role in self._mapped or role in roles:
                continue
            matches = [by_name[name] for name in names if name in by_name and by_name[name] not in taken]
            if role in layout or (cut and role not in BESIDE_SENTENCES):
                matches = [role] if role in layout and role not in taken else []
            if matches:
                roles[role] = matches[0]
                taken.add(matches[0])
                candidates[role] = matches
        for role in _out_of_place(roles, self._mapped):
            taken.discard(roles.pop(role))
        for role in roles:
            self._report_guess(role, candidates.get(role, []))
        missing = {
            role: column for role, column in self._mapped.items() if column and role not in roles and "." not in column
        }
        self._check(missing, roles, layout)
        carried = tuple(column for column in layout if column not in taken)
        self._report.carried.update(carried[: MAX_LAYOUTS - len(self._report.carried)])
        return roles, carried

    def _report_guess(self, role: str, matches: list[str]) -> None:
        if not matches:
            return
        self._report.columns.setdefault(role, matches[0])
        if matches[0] != role:
            self._report.guessed.setdefault(role, matches[0])
            if len(matches) > 1:
                others = ", ".join(matches[1:])
                self._report.note(f"{role} could also be {others}: map it, as in columns={{{role!r}: {matches[1]!r}}}")

    def _check(self, missing: dict[str, str], roles: dict[str, str], layout: tuple[str, ...]) -> None:
        """A mapped column may be absent where a value may be unknown, but not where the response should be."""
        for role in ("response", "sentences", "completions", "messages", "chosen", "rejected"):
            if role in missing:
                column = missing[role]
                names = layout[:MAX_NAMES]
                raise BadData(
                    f"there is no column {column!r}.{suggestion(column, names)} Found: {', '.join(names)[:300]}",
                    field=role,
                )
        for role, column in missing.items():
            self._report.note(f"some records have no column {column!r}, which is mapped to {role}")


OF_ONE_RESPONSE = (
    *("response", "sentences", "offsets", "completions", "messages", "label", "sentence_labels"),
    *("aspects", "columns"),
)


def _out_of_place(roles: Mapping[str, str], mapped: Mapping[str, str]) -> list[str]:
    """Return the roles that make no sense beside the others: their columns are carried through as unknown ones."""
    forms = (("chosen", "rejected"), ("a", "b"), ("responses", "ranking"), ("responses", "pairs"))
    complete = next((form for form in forms if all(role in roles for role in form)), ())
    wrong = {role for form in forms for role in form} - {*complete}
    if complete != ("a", "b"):
        wrong.add("preference")
    if complete:
        wrong.update(OF_ONE_RESPONSE)
    elif "sentences" in roles or "response" in roles:
        wrong.update(("completions", "messages"))
    elif "completions" in roles:
        wrong.add("messages")
    return [role for role in roles if role in wrong and role not in mapped]


def _normal(name: str) -> str:
    return name.strip().casefold().replace("-", "_").replace(" ", "_")


def _reach(row: Mapping[str, Any], path: str) -> Any:
    """Follow a dotted path, as in `feedback.rating`, into nested objects; of a list it is followed into each member."""
    value: Any = row
    parts = path.split(".")
    for place, part in enumerate(parts):
        if isinstance(value, str) and value[:1] in ("{", "["):  # a table keeps objects as JSON text
            value = _decoded(value)
        if isinstance(value, list | tuple):
            members = [_reach(item, ".".join(parts[place:])) for item in value if isinstance(item, Mapping)]
            return [member for member in members if member is not None] or None
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return text


def _paths(value: Any, prefix: str = "", depth: int = 3) -> Iterator[str]:
    """Yield the names of a row's columns, those of nested objects with their path."""
    if isinstance(value, list | tuple):
        value = next((item for item in value if isinstance(item, Mapping)), None)
    if isinstance(value, Mapping) and depth:
        for name, inner in value.items():
            yield f"{prefix}{name}"
            yield from _paths(inner, f"{prefix}{name}.", depth - 1)
