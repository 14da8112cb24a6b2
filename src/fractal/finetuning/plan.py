"""How an encoder is tuned: every number that is not learned."""

from __future__ import annotations

from dataclasses import dataclass

from fractal.errors import BadSpec

__all__ = ["READINGS", "TuningPlan"]

READINGS = ("auto", "both", "own", "full", "twin")


@dataclass(frozen=True)
class TuningPlan:
    """How an encoder is tuned on response labels; the defaults are what served on real sets."""

    encoder: str = "minilm"
    """`minilm`, `mpnet`, a folder of a transformers model, or a name on the Hub."""
    revision: str | None = None
    """Which commit of a model on the Hub."""
    reading: str = "auto"
    """What a sentence sees: `own` (the query and itself), `full` (the whole window), `both` by turns with a head each,
    `twin` (sentence and query or passage read apart); `auto`: by held-out labels of frozen probes."""
    members: int = 1
    """How many encoders are tuned, member m on all folds but its own; a response that none held out is labelled by the
    other experts alone."""
    epochs: int = 0
    """Times that every response is read; 0: 3, or 4 where two readings take turns."""
    min_steps: int = 100
    """Steps at least, however few the responses."""
    batch_size: int = 16
    """Responses a step on each device."""
    accumulate: int = 1
    """Batches whose gradients are added before a step."""
    encoder_rate: float = 5e-5
    """Learning rate of the encoder's upper layers."""
    head_rate: float = 5e-3
    """Learning rate of the heads."""
    weight_decay: float = 0.01
    """Decoupled decay of all products."""
    warmup: float = 0.1
    """Share of the steps in which the rates rise; then they fall linearly to 0."""
    clip: float = 1.0
    """The longest gradient that is taken as it is."""
    frozen: float = 0.5
    """Share of the layers, from the lowest, that stay as they are; their states are computed once."""
    window: int = 256
    """Tokens of a window, the query first."""
    sentence_tokens: int = 64
    """Tokens of a sentence or query that are read: its first two thirds and its last third."""
    lora_rank: int = 16
    """Rank of the adapters by which causal models are tuned; 0: their upper layers whole."""
    seed: int = 0
    """Seed of batches and dropout."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` …"""
    precision: str = "auto"
    """`fp32`, `bf16`, or `auto`: bf16 where the device has it in hardware."""

    def __post_init__(self) -> None:
        if self.reading not in READINGS:
            raise BadSpec(f"reading={self.reading!r}: give one of {', '.join(READINGS)}")
        for name in ("members", "batch_size", "accumulate", "sentence_tokens"):
            if getattr(self, name) < 1:
                raise BadSpec(f"{name}={getattr(self, name)}: give at least 1")
        if self.window < self.sentence_tokens * 2 + 4:
            raise BadSpec(
                f"window={self.window}: give at least {self.sentence_tokens * 2 + 4}, room for a query and a sentence "
                f"of {self.sentence_tokens} tokens each"
            )
        if not 0 <= self.frozen <= 1:
            raise BadSpec(f"frozen={self.frozen}: give a share of the layers from 0 to 1")
        if self.epochs < 0 or self.min_steps < 0 or self.lora_rank < 0:
            raise BadSpec("epochs, min_steps and lora_rank: give numbers of at least 0")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise BadSpec(f"precision={self.precision!r}: give 'auto', 'fp32' or 'bf16'")

    def passes(self, views: int) -> int:
        """Return how often every response is read, where so many views take turns."""
        return self.epochs or (4 if views > 1 else 3)
