"""Where a training lays vectors and columns: in memory as long as there is room for them, else in files."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from fractal.array_space import IN_MEMORY, ArraySpace
from fractal.errors import BadSpec
from fractal.hardware import free_memory
from fractal.records import Response

__all__ = ["bytes_needed", "training_space"]

COLUMNS = 250  # of a sentence, beside its vector, that the default experts read
CHARACTERS_A_CHUNK = 200  # of a context: see `chunk_context`
SHARE = 0.5  # of the memory that is free, which vectors and columns may take where no limit was given


def training_space(responses: Sequence[Response], dim: int, limit: float = 0.0) -> ArraySpace:
    """Choose where vectors of `dim` numbers and the columns made of them are laid, and say so where it is in files.

    The limit is in GB; 0: half of the memory that is free. Either way the same is learned, to the last bit.
    """
    if not limit >= 0:
        raise BadSpec(f"memory_limit={limit}: give a number of GB, or 0 for half of the memory that is free")
    needed, allowed = bytes_needed(responses, dim), limit * 2**30 or free_memory() * SHARE
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


def bytes_needed(responses: Sequence[Response], dim: int) -> int:
    """Return about how many bytes a training on these responses holds beside their texts."""
    sentences = sum(len(response.sentences) for response in responses)
    passages = (len(passage) for response in responses for passage in response.context)
    chunks = sum(-(-length // CHARACTERS_A_CHUNK) for length in passages)
    vectors = (sentences + len(responses) + chunks) * dim * 4
    columns = sentences * (dim + COLUMNS) * 4
    return vectors + max(vectors, columns)  # while texts are encoded, their vectors stand in memory twice
