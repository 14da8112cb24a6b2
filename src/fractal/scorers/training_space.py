"""Where a training keeps texts, vectors and columns: in memory as long as there is room for them, else in files."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fractal.array_space import IN_MEMORY, ArraySpace
from fractal.errors import BadSpec
from fractal.hardware import free_memory
from fractal.records import Preference, Response
from fractal.records.stored import collected

__all__ = ["bytes_needed", "records_for_training", "training_space"]

COLUMNS = 250  # of a sentence, beside its vector, that the default experts read
CHARACTERS_A_CHUNK = 200  # of a context: see `chunk_context`
SHARE = 0.5  # of the memory that is free, which vectors and columns may take where no limit was given
TEXTS = 1 / 8  # of that, which texts may take besides: a tenth of what vectors and columns of `fast` take


def training_space(responses: Sequence[Response], dim: int, limit: float = 0.0) -> ArraySpace:
    """Choose where vectors of `dim` numbers and the columns made of them are laid, and say so where it is in files.

    The limit is in GB; 0: half of the memory that is free. Either way the same is learned, to the last bit.
    """
    needed, allowed = bytes_needed(responses, dim), _allowed(limit)
    if needed <= allowed:
        return IN_MEMORY
    folder = Path(tempfile.gettempdir())
    why = "memory_limit allows" if limit else "are half of the memory that is free"
    warnings.warn(
        f"vectors and columns take about {needed / 2**30:,.1f} GB, more than the {allowed / 2**30:,.1f} GB that {why}: "
        f"they are laid in files in {folder}, where {shutil.disk_usage(folder).free / 2**30:,.1f} GB are free (TMPDIR "
        "names another folder); what is learned is the same",
        stacklevel=4,
    )
    return ArraySpace(folder)


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
    sentences = chunks = 0
    for response in responses:
        sentences += len(response.sentences)
        chunks += sum(-(-len(passage) // CHARACTERS_A_CHUNK) for passage in response.context)
    vectors = (sentences + len(responses) + chunks) * dim * 4
    columns = sentences * (dim + COLUMNS) * 4
    return vectors + max(vectors, columns)  # while texts are encoded, their vectors stand in memory twice
