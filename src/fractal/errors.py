"""What a user can mend: every error says what was given, why it cannot be, and what would work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BadData",
    "BadFolder",
    "BadSpec",
    "FractalError",
    "MissingExtra",
    "NotFitted",
    "TrainingDiverged",
    "UnknownName",
    "WorkersDied",
    "suggestion",
]


class FractalError(Exception):
    """The base of every error that a user can mend; the command line prints its message without a traceback."""


class BadSpec(FractalError, ValueError):
    """A component was written in a way that cannot be read, or with options that it does not have."""


class WorkersDied(FractalError):
    """Worker processes died again and again, or could not be started."""


class UnknownName(FractalError, LookupError):
    """A word names nothing that is known."""

    def __init__(self, kind: str, given: str, known: Iterable[str]) -> None:
        names = sorted(known)
        guess = suggestion(given, names)
        listed = ", ".join(names) or "none"
        super().__init__(f"No {kind} is called {given!r}.{guess} Known: {listed}.")
        self.kind, self.given, self.known = kind, given, names

    def __reduce__(self) -> tuple[type[UnknownName], tuple[str, str, list[str]]]:
        return type(self), (self.kind, self.given, self.known)


class BadData(FractalError, ValueError):
    """A record that comes in is wrong; says where it stands, what was found and what would work."""

    def __init__(
        self, problem: str, *, source: str = "", line: int | None = None, field: str = "", advice: str = ""
    ) -> None:
        where = ", ".join(
            part
            for part in (source, f"line {line}" if line is not None else "", f"field {field!r}" if field else "")
            if part
        )
        text = f"{problem}; {advice}" if advice else problem
        super().__init__(f"{where}: {text}" if where else text)
        self.problem, self.source, self.line, self.field, self.advice = problem, source, line, field, advice

    def at(self, source: str, line: int | None, advice: str = "") -> BadData:
        """Return the same error with the place where the record stands."""
        return BadData(self.problem, source=source, line=line, field=self.field, advice=advice)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return _bad_data, (self.problem, self.source, self.line, self.field, self.advice)


def _bad_data(problem: str, source: str, line: int | None, field: str, advice: str) -> BadData:
    return BadData(problem, source=source, line=line, field=field, advice=advice)


class BadFolder(FractalError, ValueError):
    """A saved scorer cannot be read: a file is missing, cut short, altered or from a newer version."""


TRAINING = frozenset({"huggingface_hub", "safetensors", "scipy", "sklearn", "torch", "transformers"})  # extra `train`


class MissingExtra(FractalError, ImportError):
    """Something needs a package that the light installation leaves out."""

    def __init__(self, what: str, extra: str, package: str = "") -> None:
        missing = f" ({package} is not installed)" if package else ""
        super().__init__(
            f"{what} needs more than the light installation{missing}: pip install 'fractal-scores[{extra}]'"
        )
        self.what, self.extra, self.package = what, extra, package

    @classmethod
    def of(cls, what: str, error: ModuleNotFoundError) -> MissingExtra | None:
        """Tell an import that failed for want of the extra `train`; another one is no user's to mend."""
        package = (error.name or "").partition(".")[0]
        return cls(what, "train", package) if package in TRAINING else None

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str, str]]:
        return type(self), (self.what, self.extra, self.package)


class NotFitted(FractalError, RuntimeError):
    """A scorer was asked for scores before it was trained."""


class TrainingDiverged(FractalError, RuntimeError):
    """Training left the finite numbers; the run is reported and no scorer is returned."""


def suggestion(given: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
