"""Data sets of Hugging Face's `datasets`: by name, or an object that is loaded already."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from fractal.errors import BadData, MissingExtra, suggestion
from fractal.readers.base import READERS, Reader
from fractal.readers.columnar import plain_row
from fractal.readers.sources import BadRow, Row, name_of


@READERS.register("hub")
@dataclasses.dataclass(frozen=True)
class Hub(Reader):
    """Hugging Face data sets: `hub:owner/name`, streamed, or a loaded data set."""

    split: str = "train"
    subset: str = ""  # the configuration, where the data set has several
    revision: str = ""
    streaming: bool = True

    def rows(self, source: Any) -> Iterator[Row | BadRow]:
        """Yield the rows of the split."""
        chosen = self._split_of(self._load(source) if isinstance(source, str) else source, name_of(source))
        if hasattr(chosen, "with_format"):
            chosen = chosen.with_format(None)
        for line, fields in enumerate(chosen, 1):
            if isinstance(fields, Mapping):
                yield Row(line, plain_row(fields))
            else:
                yield BadRow(line, BadData(f"found a {type(fields).__name__}: give a data set of rows"))

    def _load(self, source: str) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise MissingExtra("Reading data sets by name", "data", "datasets") from error
        name = source.removeprefix("hub:")
        try:
            return datasets.load_dataset(
                name, self.subset or None, revision=self.revision or None, streaming=self.streaming
            )
        except Exception as error:  # the library raises whatever its parts do
            problem = f"the data set cannot be loaded ({type(error).__name__}: {str(error)[:200]})"
            raise BadData(f"{problem}: check its name, its subset and the network", source=source) from error

    def _split_of(self, loaded: Any, name: str) -> Any:
        if not isinstance(loaded, Mapping):
            return loaded
        if self.split not in loaded:
            splits = [str(split) for split in loaded]
            raise BadData(
                f"there is no split {self.split!r}.{suggestion(self.split, splits)} Found: {', '.join(splits)}; "
                "name it, as in hub(split='test')",
                source=name,
                field="split",
            )
        return loaded[self.split]
