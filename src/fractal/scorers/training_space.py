"""Where a training keeps texts, vectors and columns: in memory as long as there is room for them, else in files."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fractal.array_space import CAN_SHARE, IN_MEMORY, ArraySpace
from fractal.errors import BadSpec
from fractal.hardware import free_memory
from fractal.processes import worker_count
from fractal.records import Preference, Response
from fractal.records.stored import collected

__all__ = ["bytes_needed", "records_for_training", "training_space"]

COLUMNS = 250  # of a sentence, beside its vector, that the default experts read
CHARACTERS_A_CHUNK = 200  # of a context: see `chunk_context`
HALF = "are half of the memory that is free"
WORTH_WORKERS = 50_000  # sentences from which on processes are started unasked
SHARE = 0.5  # of the memory that is free, which vectors and columns may take where no limit was given
TEXTS = 1 / 8  # of that, which texts may take besides: a tenth of what vectors and columns of `fast` take


def training_space(
    responses: Sequence[Response], dim: int, limit: float = 0.0, workers: int | str = "auto"
) -> ArraySpace:
    """Choose where vectors of `dim` numbers and the columns made of them are laid, and by how many processes.

    The limit is in GB; 0: half of the memory that is free. Several workers lay them in files in any case. What is in
    files is said. In every case the same is learned, to the last bit.
    """
    sentences, needed = _needed(responses, dim)
    allowed, asked = _allowed(limit), worker_count(workers)
    if needed <= allowed and (workers == "auto" or asked == 1):
        return IN_MEMORY
    folder = Path(tempfile.gettempdir())
    count, by = _workers(workers, asked, sentences)
    why = f"more than the {allowed / 2**30:,.1f} GB that {'memory_limit allows' if limit else HALF}"
    why = why if needed > allowed else f"and workers={workers} share them"
    warnings.warn(
        f"vectors and columns take about {needed / 2**30:,.1f} GB, {why}: they are laid in files in {folder}, by {by}; "
        f"{shutil.disk_usage(folder).free / 2**30:,.1f} GB are free there (TMPDIR names another folder); what is "
        "learned is the same",
        stacklevel=4,
    )
    return ArraySpace(folder, count)


def _workers(asked: int | str, count: int, sentences: int) -> tuple[int, str]:
    """Return how many processes lay what is in files, and how that is said."""
    if count > 1 and not CAN_SHARE:
        return 1, "this process alone, as files without a name cannot be shared on this system"
    if asked == "auto" and sentences < WORTH_WORKERS:
        return 1, f"this process alone, as there are fewer than {WORTH_WORKERS:,} sentences"
    return count, "this process alone" if count == 1 else f"{count} processes"


def records_for_training(records: Iterable[Response | Preference], limit: float = 0.0) -> Sequence[Any]:
    """Return all records: in memory, or in a file where their texts take an eighth of the limit, and say so then.

    Either way the same is learned, to the last bit. Records that are in memory already stay there.
    """
    allowed = _allowed(limit) * TEXTS

    def warn(folder: Path) -> None:
        warnings.warn(
            f"texts take more than {allowed / 2**30:,.1f} GB, an eighth of what vectors and columns may take: they "
            f"are kept in a file in {folder}, where {shutil.disk_usage(folder).free / 2**30:,.1f} GB are free (TMPDIR "
            "names another folder); what is learned is the same",
            stacklevel=5,
        )

    return collected(records, allowed, warn)


def _allowed(limit: float) -> float:
    if not limit >= 0:
        raise BadSpec(f"memory_limit={limit}: give a number of GB, or 0 for half of the memory that is free")
    return limit * 2**30 or free_memory() * SHARE


def bytes_needed(responses: Sequence[Response], dim: int) -> int:
    """Return about how many bytes a training on these responses holds beside their texts."""
    return _needed(responses, dim)[1]


def _needed(responses: Sequence[Response], dim: int) -> tuple[int, int]:
    """Return how many sentences there are, and about how many bytes a training on them holds beside the texts."""
    sentences = chunks = 0
    for response in responses:
        sentences += len(response.sentences)
        chunks += sum(-(-len(passage) // CHARACTERS_A_CHUNK) for passage in response.context)
    vectors = (sentences + len(responses) + chunks) * dim * 4
    columns = sentences * (dim + COLUMNS) * 4
    return sentences, vectors + max(vectors, columns)  # while texts are encoded, their vectors stand in memory twice
