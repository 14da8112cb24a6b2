"""Which column plays which role: as the user says, else by well-known names, and every guess is reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fractal.errors import BadData, BadSpec, suggestion
from fractal.readers.report import ReadReport

COMMON_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "uid", "response_id", "example_id", "record_id"),
    "query": ("query", "question", "prompt", "instruction", "problem", "user_input"),
    "context": (
        *("context", "contexts", "passages", "passage", "documents", "document", "source", "sources"),
        *("retrieved_contexts", "evidence", "article"),
    ),
    "response": ("response", "answer", "completion", "output", "text", "generation", "summary", "reply", "prediction"),
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


class ColumnRoles:
    """Gives every row's values their roles; rows of one layout are looked at once."""

    def __init__(self, columns: Mapping[str, str] | None, report: ReadReport) -> None:
        self._mapped = dict(columns or {})
        self._report = report
        self._layouts: dict[tuple[str, ...], tuple[dict[str, str], tuple[str, ...]]] = {}
        for role in self._mapped:
            if role not in COMMON_NAMES and not role.startswith(("aspects.", "columns.")):
                raise BadSpec(
                    f"No field is called {role!r}.{suggestion(role, COMMON_NAMES)} "
                    f"Map one of {', '.join(COMMON_NAMES)}, aspects.NAME or columns.NAME to a column of the source."
                )
        report.columns.update(self._mapped)

    @property
    def plain(self) -> bool:
        """Whether the user maps no column, so that native records need no look-up."""
        return not self._mapped

    def assign(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the values by role, and the unknown fields."""
        layout = tuple(row)
        assigned = self._layouts.get(layout)
        if assigned is None:
            assigned = self._assign_columns(layout)
            if len(self._layouts) < MAX_LAYOUTS:
                self._layouts[layout] = assigned
        roles, carried = assigned
        values = {role: row[column] for role, column in roles.items()}
        for role, column in self._mapped.items():
            if role not in roles and column:
                value = _reach(row, column)
                if value is not None:
                    values[role] = value
        return values, {name: row[name] for name in carried}

    def _assign_columns(self, layout: tuple[str, ...]) -> tuple[dict[str, str], tuple[str, ...]]:
        roles = {role: column for role, column in self._mapped.items() if column in layout}
        taken = {*self._mapped.values()}
        candidates: dict[str, list[str]] = {}
        cut = "sentences" in layout or {"completions", "labels"} <= {*layout}
        by_name = {_normal(column): column for column in reversed(layout) if isinstance(column, str)}
        for role, names in COMMON_NAMES.items():
            if role in self._mapped:
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
                raise BadData(
                    f"there is no column {column!r}.{suggestion(column, layout)} Found: {', '.join(layout)[:300]}",
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
    """Follow a dotted path, as in `feedback.rating`, into nested objects."""
    value: Any = row
    for part in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value
