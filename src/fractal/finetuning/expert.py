"""A tuned encoder as an expert: responses in, log-odds out; saved as plain transformers models beside its heads."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fractal.finetuning.backbone import load_backbone
from fractal.finetuning.network import TunedNetwork
from fractal.finetuning.plan import TuningPlan
from fractal.finetuning.reading import read_logits
from fractal.finetuning.windows import Reader
from fractal.hardware import choose_device, native_bf16
from fractal.records import Response

__all__ = ["TunedExpert"]

HEADS, SETTINGS = "heads.safetensors", "tuned.json"


@dataclasses.dataclass(frozen=True, eq=False)
class TunedExpert:
    """Encoders tuned on the folds of one training, and how they read."""

    networks: tuple[TunedNetwork, ...]
    reader: Reader
    plan: TuningPlan
    reading: str
    bf16: bool

    @property
    def members(self) -> int:
        return len(self.networks)

    def logits(self, responses: Sequence[Response], passages: Sequence[Sequence[str]] = ()) -> Tensor:
        """Return the log-odds of every sentence, the mean of its views: (sentence, [level − 1,] member).

        `passages` holds the nearest passage of each sentence (`nearest_passages`); the reading `twin` compares them.
        """
        device = choose_device(self.plan.device, "Scoring")
        dtype = torch.bfloat16 if self.bf16 and native_bf16(device.type) else torch.float32
        views = self.networks[0].views
        sequences = {view: self.reader.sequences(view, responses, passages) for view in views}
        members = []
        for network in self.networks:
            network.to(device)
            parts = [read_logits(network, view, sequences[view], device, dtype) for view in views]
            members.append(torch.stack(parts).mean(0))
        return torch.cat(members, -1)

    def files(self) -> dict[str, bytes]:
        """Return the expert as files by path: a transformers model a member, the heads beside it, the settings."""
        settings = {
            "plan": dataclasses.asdict(self.plan),
            "reading": self.reading,
            "bf16": self.bf16,
            "window": self.reader.window,
            "views": list(self.networks[0].views),
            "outputs": self.networks[0].outputs,
            "compared": self.networks[0].compared,
            "members": len(self.networks),
        }
        files = {SETTINGS: json.dumps(settings, indent=2).encode()}
        for number, network in enumerate(self.networks):
            files |= {f"{number}/{name}": content for name, content in _network_files(network).items()}
        return files

    @classmethod
    def restored(cls, folder: Path) -> TunedExpert:
        """Read what `files` were written to."""
        from safetensors.torch import load_file

        settings: Mapping[str, Any] = json.loads((folder / SETTINGS).read_text())
        plan = TuningPlan(**settings["plan"])
        networks = []
        for number in range(settings["members"]):
            backbone = load_backbone(str(folder / str(number)))
            network = TunedNetwork(backbone, tuple(settings["views"]), settings["outputs"], settings["compared"])
            network.heads.load_state_dict(load_file(folder / str(number) / HEADS))
            networks.append(network.eval())
        backbone = networks[0].backbone
        reader = Reader.of(
            backbone.tokenizer,
            causal=backbone.causal,
            window=settings["window"],
            sentence_tokens=plan.sentence_tokens,
        )
        return cls(tuple(networks), reader, plan, settings["reading"], settings["bf16"])


def _network_files(network: TunedNetwork) -> dict[str, bytes]:
    from safetensors.torch import save

    network.backbone.join()
    with tempfile.TemporaryDirectory() as folder:
        network.backbone.network.save_pretrained(folder, safe_serialization=True)
        network.backbone.tokenizer.save_pretrained(folder)
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}
    heads = {name: value.detach().cpu().contiguous() for name, value in network.heads.state_dict().items()}
    return files | {HEADS: save(heads)}
