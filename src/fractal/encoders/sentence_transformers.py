"""Any model of the sentence-transformers library, from a folder or the Hub."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fractal.encoders.base import ENCODERS, Encoder, Progress, TokenVectors, Vectors, tokens_in_lots, unit_rows
from fractal.encoders.block import offsets_of
from fractal.errors import BadSpec, MissingExtra
from fractal.hardware import DTYPES, choose_device, choose_encoder_dtype, require_torch

__all__ = ["SentenceTransformers"]

TEXTS_AT_ONCE = 1_024  # the library sorts these by length; token vectors of no more texts are held twice


@ENCODERS.register("sentence_transformers")
@dataclasses.dataclass(frozen=True)
class SentenceTransformers(Encoder):
    """Any sentence-transformers model, by its folder or its name on the Hub.

    A text is cut at the model's own limit. `revision` pins a model of the Hub; `dtype='auto'` is bf16 where the device
    has it in hardware, and models differ in how well they bear it, so fp32 is the default here.
    """

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    revision: str | None = None
    dtype: str = "float32"
    device: str = "auto"
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise BadSpec(f"sentence_transformers(dtype={self.dtype!r}): give one of {', '.join(DTYPES)}.")
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise BadSpec(f"sentence_transformers(batch_size={self.batch_size!r}): give a whole number above 0.")

    @property
    def dim(self) -> int:
        return int(self._loaded.encode([""]).shape[1])

    @functools.cached_property
    def fingerprint(self) -> str:
        dtype = choose_encoder_dtype(self.dtype, choose_device(self.device, "sentence_transformers"))
        return f"sentence_transformers-{_digest(self._loaded)}-{dtype}"

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        parts = [np.zeros((0, self.dim), np.float32)]
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            part = [_clean(text) for text in texts[first : first + TEXTS_AT_ONCE]]
            parts.append(unit_rows(self._rows(part, "sentence_embedding").float().cpu().numpy()))
            if progress is not None:
                progress(first + len(part), len(texts))
        return np.concatenate(parts)

    def encode_tokens(self, texts: Sequence[str], progress: Progress | None = None) -> TokenVectors:
        return tokens_in_lots(texts, self._tokens_of, self.dim, TEXTS_AT_ONCE, progress)

    def _rows(self, texts: list[str], wanted: str | None) -> Any:
        return self._loaded.encode(
            texts, batch_size=self.batch_size, output_value=wanted, convert_to_tensor=True, show_progress_bar=False
        )

    def _tokens_of(self, texts: Sequence[str]) -> TokenVectors:
        texts = [_clean(text) for text in texts]
        tokenizer = self._loaded.tokenizer
        marks = set(getattr(tokenizer, "all_special_ids", ())) - {getattr(tokenizer, "unk_token_id", None)}
        outputs: list[Mapping[str, Any]] = self._rows(texts, None)
        if "token_embeddings" not in outputs[0] or "input_ids" not in outputs[0]:
            raise BadSpec(f"{self.model!r} has no token vectors: leave the token-level comparisons out (late=False).")
        content = []
        for output in outputs:
            ids, real = output["input_ids"].cpu().numpy(), output["attention_mask"].cpu().numpy().astype(bool)
            content_tokens = np.flatnonzero(real & ~np.isin(ids, list(marks)))
            content.append(output["token_embeddings"].float().cpu().numpy()[content_tokens])  # (token, width)
        pooled = np.stack([output["sentence_embedding"].float().cpu().numpy() for output in outputs])
        offsets = offsets_of([len(tokens) for tokens in content])
        return TokenVectors(unit_rows(np.concatenate(content)), offsets, unit_rows(pooled))

    @functools.cached_property
    def _loaded(self) -> Any:
        device = choose_device(self.device, "sentence_transformers")
        return _load(self.model, self.revision, str(device), choose_encoder_dtype(self.dtype, device))


@functools.lru_cache(maxsize=2)
def _load(model: str, revision: str | None, device: str, dtype: str) -> Any:
    torch = require_torch("sentence_transformers")
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtra("sentence_transformers", "encoders", "sentence-transformers") from error
    local = Path(model).is_dir()
    if local:
        _refuse_strange_modules(Path(model))
    try:
        loaded = SentenceTransformer(model, device=device, revision=revision, local_files_only=local)
    except Exception as error:  # the library raises whatever its parts raise
        why = str(error).strip().partition("\n")[0]
        raise BadSpec(
            f"sentence_transformers(model={model!r}) cannot be loaded ({type(error).__name__}: {why}). "
            "Give the folder of a saved model, or a name on the Hub while the Hub can be reached."
        ) from error
    return loaded.to(getattr(torch, dtype)).eval()


def _refuse_strange_modules(folder: Path) -> None:
    """Refuse a model whose parts are classes outside the library: to load it would run code that the folder names."""
    try:
        parts = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = [str(part["type"]) for part in parts]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadSpec(
            f"{folder / 'modules.json'} does not name the parts of a model ({error}): copy it again"
        ) from error
    strange = [kind for kind in kinds if not kind.startswith("sentence_transformers.")]
    if strange:
        raise BadSpec(
            f"{folder} is made of {strange[0]!r}, which is no part of sentence-transformers and could run any code: "
            "give a model of the library's own parts"
        )


def _digest(model: Any) -> str:
    """Return a hash of everything that the vectors depend on: weights, tokeniser, pooling, limit and prompt."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.detach().float().cpu().contiguous().numpy()).cast("B"))
    parts: list[Any] = [[type(part).__name__, getattr(part, "get_config_dict", dict)()] for part in model]
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else repr(model.tokenizer)
    settings = [parts, model.max_seq_length, model.default_prompt_name, model.prompts]
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    digest.update(_without_state(vocabulary).encode())
    return digest.hexdigest()


def _without_state(vocabulary: str) -> str:
    """Leave out what the library sets anew at each call: truncation and padding."""
    try:
        settings = json.loads(vocabulary)
    except ValueError:
        return vocabulary
    return json.dumps({name: value for name, value in settings.items() if name not in ("truncation", "padding")})


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # lone surrogates are no text
