"""What is to be done and what has been: a plan, a record for every unit that is done, and at the end a manifest."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from fractal.engine.storage import Folder, RemoteFolder
from fractal.engine.units import Source, Unit
from fractal.engine.work import HIDDEN, Job, UnitRecord
from fractal.errors import BadFolder

__all__ = ["Ledger", "totals"]

FORMAT = 1
PLAN, MANIFEST, REJECTS = f"{HIDDEN}/plan.json", "manifest.json", "rejects.jsonl"


@dataclasses.dataclass
class Ledger:
    """The state of a run in its output folder; all of it can be read again in time that grows with the units alone."""

    folder: Folder | RemoteFolder
    job: Job
    model_hash: str
    sources: list[Source]
    units: list[Unit]

    def begin(self, resume: bool) -> dict[int, UnitRecord]:
        """Write the plan, or take up that of a run that was stopped; return what is done already."""
        if (manifest := self.folder.read(MANIFEST)) is not None:
            self._refuse_other(json.loads(manifest), resume, "is complete")
            return {record["number"]: UnitRecord(**record) for record in json.loads(manifest)["units"]}
        written = self.folder.read(PLAN)
        if written is None:
            if not resume and self.folder.names(""):
                raise BadFolder(f"{self.folder.root} holds other files: give a new or empty folder")
            with self.folder.write(PLAN) as stream:
                stream.write(_json(self._plan()))
            return {}
        plan = json.loads(written)
        self._refuse_other(plan, resume, "was begun")
        self.units = [Unit(**unit) for unit in plan["units"]]
        self._refuse_changed([Source(**source) for source in plan["sources"]])
        self.folder.sweep()
        return self._done()

    def finish(self, done: dict[int, UnitRecord]) -> None:
        """Join the rejects, write the manifest, and remove what only an unfinished run needs."""
        if self.folder.read(MANIFEST) is None:  # a run killed after it is complete, and has only to be cleared away
            if any(record.rejected for record in done.values()):
                self._join_rejects(done)
            with self.folder.write(MANIFEST) as stream:
                stream.write(_json(self._manifest(done)))
        self.folder.remove(HIDDEN)
        self.folder.sweep()

    def _plan(self) -> dict[str, Any]:
        return {
            **self._identity(),
            "sources": [dataclasses.asdict(source) for source in self.sources],
            "units": [dataclasses.asdict(unit) for unit in self.units],
        }

    def _identity(self) -> dict[str, Any]:
        return {"format": FORMAT, "model_hash": self.model_hash, "options": self.job.options()}

    def _manifest(self, done: dict[int, UnitRecord]) -> dict[str, Any]:
        records = [done[unit.number] for unit in self.units]
        counts = totals(records)
        unlike = counts.pop("unlike")
        return {
            **self._identity(),
            **counts,
            "unlike_training": unlike,
            "sources": [{"path": source.path, "size": source.size} for source in self.sources],
            "units": [dataclasses.asdict(record) for record in records],
        }

    def _refuse_other(self, written: dict[str, Any], resume: bool, state: str) -> None:
        root = self.folder.root
        if not resume:
            raise BadFolder(f"{root} {state} already: go on with --resume, or give a new folder")
        for key, what in (("format", "version"), ("model_hash", "scorer"), ("options", "options")):
            if written.get(key) != self._identity()[key]:
                differ = f"{_shown(written.get(key))}, now {_shown(self._identity()[key])}"
                raise BadFolder(f"{root} {state} with another {what} ({differ}): give the same one, or a new folder")
        before = [(source["path"], source["size"]) for source in written["sources"]]
        now = [(source.path, source.size) for source in self.sources]
        if before != now:
            strange = next(
                (path for path, size in [*now, *before] if ((path, size) in before) != ((path, size) in now)), ""
            )
            raise BadFolder(f"{root} {state} with other data ({strange}): give the same files, or a new folder")

    def _refuse_changed(self, before: Sequence[Source]) -> None:
        for earlier, now in zip(before, self.sources, strict=True):
            if earlier != now:
                raise BadFolder(f"{now.path} was changed since {self.folder.root} was begun: give a new folder")

    def _done(self) -> dict[int, UnitRecord]:
        """Read the records of units that are done."""
        records = {}
        for name in self.folder.names(f"{HIDDEN}/done"):
            content = self.folder.read(f"{HIDDEN}/done/{name}")
            if content is not None:
                record = UnitRecord.of(content)
                records[record.number] = record
        return records

    def _join_rejects(self, done: dict[int, UnitRecord]) -> None:
        """Write all rejects in order, each with its line counted from the beginning of its file."""
        with self.folder.write(REJECTS) as stream:
            path, lines = "", 0
            for unit in self.units:
                lines = lines if unit.path == path else 0
                path, record = unit.path, done[unit.number]
                before = lines if unit.kind == "bytes" else unit.row - 1
                lines += record.lines
                content = self.folder.read(f"{HIDDEN}/rejects/{unit.name}.jsonl") if record.rejected else None
                for line in (content or b"").splitlines():
                    reject = json.loads(line)
                    reject |= {"source": unit.path, "line": reject["line"] + before}
                    stream.write(json.dumps(reject, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")


def _shown(value: Any) -> str:
    return str(value)[:80]


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def totals(records: Iterable[UnitRecord]) -> dict[str, Any]:
    """Sum up what became of units."""
    responses = sentences = rejected = 0
    reasons: Counter[str] = Counter()
    unlike: Counter[str] = Counter()
    for record in records:
        responses += record.responses
        sentences += record.sentences
        rejected += record.rejected
        reasons.update(record.reasons)
        unlike.update(record.unlike)
    return {
        "responses": responses,
        "sentences": sentences,
        "rejected": rejected,
        "reasons": dict(reasons),
        "unlike": dict(unlike),
    }
