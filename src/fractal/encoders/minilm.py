"""The default encoder: all-MiniLM-L6-v2 in 384 dimensions, as fast as the machine's arithmetic allows."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.base import ENCODERS, Encoder, Progress, TokenVectors, Vectors, tokens_in_lots, unit_rows
from fractal.encoders.batching import fixed_batches, padded, token_batches
from fractal.encoders.block import offsets_of, ragged_rows
from fractal.encoders.packed import PackedBert
from fractal.encoders.weights import SHA256, find_minilm
from fractal.errors import BadSpec, MissingExtra
from fractal.hardware import DTYPES, choose_device, choose_encoder_dtype, require_torch

__all__ = ["MiniLM"]

DIM = 384
LONGEST = 256  # tokens of a text that are read, its two marks included: the length the model was trained for
MARKS = 2  # [CLS] before the text and [SEP] after it
TEXTS_AT_ONCE = 16_384  # texts tokenised and sorted by length together
# tokens of a batch: on a CPU at least so many, as products of fewer rows are added up otherwise by other numbers of
# threads, and no more, as a text alone costs as much; on a GPU small batches leave it idle
CPU_BUDGET = 256
GPU_BUDGET = 65_536


@ENCODERS.register("minilm")
@dataclasses.dataclass(frozen=True)
class MiniLM(Encoder):
    """all-MiniLM-L6-v2, 384 dimensions: the default; quick, English, reads 256 tokens of a text.

    A text is the mean of all its token vectors, at length one; what stands behind its 256th token is not read.
    bf16 is used where the device has it in hardware; sums are taken in fp32.
    """

    dtype: str = "auto"
    device: str = "auto"
    tokens_per_batch: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise BadSpec(f"minilm(dtype={self.dtype!r}): give one of {', '.join(DTYPES)}.")
        budget = self.tokens_per_batch
        if budget is not None and (not isinstance(budget, int) or budget < 1):
            raise BadSpec(f"minilm(tokens_per_batch={budget!r}): give a whole number above 0, or None.")

    @property
    def dim(self) -> int:
        return DIM

    @functools.cached_property
    def fingerprint(self) -> str:
        dtype = choose_encoder_dtype(self.dtype, choose_device(self.device, "minilm"))
        return f"minilm-{SHA256[:16]}-mean{LONGEST}-{dtype}"

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        out = np.empty((len(texts), DIM), np.float32)
        done = 0
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            ids = self._tokenised(texts[first : first + TEXTS_AT_ONCE])
            if self._packed is not None:
                out[first : first + len(ids)] = self._packed.pooled(ids)
                done += len(ids)
                if progress is not None:
                    progress(done, len(texts))
                continue
            for batch, hidden, real in self._passes(ids):
                out[first + batch] = _pooled(hidden, real)[: len(batch)]
                done += len(batch)
                if progress is not None:
                    progress(done, len(texts))
        return out

    def encode_tokens(self, texts: Sequence[str], progress: Progress | None = None) -> TokenVectors:
        return tokens_in_lots(texts, self._tokens_of, DIM, TEXTS_AT_ONCE, progress)

    def _tokens_of(self, texts: Sequence[str]) -> TokenVectors:
        ids = self._tokenised(texts)
        offsets = offsets_of([len(of_text) - MARKS for of_text in ids])
        vectors = np.empty((offsets[-1], DIM), np.float32)
        pooled = np.empty((len(texts), DIM), np.float32)
        for batch, hidden, real in self._passes(ids):
            pooled[batch] = _pooled(hidden, real)[: len(batch)]
            content = real.copy()  # (text, token): the marks are no content
            content[:, 0] = False
            content[np.arange(len(real)), real.sum(axis=1) - 1] = False
            content[len(batch) :] = False
            vectors[ragged_rows(offsets, batch)[0]] = _content(hidden, content)
        return TokenVectors(vectors, offsets, pooled)

    def _tokenised(self, texts: Sequence[str]) -> list[list[int]]:
        tokenizer, _ = self._loaded
        clean = [text.encode("utf-8", "replace").decode() for text in texts]  # lone surrogates are no text
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(clean)]

    def _passes(self, ids: Sequence[Sequence[int]]) -> Iterator[tuple[NDArray[np.int64], Any, NDArray[np.bool_]]]:
        """Run the network; yield which texts, their states (text, token, dim), and which tokens are no padding.

        On a CPU all batches of texts of like length have one shape, so that a text has the same bits in any company;
        rows that fill a batch up follow its texts.
        """
        torch = require_torch("minilm")
        _, network = self._loaded
        on_cpu = network.device.type == "cpu"
        budget = self.tokens_per_batch or (CPU_BUDGET if on_cpu else GPU_BUDGET)
        for batch, shape in self._batches([len(of_text) for of_text in ids], budget, on_cpu):
            tokens, real = padded(ids, batch, 0, shape)
            mask = None if real.all() and not on_cpu else torch.from_numpy(real.astype(np.int64)).to(network.device)
            with torch.inference_mode():
                states = network(input_ids=torch.from_numpy(tokens).to(network.device), attention_mask=mask)
            yield batch, states.last_hidden_state, real

    @staticmethod
    def _batches(
        lengths: Sequence[int], budget: int, on_cpu: bool
    ) -> Iterator[tuple[NDArray[np.int64], tuple[int, int] | None]]:
        if on_cpu:
            yield from fixed_batches(lengths, budget)
            return
        yield from ((batch, None) for batch in token_batches(lengths, budget))

    @functools.cached_property
    def _packed(self) -> PackedBert | None:
        """The network without padding, on a GPU in 16 bits, where attention over packed texts is at hand."""
        torch = require_torch("minilm")
        network = self._loaded[1]
        on_gpu = network.device.type == "cuda" and network.dtype == torch.bfloat16
        return PackedBert(network) if on_gpu and PackedBert.fits(network) else None

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        device = choose_device(self.device, "minilm")
        return _load(find_minilm(), str(device), choose_encoder_dtype(self.dtype, device))


@functools.lru_cache(maxsize=2)
def _load(folder: Path, device: str, dtype: str) -> tuple[Any, Any]:
    """Return the tokenizer and the network, shared by all encoders with these options."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra("minilm", "train", "tokenizers") from error
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return tokenizer, load_network(folder, device, dtype)


def load_network(folder: Path, device: str, dtype: str) -> Any:
    """Return the network alone, ready to be run."""
    torch = require_torch("minilm")
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise MissingExtra("minilm", "train", "transformers") from error
    with _quiet_loading():
        network = AutoModel.from_pretrained(folder, local_files_only=True, dtype=getattr(torch, dtype))
    return network.eval().to(device)


@contextlib.contextmanager
def _quiet_loading() -> Iterator[None]:
    """Keep the library's own bar, a fraction of a second long, off the screen."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _pooled(hidden: Any, real: NDArray[np.bool_]) -> Vectors:
    """Return the mean over each text's tokens at length one, summed in fp32: (text, dim)."""
    torch = require_torch("minilm")
    if hidden.device.type == "cpu":  # token after token, whatever the number of threads
        states: Vectors = hidden.float().numpy()
        return unit_rows((states * real[:, :, None]).sum(axis=1))
    with torch.inference_mode():
        mask = torch.from_numpy(real.astype(np.float32)).to(hidden.device)
        mean = torch.bmm(mask[:, None], hidden.float())[:, 0]  # the length of the sum does not matter
        rows: Vectors = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
    return rows


def _content(hidden: Any, content: NDArray[np.bool_]) -> Vectors:
    """Return the chosen tokens' vectors at length one, text after text: (token, dim)."""
    torch = require_torch("minilm")
    with torch.inference_mode():
        chosen = hidden[torch.from_numpy(content).to(hidden.device)].float()
        rows: Vectors = torch.nn.functional.normalize(chosen, dim=1).cpu().numpy()
    return rows
