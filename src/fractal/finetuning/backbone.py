"""The encoder that is tuned: loaded, cut into frozen lower layers and upper ones that learn, and joined again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fractal.encoders.weights import find_minilm, find_mpnet
from fractal.errors import BadSpec, MissingExtra

__all__ = ["Backbone", "load_backbone"]

TOLERANCE = 1e-4  # of the largest state: how far states put together from cached ones may be from those in one piece


class _LowerDone(Exception):  # no error: it ends a pass at the layer whose input is wanted
    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


class _GivenStates(nn.Module):
    """Stands for the embeddings where the input is states of the lower layers."""

    def forward(self, *args: Any, inputs_embeds: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Return the states as they are."""
        if inputs_embeds is None:
            inputs_embeds = next(value for value in args if isinstance(value, Tensor) and value.dim() == 3)
        return inputs_embeds


class Backbone(nn.Module):
    """A transformers model whose lower layers are frozen.

    Cut, it takes the states that the lower layers give; whole, it takes tokens.
    """

    def __init__(self, network: Any, tokenizer: Any, source: str) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.source = source
        self.frozen_layers = 0
        self._lower: list[nn.Module] = []  # in a list, so that the trainer neither moves nor saves them
        self._embeddings: nn.Module | None = None

    @property
    def causal(self) -> bool:
        """Whether a token sees only what stands before it."""
        return is_causal(self.network.config)

    @property
    def width(self) -> int:
        return int(self.network.config.hidden_size)

    @property
    def layers(self) -> nn.ModuleList:
        owner, name = _layers_of(self.network)
        layers: nn.ModuleList = getattr(owner, name)
        return layers

    @property
    def filler(self) -> int:
        """The token that pads sequences; it is masked, so which one it is does not matter."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def is_cut(self) -> bool:
        return bool(self._lower)

    @property
    def longest(self) -> int:
        """How many tokens of a sequence the model can read."""
        config, tokenizer = self.network.config, self.tokenizer
        positions = int(getattr(config, "max_position_embeddings", 0) or 512)
        if config.model_type in ("roberta", "xlm-roberta", "mpnet", "camembert"):
            positions -= 2  # counted from the padding's position on
        return min(positions, int(min(tokenizer.model_max_length, 10**6)))

    def freeze(self, share: float) -> None:
        """Let a share of the layers, from the lowest, and the embeddings stay as they are."""
        self.frozen_layers = min(int(share * len(self.layers)), len(self.layers))
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        for layer in self.layers[self.frozen_layers :]:
            layer.requires_grad_(True)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the last states (sequence, token, width) of token ids, or of lower states where it is cut."""
        given: dict[str, Any] = (
            {"inputs_embeds": tokens.float()} if tokens.is_floating_point() else {"input_ids": tokens}
        )
        if self.causal:
            given["use_cache"] = False
        states: Tensor = self.network(attention_mask=mask, **given).last_hidden_state
        return states

    def lower_states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return what the lowest layer that learns reads: (sequence, token, width)."""
        if self.is_cut:
            raise RuntimeError("the lower layers were cut off: put the backbone together first")
        with torch.inference_mode(), self._stopping_at(self.frozen_layers):
            try:
                self(tokens, mask)
            except _LowerDone as done:
                return done.states
        raise BadSpec(f"{self.source}: its layers are not run one after another, so that none can be frozen")

    @contextlib.contextmanager
    def _stopping_at(self, layer: int) -> Iterator[None]:
        def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _LowerDone(args[0] if args else kwargs["hidden_states"])

        handle = self.layers[layer].register_forward_pre_hook(stop, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def cut(self) -> None:
        """Take the embeddings and the lower layers off; what is left takes their states."""
        owner, name = _layers_of(self.network)
        layers = getattr(owner, name)
        self._lower = list(layers[: self.frozen_layers])
        setattr(owner, name, nn.ModuleList(layers[self.frozen_layers :]))
        if hasattr(self.network, "embeddings"):
            self._embeddings = self.network.embeddings
            self.network.embeddings = _GivenStates()

    def join(self) -> None:
        """Put the lower layers and the embeddings back."""
        if not self.is_cut:
            return
        owner, name = _layers_of(self.network)
        device = next(self.network.parameters()).device
        setattr(owner, name, nn.ModuleList([*(layer.to(device) for layer in self._lower), *getattr(owner, name)]))
        if self._embeddings is not None:
            self.network.embeddings = self._embeddings.to(device)
        self._lower, self._embeddings = [], None

    def can_be_cut(self) -> bool:
        """Whether the upper layers on the lower ones' states give what the whole model gives: tried on a batch."""
        if self.frozen_layers in (0, len(self.layers)):
            return False
        self.eval()
        device = next(self.network.parameters()).device
        tokens = torch.arange(10, 22, device=device).view(2, 6) % int(self.network.config.vocab_size)
        mask = torch.ones_like(tokens)
        mask[1, 4:] = 0
        try:
            with torch.inference_mode():
                whole = self(tokens, mask)
                lower = self.lower_states(tokens, mask)
                self.cut()
                parts = self(lower, mask)
        except (TypeError, ValueError, StopIteration, AttributeError, RuntimeError):
            return False
        finally:
            self.join()
        real = mask.bool()
        return bool((whole - parts)[real].abs().max() <= TOLERANCE * whole[real].abs().max())

    def add_adapters(self, rank: int) -> None:
        """Let the upper layers learn by low-rank adapters alone."""
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise MissingExtra("Tuning a causal model", "finetune", "peft") from error
        products = [name for name, part in self.network.named_modules() if isinstance(part, nn.Linear)]
        upper = {
            id(part)
            for layer in self.layers[self.frozen_layers if not self.is_cut else 0 :]
            for part in layer.modules()
        }
        chosen = [name for name in products if id(self.network.get_submodule(name)) in upper]
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=chosen), self.network)

    def merge_adapters(self) -> None:
        """Add what the adapters learned to the products, so that a plain model is left."""
        try:
            from peft.tuners.lora import LoraLayer
        except ImportError:
            return
        for name, part in list(self.network.named_modules()):
            if isinstance(part, LoraLayer):
                part.merge()
                owner, _, last = name.rpartition(".")
                setattr(self.network.get_submodule(owner), last, part.get_base_layer())


def is_causal(config: Any) -> bool:
    """Whether a model of this configuration reads from left to right."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

    return config.model_type in CAUSAL and config.model_type not in MASKED


def load_backbone(name: str, revision: str | None = None) -> Backbone:
    """Load an encoder by the name that `tune` takes; weights are read as safetensors alone, and no code is run."""
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise MissingExtra("Tuning an encoder", "finetune", "transformers") from error
    if torch.cuda.is_available():
        torch.backends.cuda.enable_cudnn_sdp(
            False
        )  # it plans every new shape anew, 25 ms each; batches differ in shape
    source = _folder(name)
    options: dict[str, Any] = {
        "revision": revision,
        "local_files_only": Path(source).is_dir(),
        "trust_remote_code": False,
    }
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True, **options)
            network = AutoModel.from_pretrained(source, dtype=torch.float32, use_safetensors=True, **options)
    except Exception as error:  # the library raises whatever its parts raise
        why = str(error).strip().partition("\n")[0]
        raise BadSpec(
            f"tune={name!r} cannot be loaded ({type(error).__name__}: {why}). Give 'minilm', 'mpnet', the folder of a "
            "transformers model with safetensors, or a name on the Hub while the Hub can be reached."
        ) from error
    if getattr(network.config, "is_encoder_decoder", False):
        raise BadSpec(f"tune={name!r} has an encoder and a decoder: give a model of one of them, such as 'minilm'")
    return Backbone(network, tokenizer, name)


def _folder(name: str) -> str:
    if name == "minilm":
        return str(find_minilm())
    return str(find_mpnet()) if name == "mpnet" else name


def _layers_of(network: nn.Module) -> tuple[nn.Module, str]:
    """Return who holds the list of layers, and under which name: the outermost list of blocks of one kind."""
    for owner in network.modules():
        for name, part in owner.named_children():
            if isinstance(part, nn.ModuleList) and len({type(layer) for layer in part}) == 1:
                return owner, name
    raise BadSpec(f"{type(network).__name__} has no list of layers: it cannot be tuned")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's bars and its remarks on heads that are not loaded off the screen."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
