"""Official data files, fetched whole or not at all: resumed, tried again, and checked against what is known of them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fractal.datasets.fetch.downloads import FetchFailed, check_content, check_present, checksum, download
from fractal.errors import UnknownName
from fractal.files import whole_file

__all__ = ["SOURCES", "FetchFailed", "RemoteFile", "Source", "fetch"]

Report = Callable[[str, int, int], None]  # file, bytes so far, bytes in all (0 where unknown)
GITHUB = "https://raw.githubusercontent.com"


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file of a data set: its place under the base address, and its SHA-256 and size where they are published."""

    path: str
    sha256: str = ""
    size: int = 0  # bytes

    @property
    def name(self) -> str:
        """What the file is called once it is here."""
        return self.path.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a data set's official files are, and what to do by hand where they cannot simply be fetched."""

    base: str
    files: tuple[RemoteFile, ...] = ()
    licence: str = ""
    by_hand: str = ""  # how to get them, where no address gives them away
    patterns: tuple[str, ...] = ()  # which files those are


SOURCES: Mapping[str, Source] = {
    "qa_feedback": Source(
        f"{GITHUB}/allenai/FineGrainedRLHF/main/tasks/qa_feedback/data",
        (RemoteFile("train_feedback.json"), RemoteFile("dev_feedback.json")),
        "Apache-2.0",
    ),
    "fira": Source(
        f"{GITHUB}/sebastian-hofstaetter/fira-trec-19-dataset/master/data",
        tuple(
            RemoteFile(path) for path in ("fira-trec19-raw-judgements.tsv", "input/documents.tsv", "input/queries.tsv")
        ),
        "MIT; the documents are MS MARCO's",
    ),
    "multispanqa": Source(
        f"{GITHUB}/haonan-li/MultiSpanQA/HEAD/data/MultiSpanQA_data",
        (RemoteFile("train.json"), RemoteFile("valid.json")),
        "none stated",
    ),
    "prm800k": Source(
        "https://media.githubusercontent.com/media/openai/prm800k/main/prm800k/data",
        (  # the checksums stand in the repository, in the pointers of Git LFS
            RemoteFile(
                "phase1_train.jsonl", "e9da6a73f827ffb9a8c0dc644c541d34ed76b3d4d1e4896ff5f7b37ddf5ae34d", 7_900_236
            ),
            RemoteFile(
                "phase1_test.jsonl", "f4b3bc5b095e45c816453dc4d748b755c680d61d55f9895d929a335b487c727d", 829_105
            ),
            RemoteFile(
                "phase2_train.jsonl", "1110237feeb51d1bc200cb37b8f965cfdc1036eac7d506094049366fe7dc1089", 456_135_365
            ),
            RemoteFile(
                "phase2_test.jsonl", "6b172efa884ac8341a946dd82e06947c135b7254109fb3f7aa907c715d98aaad", 12_240_719
            ),
        ),
        "MIT",
    ),
    "wikicatsum": Source(
        "https://datashare.ed.ac.uk/handle/10283/3368",
        licence="CC BY-SA 3.0",
        by_hand="the files stand behind a page: open the address, download the archive and unpack it",
        patterns=("*.src", "*.tgt"),
    ),
    "aquamuse": Source(
        "https://github.com/google-research-datasets/aquamuse",
        licence="none known",
        by_hand="the release is many small shards, some in zip archives, which are read as they are: `git clone "
        "--depth 1` the address, its folder v3 is the paper's",
        patterns=("*tf-examples*", "*.tfrecord", "*.jsonl", "*.zip"),
    ),
}


def fetch(
    name: str,
    folder: str | Path,
    *,
    base_url: str | None = None,
    from_folder: str | Path | None = None,
    only: Sequence[str] = (),
    attempts: int = 5,
    pause: float = 1.0,
    timeout: float = 30.0,
    report: Report | None = None,
) -> list[Path]:
    """Put a data set's official files into a folder and return where they are.

    What is there already is checked and kept; what was broken off goes on where it stopped. A file whose checksum is
    published must have it; of the others the checksum at the first fetch is kept beside, and held against the file
    later. `from_folder` takes files that were got by hand, `base_url` a mirror.
    """
    source = _source(name)
    target = Path(folder)
    if from_folder is not None:
        return _from_folder(name, source, Path(from_folder), target)
    if source.by_hand:
        raise FetchFailed(f"{name} ({source.base}): {source.by_hand}; then `fractal fetch {name} --from FOLDER`.")
    base = (base_url or source.base).rstrip("/")
    paths = []
    for file in _wanted(name, source, only):
        path = target / file.name
        if path.exists():
            check_present(path, file.sha256)
        else:
            shown = (lambda done, total, name=file.name: report(name, done, total)) if report else None
            url = f"{base}/{file.path}"
            download(url, path, sha256=file.sha256, attempts=attempts, pause=pause, timeout=timeout, report=shown)
        paths.append(path)
    return paths


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise UnknownName("data set", name, SOURCES)
    return SOURCES[name]


def _wanted(name: str, source: Source, only: Sequence[str]) -> list[RemoteFile]:
    by_name = {file.name: file for file in source.files}
    for wanted in only:
        if wanted not in by_name:
            raise UnknownName(f"file of {name}", wanted, by_name)
    return [by_name[wanted] for wanted in only] if only else list(source.files)


def _from_folder(name: str, source: Source, folder: Path, target: Path) -> list[Path]:
    """Copy the files that were got by hand, each checked as if it had been fetched."""
    if not folder.is_dir():
        raise FetchFailed(f"{folder} is no folder: give the one that holds the files of {name}.")
    checksums: dict[Path, str] = {}
    for file in source.files:
        places = sorted(folder.rglob(file.name))
        if not places:
            raise FetchFailed(f"{folder} holds no {file.name}: {name} consists of {_listed(source)}.")
        checksums[places[0]] = file.sha256
    for pattern in source.patterns:
        checksums.update(
            dict.fromkeys(
                sorted(path for path in folder.rglob(pattern) if path.is_file() and path.suffix != ".sha256"), ""
            )
        )
    if not checksums:
        raise FetchFailed(f"{folder} holds no file of {name} ({_listed(source)}): {source.by_hand}.")
    return [_copied(path, target / _place(path, folder, source), sha256) for path, sha256 in checksums.items()]


def _place(path: Path, folder: Path, source: Source) -> Path:
    """Files known by name go side by side; those known by pattern keep their folders, which tell them apart."""
    return Path(path.name) if source.files else path.relative_to(folder)


def _copied(path: Path, target: Path, sha256: str) -> Path:
    check_content(path, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or not target.samefile(path):
        with whole_file(target) as beside:
            shutil.copyfile(path, beside)
    target.with_name(f"{target.name}.sha256").write_text(f"{checksum(target)}  {target.name}\n")
    return target


def _listed(source: Source) -> str:
    return ", ".join([file.name for file in source.files] or source.patterns)
