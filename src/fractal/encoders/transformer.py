"""Any transformers encoder, by folder or by name on the Hub, and all-mpnet-base-v2 by its own name, hash checked."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal.encoders.base import ENCODERS, Encoder, Progress, TokenVectors, Vectors, tokens_in_lots, unit_rows
from fractal.encoders.batching import padded, token_batches
from fractal.encoders.block import offsets_of, ragged_rows
from fractal.encoders.weights import find_mpnet, sha256_of
from fractal.errors import BadSpec, MissingExtra
from fractal.hardware import DTYPES, choose_device, choose_encoder_dtype, require_torch

__all__ = ["MPNet", "Transformer"]

TEXTS_AT_ONCE = 4_096  # texts tokenised and sorted by length together
CPU_BUDGET, GPU_BUDGET = 2_048, 65_536  # tokens a batch
POOLINGS = ("auto", "mean", "first", "last")
STATED = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first", "pooling_mode_lasttoken": "last"}


@ENCODERS.register("transformer")
@dataclasses.dataclass(frozen=True)
class Transformer(Encoder):
    """Any encoder of the transformers library with safetensors, by its folder or its name on the Hub.

    `prefix` is put before every text, as in "query: ", and its tokens are not compared. A text is cut at the model's
    own limit, or at `longest` tokens. `pooling='auto'` is what the model's folder states, else the mean of its tokens.
    """

    model: str
    revision: str | None = None
    prefix: str = ""
    pooling: str = "auto"
    longest: int | None = None
    dtype: str = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise BadSpec(f"{self.name}(dtype={self.dtype!r}): give one of {', '.join(DTYPES)}.")
        if self.pooling not in POOLINGS:
            raise BadSpec(f"{self.name}(pooling={self.pooling!r}): give one of {', '.join(POOLINGS)}.")
        if self.longest is not None and self.longest < 8:
            raise BadSpec(f"{self.name}(longest={self.longest!r}): give at least 8 tokens, or None.")

    @property
    def dim(self) -> int:
        return int(self._loaded.network.config.hidden_size)

    @functools.cached_property
    def fingerprint(self) -> str:
        loaded = self._loaded
        dtype = choose_encoder_dtype(self.dtype, choose_device(self.device, self.name))
        settings = json.dumps([self.prefix, loaded.pooling, loaded.longest])
        digest = hashlib.blake2b(f"{loaded.digest}{settings}".encode(), digest_size=8).hexdigest()
        return f"{self.name}-{digest}-{dtype}"

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        out = np.empty((len(texts), self.dim), np.float32)
        done = 0
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            for batch, hidden, real in self._passes(self._tokenised(texts[first : first + TEXTS_AT_ONCE])[0]):
                out[first + batch] = self._pooled(hidden, real)
                done += len(batch)
                if progress is not None:
                    progress(done, len(texts))
        return out

    def encode_tokens(self, texts: Sequence[str], progress: Progress | None = None) -> TokenVectors:
        return tokens_in_lots(texts, self._tokens_of, self.dim, TEXTS_AT_ONCE, progress)

    def _tokens_of(self, texts: Sequence[str]) -> TokenVectors:
        ids, content = self._tokenised(texts)
        offsets = offsets_of([int(of_text.sum()) for of_text in content])
        vectors = np.empty((offsets[-1], self.dim), np.float32)
        pooled = np.empty((len(texts), self.dim), np.float32)
        for batch, hidden, real in self._passes(ids):
            pooled[batch] = self._pooled(hidden, real)
            chosen = np.zeros_like(real)
            for row, text in enumerate(batch):
                chosen[row, : len(content[text])] = content[text]
            states = hidden[require_torch(self.name).from_numpy(chosen).to(hidden.device)]
            vectors[ragged_rows(offsets, batch)[0]] = unit_rows(states.float().cpu().numpy())
        return TokenVectors(vectors, offsets, pooled)

    def _tokenised(self, texts: Sequence[str]) -> tuple[list[list[int]], list[NDArray[np.bool_]]]:
        """Token ids of each text, and which of them are its own: no marks, and nothing of the prefix."""
        loaded = self._loaded
        clean = [self.prefix + text.encode("utf-8", "replace").decode() for text in texts]
        rows = loaded.tokenizer(
            clean,
            truncation=True,
            max_length=loaded.longest,
            return_attention_mask=False,
            return_special_tokens_mask=True,
            return_offsets_mapping=True,
        )
        content = []
        for marks, places in zip(rows["special_tokens_mask"], rows["offset_mapping"], strict=True):
            ends = np.array([end for _, end in places], np.int64)
            content.append((np.array(marks, bool) == 0) & (ends > len(self.prefix)))
        return rows["input_ids"], content

    def _passes(self, ids: Sequence[Sequence[int]]) -> Iterator[tuple[NDArray[np.int64], Any, NDArray[np.bool_]]]:
        """Run the network; yield which texts, their states (text, token, dim), and which tokens are no padding."""
        torch = require_torch(self.name)
        network = self._loaded.network
        budget = CPU_BUDGET if network.device.type == "cpu" else GPU_BUDGET
        for batch in token_batches([len(of_text) for of_text in ids], budget):
            tokens, real = padded(ids, batch, filler=int(network.config.pad_token_id or 0))
            mask = torch.from_numpy(real.astype(np.int64)).to(network.device)
            with torch.inference_mode():
                states = network(input_ids=torch.from_numpy(tokens).to(network.device), attention_mask=mask)
            yield batch, states.last_hidden_state, real

    def _pooled(self, hidden: Any, real: NDArray[np.bool_]) -> Vectors:
        """Return each text's vector at length one, summed in fp32: (text, dim)."""
        torch = require_torch(self.name)
        with torch.inference_mode():
            if self._loaded.pooling == "first":
                rows = hidden[:, 0].float()
            elif self._loaded.pooling == "last":
                last = torch.from_numpy(real.sum(axis=1) - 1).to(hidden.device)
                rows = hidden[torch.arange(len(hidden), device=hidden.device), last].float()
            else:
                mask = torch.from_numpy(real.astype(np.float32)).to(hidden.device)
                rows = torch.bmm(mask[:, None], hidden.float())[:, 0]  # the length of the sum does not matter
            return unit_rows(rows.cpu().numpy())

    def _source(self) -> tuple[str, str | None]:
        """Where the model is: a folder or a name on the Hub, and its revision."""
        return self.model, self.revision

    @functools.cached_property
    def _loaded(self) -> _Loaded:
        device = choose_device(self.device, self.name)
        source, revision = self._source()
        return _load(
            self.name, source, revision, self.pooling, self.longest, str(device),
            choose_encoder_dtype(self.dtype, device),
        )  # fmt: skip


@ENCODERS.register("mpnet")
@dataclasses.dataclass(frozen=True)
class MPNet(Transformer):
    """all-mpnet-base-v2, 768 dimensions: often better than minilm, five to six times as slow; reads 384 tokens.

    The weights come from the Hub at a pinned revision, or from the folder `model`; either way their hash is checked.
    """

    model: str = ""

    def _source(self) -> tuple[str, str | None]:
        return str(find_mpnet(self.model)), None


@dataclasses.dataclass(frozen=True)
class _Loaded:
    tokenizer: Any
    network: Any
    pooling: str
    longest: int
    digest: str


@functools.lru_cache(maxsize=2)
def _load(
    name: str, source: str, revision: str | None, pooling: str, longest: int | None, device: str, dtype: str
) -> _Loaded:
    """Return a model in working order, shared by all encoders with these options; no code of its own is run."""
    torch = require_torch(name)
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise MissingExtra(name, "train", "transformers") from error
    local = Path(source).is_dir()
    options: dict[str, Any] = {"revision": revision, "local_files_only": local, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True, **options)
        network = AutoModel.from_pretrained(source, dtype=getattr(torch, dtype), use_safetensors=True, **options)
    except Exception as error:  # the library raises whatever its parts raise
        why = str(error).strip().partition("\n")[0]
        raise BadSpec(
            f"{name}(model={source!r}) cannot be loaded ({type(error).__name__}: {why}). Give the folder of a "
            "transformers model with safetensors, or a name on the Hub while the Hub can be reached."
        ) from error
    limits = [longest or 10**6, int(tokenizer.model_max_length), int(_stated(source, "sentence_bert_config.json").get(
        "max_seq_length") or 10**6), int(getattr(network.config, "max_position_embeddings", 0) or 10**6)]  # fmt: skip
    stated = _stated(source, "1_Pooling/config.json")
    own = next((word for key, word in STATED.items() if stated.get(key)), "mean")
    return _Loaded(
        tokenizer,
        network.eval().to(device),
        own if pooling == "auto" else pooling,
        min(limits),
        _digest(source, network, tokenizer),
    )


def _stated(source: str, name: str) -> dict[str, Any]:
    """Return the settings that a sentence-transformers folder states, nothing where there are none."""
    path = Path(source) / name
    if not Path(source).is_dir():
        from transformers.utils.hub import cached_file

        cached = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
        if cached is None:
            return {}
        path = Path(cached)
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return settings


def _digest(source: str, network: Any, tokenizer: Any) -> str:
    """Return a hash of the weights and the tokeniser: of the file where there is one, else of the tensors."""
    digest = hashlib.blake2b(tokenizer.backend_tokenizer.to_str().encode(), digest_size=8)
    path = Path(source) / "model.safetensors"
    if path.is_file():
        facts = path.stat()
        digest.update(sha256_of(path, facts.st_size, facts.st_mtime_ns).encode())
        return digest.hexdigest()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.detach().float().cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()
